"""Attribution of the hand-made model must return the scores that were worked out by hand."""

import numpy as np
import pytest
import torch

from mechshift.attribution import eap_ig, exact_edge_scores
from mechshift.circuits import select_top_edges
from mechshift.testing import PathStrengths, known_circuit

METHODS = [eap_ig, exact_edge_scores]


def score(known, method):
    return method(known.model, known.canvases, metric="logit_diff")


def found_edges(scores):
    """Names of the edges that carry more than a hundred-thousandth of the strongest."""
    strength = np.abs(scores.values).max(axis=(0, 1))
    return {scores.graph.edge_name(e) for e in np.flatnonzero(strength > 1e-5 * strength.max())}


def values_of(scores, edges):
    return scores.values[:, 0, [scores.graph.edge_index(name) for name in edges]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_exactly_the_written_circuit_is_found_with_its_scores(kind, method, dtype):
    known = known_circuit(kind, dtype=dtype)
    scores = score(known, method)
    assert found_edges(scores) == set(known.edges)
    # The norms' divisor follows the signal by (signal / SCALE)^2; 3e-6 was measured.
    np.testing.assert_allclose(values_of(scores, known.edges), known.scores, rtol=6e-6)
    rest = np.ones(scores.graph.num_edges, dtype=bool)
    rest[[scores.graph.edge_index(name) for name in known.edges]] = False
    assert np.abs(scores.values[..., rest]).max() < 1e-5 * known.scores.min()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_top_edges_are_the_circuit(kind, method):
    known = known_circuit(kind)
    scores = score(known, method)
    circuit = select_top_edges(scores.graph, scores.mean(), len(known.edges))
    assert {circuit.graph.edge_name(edge) for edge in circuit.edges} == set(known.edges)


@pytest.mark.parametrize("method", METHODS)
def test_the_scores_of_the_shortest_example_are_those_on_paper(method):
    """Canvas "<bos> Ann so says", in the MDM with one mask after it.

    Attention is uniform: in the ARM position i gives 1 / (i + 1) to the name at position 1, so
    the two heads in a row carry (1/2 + 1/3 + 1/4) / 4 from positions 1, 2, 3 to the last one; in
    the MDM every position gives 1/5, and five of them carry 5 / 25. Corrupting flips the sign of
    the name: a path loses twice what it carries.
    """
    for kind, heads, once in (("arm", 2 * (13 / 12) / 4, 2 / 4), ("mdm", 2 / 5, 2 / 5)):
        known = known_circuit(kind, strengths=PathStrengths(heads=1.0, mlp=3.0, late=0.5))
        scores = score(known, method)
        on_paper = {
            "input->a0.h1<v>": heads + 0.5 * once,
            "input->m0": 3 * once,
            "a0.h1->a1.h0<v>": heads,
            "m0->a1.h0<v>": 3 * once,
            "a0.h1->m1": 0.5 * once,
            "a1.h0->logits": heads + 3 * once,
            "m1->logits": 0.5 * once,
        }
        assert set(known.edges) == set(on_paper)
        np.testing.assert_allclose(
            values_of(scores, on_paper)[0], list(on_paper.values()), rtol=6e-6
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_a_paths_scores_follow_its_strength_and_leave_the_others(kind, method):
    weak = known_circuit(kind, strengths=PathStrengths(heads=1.0, mlp=1.0, late=1.0))
    strong = known_circuit(kind, strengths=PathStrengths(heads=1.0, mlp=2.5, late=1.0))
    one, two = score(weak, method), score(strong, method)
    through_mlp = ["input->m0", "m0->a1.h0<v>"]
    elsewhere = ["a0.h1->a1.h0<v>", "a0.h1->m1", "m1->logits", "input->a0.h1<v>"]
    mlp = values_of(one, through_mlp)
    np.testing.assert_allclose(values_of(two, through_mlp), 2.5 * mlp, rtol=2e-5)
    np.testing.assert_allclose(values_of(two, elsewhere), values_of(one, elsewhere), rtol=2e-5)
    joint = values_of(two, ["a1.h0->logits"]) - values_of(one, ["a1.h0->logits"])
    np.testing.assert_allclose(joint, 1.5 * mlp[:, 1:], rtol=5e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("strengths", "edges"),
    [
        (PathStrengths(mlp=0.0, late=0.0), ["input->a0.h1<v>", "a0.h1->a1.h0<v>", "a1.h0->logits"]),
        (PathStrengths(heads=0.0, late=0.0), ["input->m0", "m0->a1.h0<v>", "a1.h0->logits"]),
        (PathStrengths(heads=0.0, mlp=0.0), ["input->a0.h1<v>", "a0.h1->m1", "m1->logits"]),
    ],
    ids=["heads", "mlp", "late"],
)
def test_a_path_alone_is_found_alone(strengths, edges, method):
    known = known_circuit("mdm", strengths=strengths)
    scores = score(known, method)
    assert set(known.edges) == found_edges(scores) == set(edges)
    np.testing.assert_allclose(values_of(scores, known.edges), known.scores, rtol=6e-6)


def test_one_integration_step_is_enough_where_the_model_is_linear():
    known = known_circuit("arm", dtype=torch.float64)
    for rule in ("left", "midpoint", "right"):
        scores = eap_ig(known.model, known.canvases, metric="logit_diff", ig_steps=1, rule=rule)
        # Alone, a step sees the norms' divisor at one signal: 8e-6 was measured, 3e-6 with five.
        np.testing.assert_allclose(values_of(scores, known.edges), known.scores, rtol=1.5e-5)
        np.testing.assert_allclose(scores.completeness_gap, 0.0, atol=1e-4)
