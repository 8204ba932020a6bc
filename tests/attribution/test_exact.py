"""Exact edge patching against a node-by-node run, and EAP-IG against exact edge patching."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from mechshift.attribution import eap_ig, exact_edge_scores
from mechshift.denoising import build_canvases, left_to_right
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
NEARLY_LINEAR = [
    model for model in MODELS if model[0] in ("gpt2", "llama", "ministral3", "mistral", "qwen2")
]
"""At a small gain, which norms of q and k, or of what a block writes, would undo."""


def canvases_of(model, num_examples=2, num_steps=2):
    examples = random_examples(num_examples, kind=model.kind, suffix_length=1)
    return build_canvases(model, examples, left_to_right([2] * num_examples, num_steps))


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_an_exact_score_is_what_a_run_with_that_edge_corrupted_loses(
    architecture, kind, node_by_node, step_metrics
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model, 1, 2 if kind == "arm" else 1)
    graph, scores = model.graph(), exact_edge_scores(model, canvases, metric="logit_diff")

    run = node_by_node(model)
    expected = np.zeros_like(scores.values)
    for canvas in canvases:
        clean = run.embed(canvas.clean_ids)
        clean_out, logits = run.run(clean)
        corrupted_out, corrupted_logits = run.run(run.embed(canvas.corrupted_ids))
        clean_metric = step_metrics("logit_diff", logits, canvas)
        corrupted_metric = step_metrics("logit_diff", corrupted_logits, canvas)
        for step in clean_metric:
            cell = canvas.example, step
            assert scores.clean_metric[cell] == pytest.approx(float(clean_metric[step]))
            assert scores.corrupted_metric[cell] == pytest.approx(float(corrupted_metric[step]))
        for edge in range(graph.num_edges):
            source, destination = graph.edge_name(edge).split("->")
            change = corrupted_out[source] - clean_out[source]
            _, logits = run.run(clean, {destination: change})
            for step, value in step_metrics("logit_diff", logits, canvas).items():
                expected[canvas.example, step, edge] = float(clean_metric[step] - value)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(scores.values, expected, atol=1e-10)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_corrupting_a_kv_heads_edge_corrupts_it_for_the_whole_group(kind, node_by_node):
    model = random_language_model("qwen2", kind, dtype=torch.float64)
    graph, canvases = model.graph(grouped=True), canvases_of(model, 1)
    scores = exact_edge_scores(model, canvases, metric="logit_diff", grouped=True)
    run, canvas = node_by_node(model), canvases[0]
    clean_out, _ = run.run(run.embed(canvas.clean_ids))
    corrupted_out, _ = run.run(run.embed(canvas.corrupted_ids))
    for kv_head, heads in ((0, (0, 1)), (1, (2, 3))):
        change = corrupted_out["m0"] - clean_out["m0"]
        added = {f"a1.h{head}<v>": change for head in heads}
        _, logits = run.run(run.embed(canvas.clean_ids), added)
        r = next(r for r in canvas.readouts if r.step == 0)
        expected = scores.clean_metric[0, 0] - float(
            logits[r.position, r.target_id] - logits[r.position, r.distractor_id]
        )
        score = scores.values[0, 0, graph.edge_index(f"m0->a1.h{kv_head}<v>")]
        assert score == pytest.approx(expected, abs=1e-10)


def relative_gap(estimate, exact):
    return np.abs(estimate - exact).max() / np.abs(exact).max()


@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", "mdm"), ("qwen2", "arm"), ("qwen3", "mdm")]
)
def test_the_gap_of_eap_ig_shrinks_in_proportion_to_the_corruption(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64, gain=0.7)
    canvases = canvases_of(model, 1)
    embedding = model.module.model.embed_tokens.weight
    original = embedding.clone()
    gaps = []
    for size in (1e-2, 5e-3):
        # Every token near one point: corrupting moves all activations by about `size`.
        embedding.copy_(original[5] + size * (original - original[5]))
        exact = exact_edge_scores(model, canvases, metric="logit_diff").values
        gaps.append(relative_gap(eap_ig(model, canvases, metric="logit_diff").values, exact))
    assert gaps[0] < 0.05
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.1)


def correlation(measure, estimate, exact):
    return float(measure(estimate.values.ravel(), exact.values.ravel())[0])


@pytest.mark.parametrize(("architecture", "kind"), NEARLY_LINEAR)
def test_eap_ig_agrees_with_exact_patching_where_the_model_is_nearly_linear(architecture, kind):
    """Measured at gain 0.1 with 20 midpoints: Pearson 1.0000, largest gap 0.012 of the scores."""
    model = random_language_model(architecture, kind, dtype=torch.float64, gain=0.1)
    canvases = canvases_of(model, 3, 1)
    exact = exact_edge_scores(model, canvases, metric="logit_diff")
    estimate = eap_ig(model, canvases, metric="logit_diff", rule="midpoint", ig_steps=20)
    assert correlation(pearsonr, estimate, exact) > 0.999
    assert relative_gap(estimate.values, exact.values) < 0.03


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_five_steps_are_closer_to_exact_patching_than_one_where_the_model_is_far_from_linear(
    architecture, kind
):
    """Measured at gain 1 in the order of MODELS, over the edges of three single examples.

    Pearson with five steps: 0.96, 0.92, 0.68, 0.87, 0.61, 0.61, 0.83, 0.75, 0.81, 0.79, 0.74, 0.75,
    0.79 and 0.78; with one: 0.84, 0.68, 0.33, 0.78, 0.36, 0.44, 0.58, 0.48, 0.57, 0.44, 0.51, 0.54,
    0.55 and 0.53. Spearman with five: 0.92, 0.83, 0.61, 0.76, 0.66, 0.56, 0.66, 0.66, 0.62, 0.62,
    0.59, 0.72, 0.68 and 0.73; with one: 0.79, 0.64, 0.47, 0.59, 0.39, 0.40, 0.40, 0.47, 0.29, 0.44,
    0.49, 0.51, 0.42 and 0.49.

    Of the mixture every token takes all experts; see the completeness gap for where it chooses.
    """
    options = {"num_experts_per_tok": 4} if architecture == "qwen3_moe" else None
    model = random_language_model(
        architecture, kind, dtype=torch.float64, gain=1.0, options=options
    )
    canvases = canvases_of(model, 3, 1)
    exact = exact_edge_scores(model, canvases, metric="logit_diff")
    one, five = (eap_ig(model, canvases, metric="logit_diff", ig_steps=m) for m in (1, 5))
    for measure, bound in ((pearsonr, 0.6), (spearmanr, 0.5)):
        assert correlation(measure, five, exact) > bound
        assert correlation(measure, five, exact) > correlation(measure, one, exact) + 0.04
