"""Replaced outputs against edited weights, against the run they are taken from, and run by run."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.interventions import (
    ChosenOutputs,
    Site,
    noted_positions,
    recorded_outputs,
    replaced_outputs,
)
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
WITH_NEURONS = [model for model in MODELS if model[0] != "qwen3_moe"]
"""All but a mixture of experts, whose hidden neurons no map of its own reads."""
NUM_NEURONS = 24


def chosen_outputs(model, *runs):
    """One run for each list of names: `input`, `a0.h1`, `m1`, or `n1.7`, a neuron of layer 1."""
    graph = model.graph()
    nodes = np.zeros((len(runs), graph.num_sources), dtype=bool)
    neurons = np.zeros((len(runs), graph.num_layers, NUM_NEURONS), dtype=bool)
    names = [graph.source_name(source) for source in range(graph.num_sources)]
    for run, wanted in enumerate(runs):
        for name in wanted:
            if name.startswith("n"):
                layer, neuron = map(int, name[1:].split("."))
                neurons[run, layer, neuron] = True
            else:
                nodes[run, names.index(name)] = True
    return ChosenOutputs(graph=graph, nodes=nodes, neurons=neurons)


def zero(_site, output):
    return output.new_zeros(())


@torch.no_grad()
def without(model, names):
    """A copy whose weights never let these structures write."""
    edited = replace(model, module=copy.deepcopy(model.module))
    parts = edited.parts
    for name in names:
        if name == "input":
            parts.embedding.weight.zero_()
            continue
        layer = parts.layers[int(name[1:].split(".")[0])]
        if name.startswith("m"):
            if layer.mlp_down is None:
                layer.mlp.experts.down_proj.zero_()
                continue
            layer.mlp_down.weight.zero_()
            if layer.mlp_down.bias is not None:
                layer.mlp_down.bias.zero_()
        elif name.startswith("a"):
            head = int(name.split("h")[1])
            layer.output.weight[:, head * parts.head_dim : (head + 1) * parts.head_dim] = 0.0
        else:
            layer.mlp_down.weight[:, int(name.split(".")[1])] = 0.0
    return edited


@pytest.mark.parametrize(
    ("names", "architecture", "kind"),
    [
        (names, *model)
        for models, chosen in (
            (MODELS, (("a0.h1",), ("m0",), ("input",), ("a0.h0", "a1.h0", "a1.h1", "m1"))),
            (WITH_NEURONS, (("n1.3", "n1.17", "n0.5"), ("a0.h0", "a1.h1", "m1", "n0.2"))),
        )
        for names in chosen
        for model in models
    ],
    ids=str,
)
def test_zeroing_an_output_is_zeroing_the_weights_that_write_it(
    names, architecture, kind, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    clean = hidden_of(model, batch)
    expected = hidden_of(without(model, names), batch)
    with replaced_outputs(model.parts, chosen_outputs(model, names), zero):
        found = hidden_of(model, batch)
    assert (clean - expected).abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def rows_of(batch, name, times):
    tensors = (getattr(batch, name), batch.attention_mask, batch.position_ids)
    return [tensor.repeat(times, 1) for tensor in tensors]


@pytest.mark.parametrize(("architecture", "kind"), [("qwen2", "arm"), ("gpt2", "mdm")])
def test_the_runs_of_one_pass_do_not_touch_each_other(architecture, kind, padded_batch):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = padded_batch(model)
    runs = [["a0.h0"], [], ["m1", "a1.h1"], ["n0.1", "n1.2"]]
    with replaced_outputs(model.parts, chosen_outputs(model, *runs), zero):
        together = model.hidden(*rows_of(batch, "clean_ids", len(runs)))
    for run, found in zip(runs, together.unflatten(0, (len(runs), -1)), strict=True):
        with replaced_outputs(model.parts, chosen_outputs(model, run), zero):
            alone = model.hidden(*rows_of(batch, "clean_ids", 1))
        tokens = batch.attention_mask.bool()
        torch.testing.assert_close(found[tokens], alone[tokens], rtol=0, atol=1e-12)


def every_node(model):
    graph = model.graph()
    return [graph.source_name(source) for source in range(graph.num_sources)]


@pytest.mark.parametrize(
    ("neurons", "architecture", "kind"),
    [(False, *model) for model in MODELS] + [(True, *model) for model in WITH_NEURONS],
)
def test_given_all_outputs_of_another_prompt_the_model_computes_as_on_that_prompt(
    neurons, architecture, kind, padded_batch
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch, names = padded_batch(model), every_node(model)
    if neurons:
        names = [name for name in names if not name.startswith("m")]
        names += [f"n{layer}.{neuron}" for layer in range(2) for neuron in range(NUM_NEURONS)]
    chosen = chosen_outputs(model, names)
    with recorded_outputs(model.parts, chosen) as outputs:
        corrupted = model.hidden(*rows_of(batch, "corrupted_ids", 1))
    with replaced_outputs(model.parts, chosen, lambda site, _output: outputs[site]):
        found = model.hidden(*rows_of(batch, "clean_ids", 1))
    tokens = batch.attention_mask.bool()
    torch.testing.assert_close(found[tokens], corrupted[tokens], rtol=0, atol=1e-12)


def test_only_the_sites_of_what_is_chosen_are_recorded(padded_batch, hidden_of):
    model = random_language_model("llama")
    chosen = chosen_outputs(model, ["a0.h1"], ["n1.0", "input"])
    with recorded_outputs(model.parts, chosen) as outputs:
        hidden_of(model, padded_batch(model))
    assert set(outputs) == {Site("input", -1), Site("heads", 0), Site("neurons", 1)}
    assert outputs[Site("heads", 0)].shape[-1] == 16
    assert outputs[Site("neurons", 1)].shape[-1] == NUM_NEURONS


@pytest.mark.parametrize(
    "attention", ["causal", "full", "block-causal", "observed-first", "causal-prefix"]
)
def test_the_positions_of_a_pass_are_noted(attention, padded_batch, hidden_of):
    model = random_language_model("qwen3", "mdm", attention=attention)
    batch = padded_batch(model)
    with noted_positions(model.parts) as positions:
        assert positions.ids is None
        hidden_of(model, batch)
    assert torch.equal(positions.ids, batch.position_ids)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_the_model_is_bit_for_bit_as_before_also_after_an_error(
    architecture, footprint, padded_batch, hidden_of
):
    model = random_language_model(architecture, "mdm")
    batch, before = padded_batch(model), footprint(model.module)
    weights = copy.deepcopy(model.module.state_dict())
    outside = hidden_of(model, batch)
    chosen = chosen_outputs(model, [*every_node(model), "n0.0"])

    def fail(_site, _output):
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        with (
            noted_positions(model.parts),
            recorded_outputs(model.parts, chosen),
            replaced_outputs(model.parts, chosen, fail),
        ):
            assert footprint(model.module) != before
            hidden_of(model, batch)
    assert footprint(model.module) == before
    assert all(torch.equal(weights[name], now) for name, now in model.module.state_dict().items())
    assert torch.equal(hidden_of(model, batch), outside)


def test_where_nothing_is_chosen_nothing_is_hooked(footprint):
    model = random_language_model("llama")
    before = footprint(model.module)
    with replaced_outputs(model.parts, chosen_outputs(model, []), zero):
        assert footprint(model.module) == before
