"""What the hand-made model promises before anybody attributes it."""

import numpy as np
import pytest
import torch

from mechshift.denoising import batch_canvases, readout_logits, score_readouts
from mechshift.interventions import recording
from mechshift.testing import PathStrengths, known_circuit
from mechshift.testing._known_circuit import ANSWER, HEAD_COPY, MLP_COPY, NAME


def run_clean(known):
    """The batch of all canvases, what was recorded, and the hidden states."""
    (batch,) = batch_canvases(known.model, known.canvases, 99)
    with recording(known.model.parts) as record:
        hidden = known.model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return batch, record, hidden


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_a_normed_residual_stream_is_the_residual_stream(kind):
    known = known_circuit(kind, dtype=torch.float64)
    batch, record, hidden = run_clean(known)
    tokens = batch.attention_mask.bool()
    for layer, parts in zip(record.layers, known.model.parts.layers, strict=True):
        stream = layer.mlp_input[tokens]
        torch.testing.assert_close(parts.mlp_norm(stream), stream, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden[tokens], record.final_input[tokens], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_attention_is_uniform_over_what_is_visible(kind):
    known = known_circuit(kind, dtype=torch.float64)
    batch, record, _ = run_clean(known)
    name = record.embedding[..., NAME]
    copied = record.layers[0].z.unflatten(-1, (2, 4))[:, :, 1, 0]  # head 1, its first dimension
    for row, mask in enumerate(batch.attention_mask.bool()):
        signal = name[row, mask]
        if kind == "arm":
            expected = signal.cumsum(0) / torch.arange(1, len(signal) + 1)
        else:
            expected = signal.mean().expand(len(signal))
        torch.testing.assert_close(copied[row, mask], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_each_path_writes_its_own_dimension(kind):
    known = known_circuit(kind, dtype=torch.float64)
    _, record, _ = run_clean(known)
    first, second = record.layers
    torch.testing.assert_close(
        first.mlp_output[..., MLP_COPY], record.embedding[..., NAME], rtol=1e-5, atol=1e-7
    )
    written = second.mlp_output.abs().amax(dim=(0, 1)) > 1e-9
    assert torch.nonzero(written).flatten().tolist() == [ANSWER]
    strength = PathStrengths().late
    torch.testing.assert_close(
        second.mlp_output[..., ANSWER],
        strength * second.mlp_input[..., HEAD_COPY],
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_model_answers_with_the_name_and_its_margin_is_half_the_score_into_the_logits(kind):
    known = known_circuit(kind)
    batch, _, hidden = run_clean(known)
    logits = readout_logits(known.model, hidden, batch)
    names = logits[:, [4, 5]]
    assert torch.equal(names.argmax(dim=-1) + 4, batch.target_ids)
    metric = score_readouts("logit_diff", logits, batch)[:, 0].numpy()
    into_logits = [i for i, name in enumerate(known.edges) if name.endswith("->logits")]
    carried = known.scores[batch.example][:, into_logits].sum(axis=1)
    np.testing.assert_allclose(metric, carried / 2, rtol=1e-5)


def test_a_path_of_strength_zero_has_no_edges():
    known = known_circuit("arm", strengths=PathStrengths(late=0.0))
    assert "m1->logits" not in known.edges and "a0.h1->m1" not in known.edges
    assert known.scores.shape == (6, 5)
