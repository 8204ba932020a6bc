"""Attention weights against the eager implementation of the Hugging Face class."""

import pytest
import torch

from mechshift.semantics.attention_patterns import attention_pattern
from mechshift.semantics.recorded_run import clean_run
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_weights_are_those_that_eager_attention_returns(architecture, kind, batch_of, stock_output):
    model = random_language_model(architecture, kind)
    batch = batch_of(model)
    assert batch.clean_ids.shape[1] > model.parts.head_dim, "positions are named in several calls"
    run = clean_run(model, batch)
    found = [attention_pattern(run, layer).weights for layer in range(2)]
    model.module.set_attn_implementation("eager")
    expected = stock_output(model, batch, output_attentions=True).attentions
    queries = batch.attention_mask.bool()
    for weights, eager in zip(found, expected, strict=True):
        torch.testing.assert_close(
            weights.transpose(1, 2)[queries],
            eager.transpose(1, 2)[queries],
            rtol=0,
            atol=1e-5,
        )
        assert (weights.amax(dim=-1).transpose(1, 2)[queries] > 0.3).any(), (
            "attention is not uniform"
        )


@pytest.mark.parametrize("attention", ["causal", "full", "block-causal"])
def test_uniform_attention_falls_on_every_visible_token_alike(attention, batch_of):
    """Of a row without padding; blocks are of four positions."""
    model = random_language_model("qwen3", "mdm", attention=attention, dtype=torch.float64)
    batch = batch_of(model)
    row = int(batch.attention_mask.sum(dim=1).argmax())
    length = batch.clean_ids.shape[1]
    assert batch.attention_mask[row].all()
    seen = {
        "causal": torch.arange(length) + 1,
        "full": torch.full((length,), length),
        "block-causal": ((torch.arange(length) // 4 + 1) * 4).clamp(max=length),
    }[attention]
    expected = (torch.arange(length) < seen[:, None]) / seen[:, None]
    uniform = attention_pattern(clean_run(model, batch), 1).uniform[row]
    torch.testing.assert_close(uniform, expected.double())


def test_padding_is_never_attended_to(batch_of):
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    batch = batch_of(model)
    pattern = attention_pattern(clean_run(model, batch), 0)
    tokens = batch.attention_mask.bool()
    for weights in (pattern.weights, pattern.uniform[:, None]):
        to_padding = weights * ~tokens[:, None, None, :]
        assert to_padding.transpose(1, 2)[tokens].max() == 0
        torch.testing.assert_close(
            weights.sum(dim=-1).transpose(1, 2)[tokens],
            torch.ones(int(tokens.sum()), weights.shape[1], dtype=torch.float64),
        )
