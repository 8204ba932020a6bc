"""Activations of chosen hidden units: the tokens that they fire on, their selectivity.

A gated unit can be strongly positive and strongly negative, and the two need not mean the same. The
larger tail decides: a unit's *direction* is the sign of the sum of its cubed activations, and it
*fires* with rate r = max(0, direction * activation).

Selectivity is the lifetime sparseness of the rates over all tokens,

    S = (1 - mean(r)^2 / mean(r^2)) / (1 - 1/n),

0 for a unit that fires alike on all n tokens, 1 for one that fires on a single token.

Source: Treves and Rolls 1991 (the ratio); Vinje and Gallant 2000, doi:10.1126/science.287.5456.1273
(this normalised form).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from mechshift.denoising import Canvas, batch_canvases
from mechshift.interventions import recorded_hidden_units
from mechshift.models import LanguageModel
from mechshift.semantics.readouts import MIN_EXAMPLES
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Estimates, bootstrap_weights, centred_estimate

NO_TOKEN = -1
"""Token id where a row or window has no token."""

TAIL_ROUNDING = 1e-6
"""Tails that differ by a smaller share than this are equal; of the order of float32's rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitActivations:
    """Activations of chosen units on all tokens of the clean canvases, as they are."""

    example: Int[np.ndarray, " canvas"]
    """Row in the pool; canvases are in pool order, then by step."""
    cluster: Int[np.ndarray, " canvas"]
    """Number of the example's cluster in the pool."""
    token_ids: Int[np.ndarray, "canvas position"]
    """Padded on the left with `NO_TOKEN`."""
    values: Float[np.ndarray, "canvas position unit"]
    """0 at padding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contexts:
    """Places where each unit fires most, at most one in each example; strongest first."""

    example: Int[np.ndarray, "unit context"]
    """Row in the pool."""
    token_ids: Int[np.ndarray, "unit context window"]
    """Tokens around the strongest, which stands in the middle; `NO_TOKEN` outside the canvas."""
    rates: Float[np.ndarray, "unit context window"]
    """Rate at each of these tokens; 0 outside the canvas."""


@torch.no_grad()
def unit_activations(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    layers: Int[np.ndarray, " unit"],
    units: Int[np.ndarray, " unit"],
    batch_size: int = 16,
) -> UnitActivations:
    """One forward pass per batch of clean canvases.

    Args:
        model: read through hooks that are gone afterwards.
        canvases: of any examples.
        layers: layer of each chosen unit.
        units: its index in its MLP.
        batch_size: canvases in one forward pass.
    """
    longest = max(len(canvas.clean_ids) for canvas in canvases)
    example, cluster, first_step, ids, values = [], [], [], [], []
    with recorded_hidden_units(model.parts, np.unique(layers).tolist()) as recorded:
        for batch in batch_canvases(model, canvases, batch_size):
            model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
            chosen = [recorded[int(at)][..., int(j)] for at, j in zip(layers, units, strict=True)]
            mask = batch.attention_mask.bool()
            activation = (torch.stack(chosen, dim=-1) * mask[..., None]).cpu().double()
            padding = longest - mask.shape[1]
            tokens = torch.where(mask, batch.clean_ids, NO_TOKEN).cpu().numpy()
            ids.append(np.pad(tokens, ((0, 0), (padding, 0)), constant_values=NO_TOKEN))
            values.append(np.pad(activation.numpy(), ((0, 0), (padding, 0), (0, 0))))
            example.append(batch.example)
            cluster.append(batch.cluster)
            first_step.append(batch.step[:, 0])
    order = np.lexsort((np.concatenate(first_step), np.concatenate(example)))
    return UnitActivations(
        example=np.concatenate(example)[order],
        cluster=np.concatenate(cluster)[order],
        token_ids=np.concatenate(ids)[order],
        values=np.concatenate(values)[order],
    )


def directions(activations: UnitActivations) -> Int[np.ndarray, " unit"]:
    """+1 or -1 for each unit: the sign of its larger tail, +1 where the tails are equal."""
    cubes = activations.values**3
    # Equal tails differ by rounding, which must not choose.
    margin = TAIL_ROUNDING * np.abs(cubes).sum(axis=(0, 1))
    return np.where(cubes.sum(axis=(0, 1)) < -margin, -1, 1)


def firing_rates(activations: UnitActivations) -> Float[np.ndarray, "canvas position unit"]:
    """How strongly each unit fires on each token, at least 0."""
    return np.maximum(activations.values * directions(activations), 0.0)


def lifetime_sparseness(
    mean: Float[np.ndarray, " row"], mean_square: Float[np.ndarray, " row"], num_tokens: int
) -> Float[np.ndarray, " row"]:
    """S from the mean rate and the mean squared rate, in [0, 1]."""
    return (1 - mean**2 / mean_square) / (1 - 1 / num_tokens)


def selectivity(activations: UnitActivations, settings: SemanticsSettings) -> Estimates:
    """Lifetime sparseness of each unit over the tokens of all canvases; resamples examples.

    NaN for a unit that never fires. Resamples in which a unit does not fire say nothing about its
    sparseness and are left out of its interval.
    """
    rates = firing_rates(activations)
    examples, first, row = np.unique(activations.example, return_index=True, return_inverse=True)
    tokens = np.zeros(len(examples))
    sums, squares = np.zeros((2, len(examples), rates.shape[2]))
    np.add.at(tokens, row, (activations.token_ids != NO_TOKEN).sum(axis=1))
    np.add.at(sums, row, rates.sum(axis=1))
    np.add.at(squares, row, (rates**2).sum(axis=1))
    pool = np.full((1, len(examples)), 1 / len(examples))
    weights = bootstrap_weights(activations.cluster[first], settings.num_resamples, settings.seed)
    rows = np.concatenate([pool, weights])
    counts = (rows @ tokens)[:, None]
    mean, mean_square = rows @ sums / counts, rows @ squares / counts
    value, low, high = np.full((3, rates.shape[2]), np.nan)
    for unit in np.flatnonzero(mean_square[0] > 0):
        fires = mean_square[:, unit] > 0
        found = lifetime_sparseness(
            mean[fires, unit], mean_square[fires, unit], num_tokens=int(tokens.sum())
        )
        value[unit] = found[0]
        if len(examples) >= MIN_EXAMPLES:
            estimate = centred_estimate(
                float(found[0]), found[1:], level=settings.level, bounds=(0.0, 1.0)
            )
            low[unit], high[unit] = estimate.interval.low, estimate.interval.high
    return Estimates(value=value, low=low, high=high, level=settings.level)


def strongest_contexts(activations: UnitActivations, num_contexts: int, radius: int) -> Contexts:
    """The tokens on which each unit fires most, with those around them.

    Ties fall to the earlier example, step and position. There are as many contexts as examples
    where these are fewer than asked for.
    """
    rates = firing_rates(activations)
    peak = rates.max(axis=1)
    firsts = np.unique(activations.example, return_index=True)[1]
    per_example = np.maximum.reduceat(peak, firsts, axis=0)
    order = np.argsort(-per_example, axis=0, kind="stable")[:num_contexts].T
    ids = np.pad(activations.token_ids, ((0, 0), (radius, radius)), constant_values=NO_TOKEN)
    padded = np.pad(rates, ((0, 0), (radius, radius), (0, 0)))
    ends = np.append(firsts[1:], len(peak))
    shape = (*order.shape, 2 * radius + 1)
    token_ids, around = np.full(shape, NO_TOKEN), np.zeros(shape)
    for unit, rank in np.ndindex(*order.shape):
        row = order[unit, rank]
        canvas = firsts[row] + peak[firsts[row] : ends[row], unit].argmax()
        position = rates[canvas, :, unit].argmax()
        window = slice(position, position + 2 * radius + 1)
        token_ids[unit, rank] = ids[canvas, window]
        around[unit, rank] = padded[canvas, window, unit]
    return Contexts(example=activations.example[firsts][order], token_ids=token_ids, rates=around)
