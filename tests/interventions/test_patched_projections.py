import pytest
import torch

from mechshift.interventions import recording
from mechshift.interventions.patched_projections import (
    attend,
    attention_arguments,
    patched_projections,
)
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


def record_pass(model, batch, hidden_of):
    with recording(model.parts) as record, attention_arguments(model.parts) as arguments:
        hidden_of(model, batch)
    return record, arguments


def by_head(recorded, d_head):
    """Query, key, value and z of every query head."""
    tensors = (recorded.query, recorded.key, recorded.value, recorded.z)
    return [tensor.unflatten(-1, (-1, d_head)) for tensor in tensors]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_given_its_own_queries_keys_and_values_attention_returns_its_own_z(
    architecture, kind, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    record, arguments = record_pass(model, batch, hidden_of)
    tokens = batch.attention_mask.bool()
    for layer, recorded, given in zip(model.parts.layers, record.layers, arguments, strict=True):
        query, key, value, z = by_head(recorded, model.parts.head_dim)
        found = attend(layer, query, key, value, given)
        torch.testing.assert_close(found[tokens], z[tokens])


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_heads_may_be_given_in_any_number_and_each_with_its_own_key(
    architecture, kind, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    record, arguments = record_pass(model, batch, hidden_of)
    layer, tokens = model.parts.layers[1], batch.attention_mask.bool()
    query, key, value, z = by_head(record.layers[1], model.parts.head_dim)
    # Another key for head 0 only: head 1, which may share its KV head, keeps its own z.
    key = torch.cat([2 * key[..., :1, :] + 1, key[..., 1:, :]], dim=-2)
    both = attend(layer, query[..., :2, :], key[..., :2, :], value[..., :2, :], arguments[1])
    assert (both - z[..., :2, :])[tokens][:, 0].abs().max() > 1e-3
    torch.testing.assert_close(both[tokens][:, 1], z[tokens][:, 1])
    alone = attend(layer, query[..., :1, :], key[..., :1, :], value[..., :1, :], arguments[1])
    torch.testing.assert_close(alone[tokens], both[tokens][:, :1])


@pytest.mark.parametrize(("architecture", "shape"), [("qwen3", (4, 6)), ("gpt2", (2, 8))])
def test_the_projections_are_put_back_also_after_an_error(
    architecture, shape, footprint, padded_batch, hidden_of
):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    batch, layer = padded_batch(model), model.parts.layers[0]
    before, outside = footprint(model.module), hidden_of(model, batch)
    heads = torch.ones(1, 2, *shape, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="inside"):
        with patched_projections(layer, heads, heads, heads):
            given = layer.key.taken_from(layer.key.module(torch.zeros(16)))
            assert torch.equal(given, heads.flatten(-2))
            raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="inside"):
        with attention_arguments(model.parts):
            raise RuntimeError("inside")
    assert footprint(model.module) == before
    assert torch.equal(hidden_of(model, batch), outside)


def test_a_forward_that_was_exchanged_before_is_put_back(monkeypatch):
    layer = random_language_model("llama").parts.layers[0]
    module = layer.query.module
    own = module.forward
    monkeypatch.setattr(module, "forward", lambda x: own(x) + 1)
    exchanged = module.forward
    heads = torch.ones(1, 2, 2, 8)
    with patched_projections(layer, heads, heads, heads):
        assert module.forward is not exchanged
    assert module.forward is exchanged
