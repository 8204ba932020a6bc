"""EAP against finite differences, against the hand-made circuit and where it must say nothing."""

import numpy as np
import pytest
import torch

from mechshift.attribution import eap, eap_ig, exact_edge_scores
from mechshift.attribution._eap import gradient_point
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.testing import known_circuit, random_examples, random_language_model


def canvases_of(model, num_examples=2):
    examples = random_examples(num_examples, kind=model.kind, suffix_length=1)
    return build_canvases(model, examples, left_to_right([2] * num_examples, 1))


@pytest.mark.parametrize("gradient_at", ["clean", "corrupted"])
@pytest.mark.parametrize(("architecture", "kind"), [("qwen2", "arm"), ("qwen3", "mdm")])
def test_a_score_is_the_slope_of_the_metric_at_the_input_that_was_asked_for(
    architecture, kind, gradient_at, node_by_node, step_metrics
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    (canvas,) = canvases_of(model, 1)
    scores = eap(model, [canvas], metric="log_prob", gradient_at=gradient_at)

    run = node_by_node(model)
    ends = {"clean": run.embed(canvas.clean_ids), "corrupted": run.embed(canvas.corrupted_ids)}
    (clean_out, _), (corrupted_out, _) = run.run(ends["clean"]), run.run(ends["corrupted"])
    width = 1e-5
    for edge in ("input->a0.h1<q>", "a0.h3->m1", "m0->a1.h2<k>", "m0->a1.h0<v>", "a1.h1->logits"):
        source, destination = edge.split("->")
        change = width * (corrupted_out[source] - clean_out[source])

        def metric_with(added, destination=destination):
            _, logits = run.run(ends[gradient_at], {destination: added})
            return float(step_metrics("log_prob", logits, canvas)[0])

        rise = metric_with(change) - metric_with(-change)
        score = scores.values[0, 0, scores.graph.edge_index(edge)]
        assert score == pytest.approx(-rise / (2 * width), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("gradient_at", "rule"), [("clean", "right"), ("corrupted", "left")])
def test_eap_is_eap_ig_with_one_step_at_that_end(gradient_at, rule):
    model = random_language_model("llama", "mdm")
    canvases = canvases_of(model)
    one_gradient = eap(model, canvases, metric="logit_diff", gradient_at=gradient_at)
    one_step = eap_ig(model, canvases, metric="logit_diff", rule=rule, ig_steps=1)
    np.testing.assert_array_equal(one_gradient.values, one_step.values)
    np.testing.assert_array_equal(one_gradient.input_score, one_step.input_score)


@pytest.mark.parametrize("gradient_at", ["clean", "corrupted"])
def test_both_ends_give_the_scores_by_hand_where_the_model_is_linear(gradient_at):
    known = known_circuit("mdm", dtype=torch.float64)
    scores = eap(known.model, known.canvases, metric="logit_diff", gradient_at=gradient_at)
    index = [scores.graph.edge_index(name) for name in known.edges]
    np.testing.assert_allclose(scores.values[:, 0, index], known.scores, rtol=1.5e-5)


def test_kl_is_refused_at_the_clean_input_where_every_edge_would_score_zero():
    model = random_language_model(dtype=torch.float64)
    canvases = canvases_of(model)
    with pytest.raises(AttributionError, match="'kl' is zero at the clean input, so every edge"):
        eap(model, canvases, metric="kl")
    flat = eap_ig(model, canvases, metric="kl", rule="right", ig_steps=1).values
    assert np.abs(flat).max() < 1e-12
    assert np.abs(eap(model, canvases, metric="kl", gradient_at="corrupted").values).max() > 1e-2


def test_an_unknown_end_is_refused_with_the_known_ones():
    with pytest.raises(AttributionError, match="at 'middle'; known: clean, corrupted"):
        gradient_point("middle", "logit_diff")


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_what_input_loses_of_kl_is_what_corruption_costs(kind):
    model = random_language_model("qwen2", kind, dtype=torch.float64, gain=0.7)
    scores = eap_ig(model, canvases_of(model), metric="kl", rule="midpoint", ig_steps=40)
    assert not scores.clean_metric.any()
    assert scores.corrupted_metric.min() < -0.1
    # 1.2e-4 was measured.
    np.testing.assert_allclose(scores.input_score, -scores.corrupted_metric, rtol=1e-3)


def test_no_edge_can_be_corrupted_to_the_benefit_of_kl():
    model = random_language_model("llama", "mdm", dtype=torch.float64)
    scores = exact_edge_scores(model, canvases_of(model), metric="kl")
    assert scores.values.max() > 0.1
    assert scores.values.min() > -1e-12
