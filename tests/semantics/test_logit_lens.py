"""Lenses: the known circuit by hand, the model's own prediction, ties, pieces and batches."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from mechshift.denoising import batch_canvases
from mechshift.semantics._logit_lens import logit_lens, target_rank
from mechshift.semantics.readouts import join_readouts
from mechshift.semantics.recorded_run import clean_run
from mechshift.testing import ARCHITECTURES, known_circuit, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
READINGS = ("rank", "log_prob", "entropy", "top_ids")


def lens_of(model, canvases, batch_size=16):
    return join_readouts(
        [
            logit_lens(clean_run(model, batch), batch, num_top_tokens=3)
            for batch in batch_canvases(model, canvases, batch_size)
        ]
    )


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_only_the_writers_of_the_answer_know_it_in_the_known_circuit(kind):
    """Of 9 tokens. The unembedding reads ANSWER alone, which a1.h0 and m1 write.

    Alone their output is normed to a huge size, so the right name has all probability. Every other
    component, the embedding included, leaves all tokens alike.
    """
    known = known_circuit(kind, dtype=torch.float64)
    lens = lens_of(known.model, known.canvases)
    assert lens.vocab_size == 9
    for source in range(lens.graph.num_sources):
        name = lens.graph.source_name(source)
        rank, log_prob, entropy = (
            getattr(lens.components, reading)[:, source] for reading in READINGS[:3]
        )
        answers = name in ("a1.h0", "m1")
        np.testing.assert_allclose(rank, 1 if answers else 5, err_msg=name)
        np.testing.assert_allclose(log_prob, 0 if answers else -math.log(9), atol=1e-9)
        np.testing.assert_allclose(entropy, 0 if answers else math.log(9), atol=1e-9)
    answer_ids = lens.components.top_ids[:, lens.graph.head_source(1, 0), 0]
    np.testing.assert_array_equal(answer_ids, lens.readouts.target_id)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_answer_appears_after_the_last_layer_of_the_known_circuit(kind):
    known = known_circuit(kind, dtype=torch.float64)
    rank = lens_of(known.model, known.canvases).levels.rank
    np.testing.assert_array_equal(rank, np.tile([5, 5, 1], (len(rank), 1)))


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_the_last_level_is_the_stock_models_prediction(architecture, kind, batch_of, stock_output):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    lens = logit_lens(clean_run(model, batch), batch, num_top_tokens=4)
    logits = stock_output(model, batch).logits[batch.readout_row, batch.readout_position]
    distribution = torch.distributions.Categorical(logits=logits)
    order = logits.argsort(dim=-1, descending=True)
    rank = 1 + (order == batch.target_ids[:, None]).nonzero()[:, 1]
    np.testing.assert_array_equal(lens.levels.rank[:, -1], rank)
    np.testing.assert_allclose(
        lens.levels.log_prob[:, -1], distribution.log_prob(batch.target_ids), atol=1e-10
    )
    np.testing.assert_allclose(lens.levels.entropy[:, -1], distribution.entropy(), atol=1e-10)
    np.testing.assert_array_equal(lens.levels.top_ids[:, -1], order[:, :4])
    for reading in READINGS:
        np.testing.assert_array_equal(
            getattr(lens.levels, reading)[:, 0], getattr(lens.components, reading)[:, 0]
        )


@pytest.mark.parametrize(("architecture", "kind"), [("gpt2", "mdm"), ("qwen2", "arm")])
def test_a_components_lens_norms_the_component_by_itself(architecture, kind, batch_of):
    """The MLP of layer 1, normed and unembedded with the stock weights by the stock functions."""
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    run = clean_run(model, batch)
    output = run.record.layers[1].mlp_output[batch.readout_row, batch.readout_position]
    norm = model.parts.final_norm.module
    if architecture == "gpt2":
        normed = functional.layer_norm(output, (16,), norm.weight, norm.bias, norm.eps)
    else:
        normed = functional.rms_norm(output, (16,), norm.weight, norm.variance_epsilon)
    log_probs = (normed @ model.module.lm_head.weight.T).log_softmax(dim=-1)
    expected = functional.nll_loss(log_probs, batch.target_ids, reduction="none")
    lens = logit_lens(run, batch)
    found = lens.components.log_prob[:, lens.graph.mlp_source(1)]
    np.testing.assert_allclose(found, -expected, atol=1e-11)


def test_ties_share_their_mean_rank():
    logits = torch.tensor([[3.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 1.0, 2.0]])
    assert target_rank(logits, torch.tensor([2, 0, 0])).tolist() == [2.5, 2.5, 4.0]


def test_neither_batches_nor_pieces_change_a_reading(canvases_of, monkeypatch):
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    canvases = canvases_of(model)
    together = lens_of(model, canvases)
    # The package gives its function the module's name.
    module = importlib.import_module("mechshift.semantics._logit_lens")
    monkeypatch.setattr(module, "LOGITS_PER_PIECE", 3 * model.vocab_size)
    alone = lens_of(model, canvases, batch_size=1)
    for part in ("components", "levels"):
        for reading in READINGS:
            np.testing.assert_allclose(
                getattr(getattr(alone, part), reading),
                getattr(getattr(together, part), reading),
                atol=1e-10,
            )


def test_a_bfloat16_models_distributions_are_reduced_in_float32(batch_of):
    model = random_language_model("llama", "mdm", dtype=torch.bfloat16)
    batch = batch_of(model)
    lens = logit_lens(clean_run(model, batch), batch)
    assert lens.components.entropy.dtype == lens.levels.log_prob.dtype == np.float32
    assert (lens.components.entropy <= math.log(model.vocab_size) + 1e-5).all()
