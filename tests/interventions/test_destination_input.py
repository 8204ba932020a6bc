"""One destination reads a changed stream; against the projections worked out directly."""

import pytest
import torch

from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE
from mechshift.interventions import added_to_destination, recording
from mechshift.testing import random_language_model

NAMES = {QUERY: "query", KEY: "key", VALUE: "value"}


def change_for(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch.clean_ids.shape, 16, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
@pytest.mark.parametrize("kind", [QUERY, KEY, VALUE])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_only_the_heads_own_part_of_its_projection_changes(
    architecture, layer, kind, grouped, padded_batch, hidden_of
):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    d_head = model.parts.head_dim
    graph, batch = model.graph(grouped=grouped), padded_batch(model)
    change, parts = change_for(batch), model.parts.layers[layer]
    with recording(model.parts, grouped=True) as record:
        hidden_of(model, batch)
    stream = record.layers[layer].attention_input
    projection = getattr(parts, NAMES[kind])
    before = projection(parts.attention_norm(stream)).unflatten(-1, (-1, d_head))
    after = projection(parts.attention_norm(stream + change)).unflatten(-1, (-1, d_head))

    num_heads = graph.num_key_value_groups if kind != QUERY else graph.num_heads
    share = num_heads // before.shape[-2]
    for head in range(num_heads):
        destination = graph.destination_index(kind, layer, head)
        seen = {}
        with added_to_destination(model.parts, graph, destination, change):
            spy = projection.module.register_forward_hook(
                lambda _m, _a, out, seen=seen: seen.update(y=out)
            )
            hidden_of(model, batch)
            spy.remove()
        found = projection.taken_from(seen["y"]).unflatten(-1, (num_heads, d_head))
        for other in range(num_heads):
            expected = (after if other == head else before)[..., other // share, :]
            torch.testing.assert_close(found[..., other, :], expected)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_an_mlp_alone_reads_the_change(architecture, layer, padded_batch, hidden_of):
    model = random_language_model(architecture, "arm", dtype=torch.float64)
    graph, batch = model.graph(), padded_batch(model)
    change, parts = change_for(batch), model.parts.layers[layer]
    with recording(model.parts) as clean:
        hidden_of(model, batch)
    destination = graph.destination_index(MLP, layer)
    with added_to_destination(model.parts, graph, destination, change):
        with recording(model.parts, grouped=True) as changed:
            hidden_of(model, batch)
    one, two = clean.layers[layer], changed.layers[layer]
    torch.testing.assert_close(two.z, one.z)
    expected = parts.mlp(parts.mlp_norm(one.mlp_input + change))
    torch.testing.assert_close(two.mlp_output, expected)
    # The stream itself goes on unchanged but for what the MLP now writes.
    after = clean.final_input if layer else clean.layers[1].attention_input
    found = changed.final_input if layer else changed.layers[1].attention_input
    torch.testing.assert_close(found, after + expected - one.mlp_output)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_logits_alone_read_the_change(architecture, padded_batch, hidden_of):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    graph, batch = model.graph(), padded_batch(model)
    change = change_for(batch)
    with recording(model.parts) as record:
        hidden_of(model, batch)
    with added_to_destination(model.parts, graph, graph.destination_index(LOGITS, 2), change):
        hidden = hidden_of(model, batch)
    expected = model.parts.final_norm(record.final_input + change)
    torch.testing.assert_close(hidden, expected[batch.attention_mask.bool()])


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
def test_adding_nothing_changes_nothing_and_leaves_nothing(
    grouped, footprint, padded_batch, hidden_of
):
    model = random_language_model("qwen3", "mdm", dtype=torch.float64)
    graph, batch = model.graph(grouped=grouped), padded_batch(model)
    outside, before = hidden_of(model, batch), footprint(model.module)
    nothing = torch.zeros_like(change_for(batch))
    for destination in range(graph.num_destinations):
        with added_to_destination(model.parts, graph, destination, nothing):
            inside = hidden_of(model, batch)
        torch.testing.assert_close(inside, outside, rtol=0, atol=1e-11)
        assert footprint(model.module) == before
        with pytest.raises(RuntimeError, match="inside"):
            with added_to_destination(model.parts, graph, destination, nothing):
                raise RuntimeError("inside")
        assert footprint(model.module) == before
