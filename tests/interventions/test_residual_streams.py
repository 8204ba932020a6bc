"""Passes that begin at a later layer, against whole ones."""

import pytest
import torch

from mechshift.interventions import begun_at, input_stream, recorded_streams
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_pass_from_its_own_stream_is_the_whole_pass(
    architecture, kind, layer, padded_batch, hidden_of, footprint
):
    model = random_language_model(architecture, kind, num_layers=3)
    batch, before = padded_batch(model), footprint(model.module)
    with recorded_streams(model.parts) as streams:
        whole = hidden_of(model, batch)
    with begun_at(model.parts, layer, streams[layer]):
        torch.testing.assert_close(hidden_of(model, batch), whole, rtol=0, atol=0)
    assert footprint(model.module) == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_input_is_read_without_computing_a_layer(
    architecture, padded_batch, hidden_of, footprint
):
    model = random_language_model(architecture)
    batch, before, ran = padded_batch(model), footprint(model.module), []
    with recorded_streams(model.parts) as streams:
        hidden_of(model, batch)
    handle = model.parts.layers[0].attention.register_forward_hook(lambda *_: ran.append(0))
    stream = input_stream(model, batch.clean_ids, batch.attention_mask, batch.position_ids)
    handle.remove()
    assert torch.equal(stream, streams[0]) and ran == []
    assert footprint(model.module) == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_before_the_first_are_not_computed(architecture, padded_batch, hidden_of):
    model = random_language_model(architecture, num_layers=3)
    batch, ran = padded_batch(model), []
    with recorded_streams(model.parts) as streams:
        hidden_of(model, batch)
    for index, layer in enumerate(model.parts.layers):
        layer.attention.register_forward_hook(lambda *_, index=index: ran.append(index))
    with begun_at(model.parts, 2, streams[2]):
        hidden_of(model, batch)
    assert ran == [2]


def test_another_stream_gives_another_pass(padded_batch, hidden_of):
    model = random_language_model("llama", num_layers=3)
    batch = padded_batch(model)
    with recorded_streams(model.parts) as streams:
        whole = hidden_of(model, batch)
    with begun_at(model.parts, 2, 2 * streams[2]):
        assert not torch.allclose(hidden_of(model, batch), whole)


def test_an_error_inside_leaves_nothing_behind(padded_batch, footprint):
    model = random_language_model("llama", num_layers=3)
    before = footprint(model.module)
    stream = torch.zeros(1, 1, 16)
    with pytest.raises(ZeroDivisionError), begun_at(model.parts, 2, stream):
        raise ZeroDivisionError
    assert footprint(model.module) == before
