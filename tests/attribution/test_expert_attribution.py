"""Experts as nodes: what they write, the definition, the sum over a mixture, exact patching."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.attribution import (
    CLEAN,
    CORRUPTED,
    exact_expert_scores,
    expert_attribution,
    node_attribution,
    path_points,
)
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.interventions import recording
from mechshift.testing import random_examples, random_language_model

KINDS = [("arm", None), ("mdm", None), ("mdm", "causal-prefix")]
POINTS = path_points("midpoint", 2)
NUM_EXPERTS = 4


def mixture(kind="mdm", attention=None, **options):
    return random_language_model(
        "qwen3_moe", kind, attention=attention, dtype=torch.float64, options=options
    )


def canvases_of(model, num_targets=(3, 1, 2)):
    drawn = [
        random_examples(3, kind=model.kind, num_targets=n, suffix_length=2)[row]
        for row, n in enumerate(num_targets)
    ]
    return build_canvases(model, drawn, left_to_right(num_targets, 2))


@torch.no_grad()
@pytest.mark.parametrize("chosen", [1, 2, 4])
@pytest.mark.parametrize("normed", [False, True])
def test_what_experts_write_adds_up_to_what_the_stock_mixture_returns(chosen, normed):
    model = mixture(num_experts_per_tok=chosen, norm_topk_prob=normed)
    (batch,) = batch_canvases(model, canvases_of(model), 99)
    with recording(model.parts) as record:
        model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    assert model.parts.num_experts == NUM_EXPERTS
    for layer, recorded in zip(model.parts.layers, record.layers, strict=True):
        total, sent = torch.zeros_like(recorded.mlp_output).flatten(0, 1), 0
        for output in layer.run_experts(recorded.mlp_input.flatten(0, 1)):
            total.index_add_(0, output.token, output.written)
            sent += len(output.token)
        assert sent == chosen * len(total)
        expected = recorded.mlp_output.flatten(0, 1)
        torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("kind", "attention"), KINDS)
def test_a_score_is_the_product_of_an_experts_difference_and_the_gradient_behind_the_mixture(
    kind, attention, node_by_node, step_metrics
):
    model = mixture(kind, attention)
    canvases = canvases_of(model)
    found = expert_attribution(model, canvases, metric="log_prob", points=POINTS)
    run = node_by_node(model)
    expected = np.zeros_like(found.values)
    for canvas in canvases:
        clean, corrupted = run.embed(canvas.clean_ids), run.embed(canvas.corrupted_ids)
        differences = [
            after - before
            for after, before in zip(
                run.experts_of_layers(corrupted), run.experts_of_layers(clean), strict=True
            )
        ]
        for point in POINTS:
            at = (corrupted + point * (clean - corrupted)).requires_grad_()
            written, logits = run.run(at)
            for step, value in step_metrics("log_prob", logits, canvas).items():
                outputs = [written[f"m{layer}"] for layer in range(2)]
                gradients = torch.autograd.grad(value, outputs, retain_graph=True)
                for layer, gradient in enumerate(gradients):
                    score = -(differences[layer] * gradient).sum(dim=(1, 2)) / len(POINTS)
                    expected[canvas.example, step, layer] += score.detach().numpy()
    scale = np.abs(expected).max()
    assert scale > 0.1 and (np.abs(expected) > 1e-3 * scale).mean() > 0.3
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize(("kind", "attention"), KINDS)
@pytest.mark.parametrize("points", [(CLEAN,), (CORRUPTED,), POINTS])
def test_the_experts_of_a_layer_add_up_to_its_mixture(kind, attention, points):
    model = mixture(kind, attention)
    graph, canvases = model.graph(), canvases_of(model)
    experts = expert_attribution(model, canvases, metric="logit_diff", points=points)
    nodes = node_attribution(model, canvases, metric="logit_diff", points=points)
    of_mixtures = nodes.values[..., [graph.mlp_source(layer) for layer in range(2)]]
    scale = np.abs(experts.values).max()
    assert scale > 0.1
    np.testing.assert_allclose(experts.values.sum(axis=-1), of_mixtures, atol=1e-11 * scale)
    for name in ("clean_metric", "corrupted_metric", "num_steps"):
        np.testing.assert_allclose(getattr(experts, name), getattr(nodes, name), atol=1e-12)


@pytest.mark.parametrize(("kind", "attention"), KINDS)
def test_exact_patching_is_the_metric_lost_when_all_that_follows_reads_that_expert_corrupted(
    kind, attention, node_by_node, step_metrics
):
    model = mixture(kind, attention)
    canvases = canvases_of(model)
    found = exact_expert_scores(model, canvases, metric="logit_diff")
    run = node_by_node(model)
    expected = np.zeros_like(found.values)
    for canvas in canvases:
        clean = run.embed(canvas.clean_ids)
        after = run.experts_of_layers(run.embed(canvas.corrupted_ids))
        before = run.experts_of_layers(clean)
        whole = step_metrics("logit_diff", run.run(clean)[1], canvas)
        for layer in range(2):
            later = [name for name in run.destinations if name[:2] in (f"a{layer + 1}", "lo")]
            later += [f"m{layer + 1}"] * (layer == 0)
            for expert in range(NUM_EXPERTS):
                change = after[layer][expert] - before[layer][expert]
                _, logits = run.run(clean, dict.fromkeys(later, change))
                for step, value in step_metrics("logit_diff", logits, canvas).items():
                    lost = float(whole[step] - value)
                    expected[canvas.example, step, layer, expert] = lost
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-10 * scale)


def test_for_a_change_that_is_small_the_estimate_is_what_exact_patching_measures():
    """The last layer's experts, of a model in which what they write hardly moves the norm."""
    model = mixture()
    with torch.no_grad():
        model.module.model.layers[1].mlp.experts.down_proj.mul_(1e-5)
    canvases = canvases_of(model)
    estimate = expert_attribution(model, canvases, metric="logit_diff", points=(CLEAN,))
    exact = exact_expert_scores(model, canvases, metric="logit_diff")
    scale = np.abs(exact.values[..., 1, :]).max()
    np.testing.assert_allclose(
        estimate.values[..., 1, :], exact.values[..., 1, :], rtol=0, atol=1e-3 * scale
    )


