"""Direct attribution: it sums to the stock logits, and each term is the product by hand."""

import numpy as np
import pytest
import torch

from mechshift.denoising import batch_canvases
from mechshift.semantics._direct_logit_attribution import direct_logit_attribution
from mechshift.semantics.readouts import join_readouts
from mechshift.semantics.recorded_run import clean_run
from mechshift.testing import ARCHITECTURES, known_circuit, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


def stock_difference(logits, batch):
    rows = logits[batch.readout_row, batch.readout_position]
    pick = torch.arange(len(rows))
    return (rows[pick, batch.target_ids] - rows[pick, batch.distractor_ids]).numpy()


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_contributions_sum_to_the_stock_models_logit_difference(
    architecture, kind, batch_of, stock_output
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    found = direct_logit_attribution(clean_run(model, batch), batch)
    expected = stock_difference(stock_output(model, batch).logits, batch)
    explained = found.components.sum(axis=1) + found.output_bias.sum(axis=1) + found.final_bias
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(explained, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.logit_diff, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.gap, 0, atol=1e-10)
    has_bias = architecture == "gpt2"
    assert found.output_bias.any() == found.final_bias.any() == has_bias


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_removing_a_component_under_a_frozen_divisor_costs_its_contribution(
    architecture, kind, batch_of
):
    """The final norm's module is replaced by x -> w c(x) / r + b with r of the whole stream."""
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    run = clean_run(model, batch)
    found = direct_logit_attribution(run, batch)
    norm, module = model.parts.final_norm, model.module
    stream = run.record.final_input
    if norm.removes_mean:
        variance = stream.var(dim=-1, unbiased=False, keepdim=True)
    else:
        variance = stream.square().mean(dim=-1, keepdim=True)

    def difference(changed):
        mean = changed.mean(dim=-1, keepdim=True) if norm.removes_mean else 0
        normed = norm.weight * (changed - mean) / (variance + norm.eps).sqrt()
        return stock_difference(module.lm_head(normed), batch)

    for layer in range(2):
        z, projection = run.record.layers[layer].z, model.parts.layers[layer].output
        size = z.shape[-1] // model.parts.num_heads
        factor = 1.0
        if (post := model.parts.layers[layer].attention_post_norm) is not None:
            mean_square = projection(z).square().mean(dim=-1, keepdim=True)
            factor = (1 + post.module.weight) / (mean_square + post.eps).sqrt()
        for head in range(model.parts.num_heads):
            features = slice(head * size, (head + 1) * size)
            written = factor * (z[..., features] @ projection.weight[:, features].T)
            cost = difference(stream) - difference(stream - written)
            source = found.graph.head_source(layer, head)
            np.testing.assert_allclose(found.components[:, source], cost, atol=1e-10)
        cost = difference(stream) - difference(stream - run.record.layers[layer].mlp_output)
        source = found.graph.mlp_source(layer)
        np.testing.assert_allclose(found.components[:, source], cost, atol=1e-10)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_in_the_known_circuit_the_writers_of_the_answer_hold_half_their_edges_scores(kind):
    """An edge's score is what turning the answer from 1 to -1 costs: twice what it contributes."""
    known = known_circuit(kind, dtype=torch.float64)
    found = join_readouts(
        [
            direct_logit_attribution(clean_run(known.model, batch), batch)
            for batch in batch_canvases(known.model, known.canvases, 4)
        ]
    )
    by_hand = np.zeros_like(found.components)
    for name, scores in zip(known.edges, known.scores.T, strict=True):
        source, _, destination = name.partition("->")
        if destination == "logits":
            by_hand[:, found.graph.edge_source[found.graph.edge_index(name)]] = scores / 2
    assert (by_hand != 0).any(axis=0).sum() == 2
    np.testing.assert_allclose(found.components, by_hand, rtol=1e-5, atol=1e-6)


def test_a_bfloat16_models_contributions_are_summed_in_float32(batch_of):
    model = random_language_model("gpt2", "arm", dtype=torch.bfloat16)
    batch = batch_of(model)
    found = direct_logit_attribution(clean_run(model, batch), batch)
    assert found.components.dtype == found.logit_diff.dtype == np.float32
    # The model rounds its final hidden state to 8 bits; the contributions are not rounded.
    assert np.abs(found.gap).max() < 0.05 * np.abs(found.logit_diff).max()
