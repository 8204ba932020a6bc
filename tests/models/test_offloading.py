"""A model, some weights of which lie on the disk, computes what it does with all in memory."""

import numpy as np
import pytest
import torch

from mechshift.attribution import (
    attribute,
    eap_ig,
    exact_edge_scores,
    neuron_attribution,
    node_attribution,
    position_flow,
)
from mechshift.circuits import select_top_edges
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import ConfigError, ModelError
from mechshift.evaluation import evaluate_circuits
from mechshift.models import load_language_model, read_like
from mechshift.models.offloading import brought_again, held
from mechshift.run.pair_options import find_device, find_devices
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import LiveBytes

NUM_LAYERS = 4


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A function: a random model of a class, with all weights in memory and with a third."""

    def load(architecture="llama", kind="arm", attention="causal"):
        made = random_language_model(
            architecture, kind, attention=attention, num_layers=NUM_LAYERS, seed=3
        )
        folder = tmp_path_factory.mktemp(architecture)
        made.module.save_pretrained(folder)
        made.tokenizer.save_pretrained(folder)
        gigabytes = 4 * made.module.num_parameters() / 1e9 / 3
        return [
            load_language_model(
                folder, name="m", kind=kind, attention=attention, shift=True, device=device
            )
            for device in ("cpu", f"cpu+offload={gigabytes:.9f}")
        ]

    return load


def canvases_of(model, examples):
    return build_canvases(model, examples, left_to_right([len(e.target_ids) for e in examples]))


def elsewhere(model):
    return [name for name, weight in model.module.named_parameters() if weight.is_meta]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3", "gemma3"])
def test_edge_scores_are_those_of_a_model_in_memory(loaded, architecture, caplog):
    whole, spread = loaded(architecture)
    assert not caplog.records, "what was asked for is no news"
    assert not elsewhere(whole) and len(elsewhere(spread)) > 4
    assert spread.device == torch.device("cpu") and spread.hashes == whole.hashes
    examples = random_examples(4)
    of_whole, of_spread = (
        eap_ig(model, canvases_of(model, examples), metric="logit_diff", ig_steps=3).values
        for model in (whole, spread)
    )
    assert np.abs(of_whole).max() > 1e-3
    np.testing.assert_allclose(of_spread, of_whole, atol=1e-6 * np.abs(of_whole).max())
    assert len(elsewhere(spread)) > 4, "weights that were brought have gone again"


def scores(model, method, examples):
    canvases = canvases_of(model, examples)
    return attribute(model, canvases, metric="logit_diff", method=method).values


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, examples: scores(model, "eap", examples),
        lambda model, examples: (
            exact_edge_scores(model, canvases_of(model, examples), metric="kl").values
        ),
        lambda model, examples: (
            node_attribution(model, canvases_of(model, examples), metric="log_prob").values
        ),
        lambda model, examples: (
            neuron_attribution(model, canvases_of(model, examples), metric="log_prob").values
        ),
        lambda model, examples: (
            position_flow(model, canvases_of(model, examples), examples, metric="logit_diff").net
        ),
    ],
    ids=["eap", "exact", "nodes", "neurons", "flow"],
)
def test_everything_else_that_is_attributed_is_too(loaded, measure):
    whole, spread = loaded()
    examples = random_examples(2)
    expected, found = (np.asarray(measure(model, examples)) for model in (whole, spread))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_circuits_run_alike(loaded):
    whole, spread = loaded()
    examples = random_examples(4)
    mean = scores(whole, "eap", examples).sum(axis=1).mean(axis=0)
    circuits = [select_top_edges(whole.graph(), mean, size) for size in (10, 60)]
    expected, found = (
        evaluate_circuits(model, canvases_of(model, examples), circuits, num_examples=4).metric
        for model in (whole, spread)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_read_like_another_model_without_a_copy_of_what_lies_elsewhere(loaded):
    (whole, spread), (mdm, _) = loaded(), loaded(kind="mdm", attention="full")
    expected, found = (read_like(model, mdm, name="m-full") for model in (whole, spread))
    assert elsewhere(found) == elsewhere(spread)
    hooks = [
        [part._hf_hook for part in model.module.modules() if hasattr(part, "_hf_hook")]
        for model in (spread, found)
    ]
    assert any(ours is theirs for ours, theirs in zip(*hooks, strict=True))
    ids = torch.tensor([[5, 6, 7, 8]])
    inputs = ids, torch.ones_like(ids), torch.arange(4)[None]
    torch.testing.assert_close(found.hidden(*inputs), expected.hidden(*inputs))


def test_a_graph_keeps_no_weight_that_was_brought(loaded):
    whole, spread = loaded()
    ids = torch.arange(5, 13)[None]

    def gradient(model):
        embeddings = whole.parts.embedding(ids).requires_grad_()
        inputs = torch.ones_like(ids), torch.arange(8)[None]
        hidden = model.hidden(ids, *inputs, embeddings=embeddings)
        return torch.autograd.grad(hidden.square().sum(), embeddings)[0]

    torch.testing.assert_close(gradient(spread), gradient(whole), rtol=0, atol=0)
    layer = next(part for part in spread.parts.layers[-1:])
    weight = held(layer.query.module, "weight")
    x = torch.ones(1, weight.shape[1], requires_grad=True)
    peaks = []
    for keeps in (False, True):
        with LiveBytes() as live, torch.enable_grad():
            if keeps:
                kept = [layer.query.module(x) for _ in range(20)]
            else:
                with brought_again(spread.module):
                    kept = [layer.query.module(x) for _ in range(20)]
        peaks.append(live.peak)
        total = torch.stack(kept).sum()
        torch.testing.assert_close(
            torch.autograd.grad(total, x)[0][0], 20 * weight.sum(dim=0), rtol=1e-5, atol=1e-6
        )
    assert peaks[1] - peaks[0] > 15 * weight.nbytes


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu+offload", r"'cpu\+offload' is not understood"),
        ("cpu+offload=much", "how many GB of weights the device may hold"),
        ("cpu+offload=-1", "is not understood"),
        ("cpu+offloading", "is not understood"),
        ("tpu+offload=1", "unknown device 'tpu'"),
    ],
)
def test_a_place_that_is_not_understood_is_refused(device, message, tmp_path):
    with pytest.raises(ModelError, match=message) as refused:
        load_language_model(
            tmp_path, name="m", kind="arm", attention="causal", shift=True, device=device
        )
    assert len(str(refused.value).splitlines()) == 1


def test_the_place_goes_through_the_settings_of_a_run():
    assert find_device("auto+offload=2").endswith("+offload=2")
    assert find_devices("cpu+offload=2", 1) == find_devices("cpu+offload=2", "auto")
    with pytest.raises(ConfigError, match="--devices 2 asks for several"):
        find_devices("cpu+offload=2", 2)