@pytest.mark.parametrize("method", [expert_attribution, exact_expert_scores])
def test_neither_batch_size_nor_padding_changes_a_score(method):
    model = mixture()
    canvases = canvases_of(model)
    alone = method(model, canvases, metric="logit_diff", batch_size=1)
    assert any((b.attention_mask == 0).any() for b in batch_canvases(model, canvases, 16))
    together = method(model, canvases, metric="logit_diff", batch_size=16)
    scale = np.abs(alone.values).max()
    np.testing.assert_allclose(together.values, alone.values, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("method", [expert_attribution, exact_expert_scores])
def test_an_expert_that_no_token_is_sent_to_has_no_score_and_nothing_stays_hooked(method):
    model = mixture(num_experts_per_tok=1)
    with torch.no_grad():
        for layer in model.module.model.layers:
            layer.mlp.gate.weight[2].zero_()
            layer.mlp.gate.weight[3] = -layer.mlp.gate.weight[1]  # one of the two is above 0
    before = {name: len(m._forward_hooks) for name, m in model.module.named_modules()}
    scores = method(model, canvases_of(model), metric="logit_diff")
    assert (scores.values[..., 2] == 0).all()
    after = {name: len(m._forward_hooks) for name, m in model.module.named_modules()}
    assert after == before


def test_a_model_without_mixtures_is_refused():
    model = replace(random_language_model("llama", "mdm"), name="dense")
    with pytest.raises(AttributionError, match="'dense' has no experts to score: its layers hold"):
        expert_attribution(model, canvases_of(model), metric="logit_diff")
