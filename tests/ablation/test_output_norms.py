"""Norms against the weights and activations of the stock module, one canvas at a time."""

import numpy as np
import pytest
import torch

from mechshift.ablation import inventory_of, measure_output_norms, removed_outputs
from mechshift.errors import AblationError
from mechshift.testing import known_circuit, random_language_model

MODELS = [("llama", "arm"), ("qwen3", "mdm"), ("gemma3", "arm"), ("gpt2", "mdm")]


@torch.no_grad()
def written_by_hand(model, canvases):
    """Name -> what it writes, [token, d_model], over all canvases, each run alone and unpadded."""
    written, parts = {}, model.parts

    def keep(name, tensor):
        written.setdefault(name, []).append(tensor[0])

    def factor(norm, returned):
        """What a norm behind a map multiplies all that the map returns with."""
        if norm is None:
            return 1.0
        mean_square = returned.square().mean(dim=-1, keepdim=True)
        return (1 + norm.module.weight) / (mean_square + norm.eps).sqrt()

    def keep_heads(index, weight, norm):
        def hook(_module, args):
            scale = factor(norm, args[0] @ weight.T)
            for head in range(parts.num_heads):
                part = slice(head * parts.head_dim, (head + 1) * parts.head_dim)
                keep(f"a{index}.h{head}", args[0][..., part] @ weight[:, part].T * scale)

        return hook

    def keep_neurons(index, weight, norm):
        def hook(_module, args):
            scale = factor(norm, args[0] @ weight.T)
            for neuron in range(weight.shape[1]):
                added = args[0][..., neuron, None] * weight[:, neuron] * scale
                keep(f"m{index}.n{neuron}", added)

        return hook

    def keep_output(name):
        return lambda _module, _args, output: keep(name, output)

    handles = [parts.embedding.register_forward_hook(keep_output("input"))]
    for index, layer in enumerate(parts.layers):
        heads, neurons = layer.output, layer.mlp_down
        handles += [
            heads.module.register_forward_pre_hook(
                keep_heads(index, heads.weight, layer.attention_post_norm)
            ),
            neurons.module.register_forward_pre_hook(
                keep_neurons(index, neurons.weight, layer.mlp_post_norm)
            ),
            layer.mlp_writer.register_forward_hook(keep_output(f"m{index}")),
        ]
    for canvas in canvases:
        model.module(torch.tensor([canvas.clean_ids]))
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts).numpy() for name, parts in written.items()}


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_norms_are_means_over_all_tokens_of_what_is_added_to_the_residual_stream(
    architecture, kind, canvases_of, plan_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    written = written_by_hand(model, canvases)
    norms = measure_output_norms(model, canvases, batch_size=3)
    inventory = inventory_of(model)
    names = [inventory.name(structure) for structure in range(inventory.num_structures)]
    expected = [np.linalg.norm(written[name], axis=-1).mean() for name in names]
    np.testing.assert_allclose(norms.norm, expected, rtol=1e-5)

    for chosen in (["a0.h1", "m1"], ["m0.n3", "m1.n5", "m1.n7"], ["a1.h0", "m0.n0"]):
        removed = removed_outputs(model, norms, [plan_of(model, *chosen).structures])
        squares = sum((written[name] ** 2).mean(axis=0) for name in chosen)
        norm = sum(np.linalg.norm(written[name], axis=-1).mean() for name in chosen)
        nodes = [name for name in chosen if ".n" not in name]
        neurons = [name for name in chosen if ".n" in name]
        total = 0.0
        for name, value in zip(names, expected, strict=True):
            total += value if (neurons if ".n" in name else nodes) else 0.0
        assert removed.norm[0] == pytest.approx(norm, rel=1e-5)
        assert removed.share[0] == pytest.approx(norm / total, rel=1e-5)
        largest = squares.max() / squares.sum()
        assert removed.largest_coordinate_share[0] == pytest.approx(largest, rel=1e-5)


def test_a_structure_that_writes_one_dimension_puts_all_on_one_coordinate(plan_of):
    known = known_circuit()
    norms = measure_output_norms(known.model, known.canvases)
    plans = [plan_of(known.model, name).structures for name in ("a0.h1", "m1.n0", "a0.h0")]
    removed = removed_outputs(known.model, norms, plans)
    np.testing.assert_allclose(removed.largest_coordinate_share, [1.0, 1.0, np.nan])
    assert removed.norm[0] > 0 and removed.norm[2] == 0


def test_everything_has_a_share_of_one_and_nothing_a_share_of_zero(canvases_of, plan_of):
    model = random_language_model("llama")
    norms = measure_output_norms(model, canvases_of(model))
    everything = norms.inventory.everything()
    removed = removed_outputs(model, norms, [everything, plan_of(model).structures])
    np.testing.assert_allclose(removed.share, [1.0, 0.0])
    assert 1 / 16 < removed.largest_coordinate_share[0] < 1
    assert np.isnan(removed.largest_coordinate_share[1])


def test_norms_on_no_canvases_are_refused():
    with pytest.raises(AblationError, match="no canvases were given"):
        measure_output_norms(random_language_model(), [])
