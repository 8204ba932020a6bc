"""Means by position against a loop over single canvases of the stock module."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.ablation import AblationSettings, sweep_ablations
from mechshift.ablation.replacements import position_means
from mechshift.errors import AblationError
from mechshift.interventions import Site
from mechshift.testing import random_language_model

MODELS = [("llama", "arm"), ("gpt2", "mdm"), ("qwen3", "mdm")]


@torch.no_grad()
def head_means(model, canvases):
    """Mean z of layer 0 at each position, from one canvas at a time."""
    kept = []
    module = model.parts.layers[0].output.module
    handle = module.register_forward_pre_hook(lambda _module, args: kept.append(args[0][0]))
    for canvas in canvases:
        model.module(torch.tensor([canvas.clean_ids]))
    handle.remove()
    longest = max(map(len, kept))
    return torch.stack(
        [torch.stack([z[p] for z in kept if len(z) > p]).mean(dim=0) for p in range(longest)]
    )


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_a_mean_runs_over_all_held_out_canvases_that_reach_its_position(
    architecture, kind, canvases_of, plan_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases, chosen = canvases_of(model, 7), plan_of(model, "a0.h1").structures.outputs()
    assert len({len(canvas.clean_ids) for canvas in canvases}) > 1
    means = position_means(model, canvases, chosen, batch_size=3)
    assert set(means.by_site) == {Site("heads", 0)}
    torch.testing.assert_close(means.by_site[Site("heads", 0)], head_means(model, canvases))


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_mean_ablation_puts_the_mean_of_its_position_in_the_heads_place(
    architecture, kind, canvases_of, plan_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases, held_out = canvases_of(model), canvases_of(model, 7, seed=3)
    table = sweep_ablations(
        model,
        canvases,
        [plan_of(model, "a0.h1")],
        AblationSettings(replacements=("mean",)),
        metric="logit_diff",
        mean_canvases=held_out,
    )
    means, d_head = head_means(model, held_out), model.parts.head_dim

    def put_mean(_module, args):
        z = args[0].clone()
        z[..., d_head : 2 * d_head] = means[: z.shape[1], d_head : 2 * d_head]
        return z

    expected = np.zeros(len(table.clean_metric))
    handle = model.parts.layers[0].output.module.register_forward_pre_hook(put_mean)
    with torch.no_grad():
        for canvas in canvases:
            logits = model.module(torch.tensor([canvas.clean_ids])).logits[0]
            for r in canvas.readouts:
                row = logits[r.position]
                expected[canvas.example] += row[r.target_id] - row[r.distractor_id]
    handle.remove()
    assert np.abs(table.metric[0, 0] - table.clean_metric).max() > 0.01
    np.testing.assert_allclose(table.metric[0, 0], expected, atol=1e-11)


def test_a_position_that_no_held_out_canvas_reaches_is_refused(canvases_of, plan_of):
    model = random_language_model("llama")
    canvases = canvases_of(model)
    short = [
        replace(canvas, clean_ids=canvas.clean_ids[:3], corrupted_ids=canvas.corrupted_ids[:3])
        for canvas in canvases
    ]
    settings = AblationSettings(replacements=("mean",))
    with pytest.raises(AblationError, match="position 8 has no mean output: the longest of"):
        sweep_ablations(
            model,
            canvases,
            [plan_of(model, "a0.h1")],
            settings,
            metric="log_prob",
            mean_canvases=short,
        )
