"""Hidden units of MLPs: their activations, what they write, and their scores.

A *neuron* here is a hidden unit of an MLP: one input feature a_j of its output projection, behind
the nonlinearity (and the gate). It writes a_j times column j of that projection. (The neurons of
`attribution.neuron_attribution` are dimensions of the residual stream, as in EAP-IG.)

    score(j) = mean over points of  sum over positions of  (a'_j - a_j) * d(-metric) / d a_j

with a' corrupted and a clean: what corrupting this unit alone costs, to first order, along the path
of `attribution.path`. The gradient at a_j is column j times the gradient at the MLP's output, so
only the latter is taken. The scores of an MLP's units sum to its node score exactly. Where a norm
stands behind the projection, a unit writes as `models.OutputMap` says, and a is over its divisor.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import chunk_canvases, collect_along_paths
from mechshift.attribution.output_gradients import OutputGradients
from mechshift.attribution.path import CLEAN, CORRUPTED, InputPath
from mechshift.denoising import Canvas
from mechshift.interventions import Recording, recorded_hidden_units
from mechshift.models import LanguageModel

EXAMPLES_PER_CHUNK = 32
"""Scores of every step are held for so many examples at a time."""


def hidden_unit_scores(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    layers: Sequence[int],
    *,
    metric: str,
    points: Sequence[float],
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Float[np.ndarray, "example layer unit"]:
    """Score of each hidden unit on each example [units of the metric], summed over steps.

    For each batch of canvases: a forward pass per point with a backward pass per denoising step,
    and two forward passes for the units' clean and corrupted values. The array is the largest that
    is held: 500 examples of 9 layers of Qwen2.5-7B are 340 MB.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        layers: whose units are scored.
        metric: a name in `denoising.METRICS`.
        points: where on the path gradients are taken, from 0, corrupted, to 1, clean.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: as `attribution.node_attribution`.
    """
    score = partial(_score_batch, points=points, layers=layers)
    axes = (len(layers), model.parts.num_neurons)
    return np.concatenate(
        [
            collect_along_paths(
                score,
                axes,
                model,
                chunk,
                metric=metric,
                grouped=True,
                batch_size=batch_size,
                progress=progress,
            ).values.sum(axis=1)
            for chunk in chunk_canvases(canvases, EXAMPLES_PER_CHUNK)
        ]
    )


def _score_batch(
    path: InputPath, *, points: Sequence[float], layers: Sequence[int]
) -> Float[Tensor, "row slot layer unit"]:
    gradients = OutputGradients(path.batch.num_slots, select=_mlp_outputs(layers))
    # Before the gradients, which then find that both ends have been run.
    corrupted, clean = (_units_at(path, end, layers) for end in (CORRUPTED, CLEAN))
    path.add_gradients(points, gradients)
    scores = []
    for index, layer in enumerate(layers):
        total = gradients.total(index)
        neurons = path.model.parts.layers[layer].neuron_map
        at_ends = (neurons.scaled(end[layer].to(total.dtype)) for end in (corrupted, clean))
        difference = next(at_ends) - next(at_ends)
        weight = neurons.weight.to(total.dtype)
        # One slot at a time: [row, position, unit] is large.
        by_slot = [((slot @ weight) * difference).sum(dim=1) for slot in total]
        scores.append(torch.stack(by_slot, dim=1))
    return torch.stack(scores, dim=2).div_(-len(points))


def _units_at(
    path: InputPath, end: float, layers: Sequence[int]
) -> dict[int, Float[Tensor, "row position unit"]]:
    with recorded_hidden_units(path.model.parts, layers) as units, torch.no_grad():
        path.run_end(end)
    return units


def _mlp_outputs(layers: Sequence[int]) -> Callable[[Recording], list[Tensor]]:
    return lambda record: [record.layers[layer].mlp_output for layer in layers]
