import pytest
import torch

from mechshift.interventions import recording
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_recording_does_not_change_the_logits(architecture, kind, grouped, padded_batch, hidden_of):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    outside = hidden_of(model, batch)
    with recording(model.parts, grouped=grouped):
        inside = hidden_of(model, batch)
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_what_sources_write_adds_up_to_what_destinations_read(
    architecture, kind, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    with recording(model.parts) as record:
        hidden = hidden_of(model, batch)
    stream = model.parts.embedding(batch.clean_ids)
    if architecture == "gpt2":  # its learned positions are part of what `input` writes
        stream = stream + model.module.transformer.wpe(batch.position_ids)
    assert torch.equal(record.embedding, stream)
    for layer, recorded in zip(model.parts.layers, record.layers, strict=True):
        torch.testing.assert_close(recorded.attention_input, stream)
        stream = stream + layer.head_map(recorded.z)
        torch.testing.assert_close(recorded.mlp_input, stream)
        assert torch.equal(recorded.mlp_read, recorded.mlp_input)
        stream = stream + recorded.mlp_output
    torch.testing.assert_close(record.final_input, stream)
    tokens = batch.attention_mask.bool()
    torch.testing.assert_close(model.parts.final_norm(record.final_input)[tokens], hidden)


@torch.no_grad()
def test_a_fused_projection_is_recorded_in_three_parts_and_passed_on_as_it_was(
    padded_batch, hidden_of
):
    model = random_language_model("gpt2", "mdm", dtype=torch.float64)
    batch = padded_batch(model)
    passed_on = []
    with recording(model.parts) as record:
        spies = [
            layer.attn.c_attn.register_forward_hook(lambda _m, _a, out: passed_on.append(out))
            for layer in model.module.transformer.h
        ]
        hidden_of(model, batch)
        [spy.remove() for spy in spies]
    for layer, recorded, output in zip(
        model.module.transformer.h, record.layers, passed_on, strict=True
    ):
        expected = layer.attn.c_attn(layer.ln_1(recorded.attention_input))
        parts = (recorded.query, recorded.key, recorded.value)
        assert torch.equal(torch.cat(parts, dim=-1), expected)
        assert torch.equal(output, expected)


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
def test_queries_keys_and_values_are_what_the_projections_return(grouped, padded_batch, hidden_of):
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    batch = padded_batch(model)
    with recording(model.parts, grouped=grouped) as record:
        hidden_of(model, batch)
    kv_heads = [0, 1] if grouped else [0, 0, 1, 1]
    for layer, recorded in zip(model.parts.layers, record.layers, strict=True):
        normed = layer.attention_norm(recorded.attention_input)
        torch.testing.assert_close(recorded.query, layer.query(normed))
        for name in ("key", "value"):
            by_head = getattr(layer, name)(normed).unflatten(-1, (2, 4))[..., kv_heads, :]
            torch.testing.assert_close(getattr(recorded, name), by_head.flatten(-2))


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_the_record_holds_the_latest_pass_and_its_autograd_graph(architecture, padded_batch):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    batch, parts = padded_batch(model), model.parts
    embeddings = parts.embedding(batch.clean_ids).requires_grad_()
    settings = dict(attention_mask=batch.attention_mask, position_ids=batch.position_ids)
    with recording(parts) as record:
        parts.decoder(inputs_embeds=2 * embeddings, use_cache=False, **settings)
        hidden = parts.decoder(
            inputs_embeds=embeddings, use_cache=False, **settings
        ).last_hidden_state
    positions = model.module.transformer.wpe(batch.position_ids) if architecture == "gpt2" else 0
    assert torch.equal(record.embedding, embeddings + positions)
    total = hidden[batch.attention_mask.bool()].square().sum()
    for layer in record.layers:
        tensors = (layer.query, layer.key, layer.value, layer.z, layer.mlp_read)
        assert all(g.abs().max() > 0 for g in torch.autograd.grad(total, tensors, None, True))


def test_a_record_is_kept_while_hooked_modules_are_called_by_themselves(padded_batch, hidden_of):
    model = random_language_model("gpt2", "mdm")
    with recording(model.parts) as record:
        hidden_of(model, padded_batch(model))
        layer, recorded = model.parts.layers[0], record.layers[0]
        before = {**vars(recorded), "final_input": record.final_input}
        with pytest.raises(RuntimeError, match="inside"), record.kept():
            layer.output.module(torch.zeros(16))
            assert recorded.z is not before["z"]
            model.parts.final_norm.module(torch.zeros(16))
            raise RuntimeError("inside")
        after = {**vars(recorded), "final_input": record.final_input}
    assert before.keys() == after.keys() and len(before) == 9
    assert all(after[name] is tensor for name, tensor in before.items())


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
def test_nothing_stays_hooked_also_after_an_error(grouped, footprint, padded_batch, hidden_of):
    model = random_language_model("qwen2", "mdm")
    batch, before = padded_batch(model), footprint(model.module)
    with recording(model.parts, grouped=grouped):
        hidden_of(model, batch)
        assert footprint(model.module) != before
    assert footprint(model.module) == before
    with pytest.raises(RuntimeError, match="inside"):
        with recording(model.parts, grouped=grouped):
            raise RuntimeError("inside")
    assert footprint(model.module) == before
