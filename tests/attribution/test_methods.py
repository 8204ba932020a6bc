"""One name chooses the method; the rest of the call stays the same."""

import numpy as np
import pytest

from mechshift.attribution import METHODS, attribute, eap, eap_ig, exact_edge_scores, method_options
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.testing import known_circuit, random_examples, random_language_model


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_known_circuit(method):
    known = known_circuit("mdm")
    scores = attribute(known.model, known.canvases, metric="logit_diff", method=method)
    strongest = np.argsort(np.abs(scores.mean()))[-len(known.edges) :]
    assert {scores.graph.edge_name(edge) for edge in strongest} == set(known.edges)


@pytest.mark.parametrize(
    ("method", "function", "options"),
    [
        ("eap", eap, {"gradient_at": "corrupted", "gim": True}),
        ("eap-ig", eap_ig, {"ig_steps": 2, "rule": "midpoint", "gim": False}),
        ("exact", exact_edge_scores, {"edges_per_pass": 2}),
    ],
)
def test_a_name_stands_for_the_function_with_its_own_options(method, function, options):
    model = random_language_model("qwen2", "mdm")
    examples = random_examples(2, kind="mdm")
    canvases = build_canvases(model, examples, left_to_right([2, 2], 1))
    shared = {"metric": "log_prob", "grouped": True, "batch_size": 1}
    told = []
    by_name = attribute(model, canvases, method=method, progress=told.append, **shared, **options)
    np.testing.assert_array_equal(
        by_name.values, function(model, canvases, **shared, **options).values
    )
    assert told == [1, 1]
    assert set(method_options(method)) == set(options)
    defaults = method_options(method)
    np.testing.assert_array_equal(
        attribute(model, canvases, method=method, **shared).values,
        function(model, canvases, **shared, **defaults).values,
    )


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(AttributionError, match="unknown method 'acdc'; known: eap, eap-ig, exact"):
        attribute(random_language_model(), [], metric="logit_diff", method="acdc")


def test_an_option_of_another_method_is_refused_with_the_methods_own():
    with pytest.raises(AttributionError, match="'eap' has no option 'ig_steps'; it has: gradient_"):
        attribute(random_language_model(), [], metric="logit_diff", method="eap", ig_steps=5)


def test_gim_is_refused_where_no_gradient_is_taken():
    message = "'exact' has no option 'gim'; it has: edges_per_pass"
    with pytest.raises(AttributionError, match=message):
        attribute(random_language_model(), [], metric="logit_diff", method="exact", gim=True)
