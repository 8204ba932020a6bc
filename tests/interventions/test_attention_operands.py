"""The operands are those of the stock kernel: put together again, they give the stock z."""

import pytest
import torch

from mechshift.interventions import batch_arguments, operands_returned, recording
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind, None) for name in ARCHITECTURES for kind in ("arm", "mdm")]
MASKED_OTHERWISE = [
    (name, "mdm", attention)
    for name in ("gpt2", "qwen2")
    for attention in ("block-causal", "observed-first", "causal-prefix")
]


def attend_by_hand(operands):
    share = operands.query.shape[1] // operands.key.shape[1]
    key, value = (heads.repeat_interleave(share, dim=1) for heads in (operands.key, operands.value))
    scores = operands.query @ key.mT * operands.scaling
    if operands.mask is not None:
        scores = scores + operands.mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(-2)


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "kind", "attention"), MODELS + MASKED_OTHERWISE)
def test_operands_put_together_by_hand_give_the_stock_z(
    architecture, kind, attention, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    batch = padded_batch(model)
    arguments = batch_arguments(model, batch)
    with recording(model.parts, grouped=True) as record:
        hidden_of(model, batch)
    tokens = batch.attention_mask.bool()
    for layer, recorded, given in zip(model.parts.layers, record.layers, arguments, strict=True):
        with operands_returned(model):
            normed = layer.attention_norm(recorded.attention_input)
            _, operands = layer.attention(hidden_states=normed, **given)
        torch.testing.assert_close(attend_by_hand(operands)[tokens], recorded.z[tokens])


def test_the_models_own_kernel_is_back_after_the_block_also_after_an_error(padded_batch, hidden_of):
    model = random_language_model("llama", "mdm")
    batch, before = padded_batch(model), model.module.config._attn_implementation
    outside = hidden_of(model, batch)
    with pytest.raises(RuntimeError, match="inside"), operands_returned(model):
        assert model.module.config._attn_implementation != before
        raise RuntimeError("inside")
    assert model.module.config._attn_implementation == before
    assert torch.equal(hidden_of(model, batch), outside)
