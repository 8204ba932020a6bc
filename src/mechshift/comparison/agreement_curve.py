"""One measure of likeness over circuit sizes, with everything needed to read it.

1. Value: the two models' circuits, each from all examples.
2. Ceiling: halve the examples at random, compare the two halves of the *same* model, average over
   halvings. It is what one half agrees with the other when nothing changed.
3. Ratio: the ARM on one half with the MDM on the other half, over the geometric mean of the two
   ceilings. All three use half the examples, so sampling noise lowers them alike and two models
   with the same scores have ratio 1, exactly. (Dividing the value on *all* examples by ceilings of
   *half* of them would exceed 1 there.) It is disattenuation, Spearman 1904.
4. Null of the layout: shuffle the MDM's scores among edges of the same layer pair and edge type:
   what two models share merely because both use, say, layer 2's MLP to layer 4's keys.
   `layout_p`: how often a shuffle is at least as alike as the two models are.
5. Null of no difference: swap the two models' scores on a random half of the examples, after
   bringing both to one scale, and compare the two sides. `noise_p`: how often the sides are at
   most as alike as the two models are. Exact if an example's two scores, once on one scale, could
   as well have come from the other model; the scale is estimated, but a wrong scale multiplies
   both sides alike to first order and no measure sees it.
6. Intervals: bootstrap over examples, the same resample for both models, centred
   (`statistics.centred_estimates`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.ceilings import (
    HalfLikeness,
    likeness_of_halves,
    likeness_of_resampled_halves,
)
from mechshift.comparison.measured_pair import MeasuredPair
from mechshift.comparison.measures import Measure
from mechshift.comparison.settings import ComparisonSettings
from mechshift.statistics import (
    Estimates,
    bootstrap_weights,
    centred_estimates,
    exchange_masks,
    permutation_p,
    spread_of_draws,
)

EXCHANGE_SEED = 10_000
"""Added to the seed for exchanges of models, far from the seeds of halves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementCurve:
    """One measure; every array has axis `size`."""

    value: Estimates
    """Likeness of the two models."""

    ceiling_arm: Estimates
    """Split-half likeness of the ARM with itself."""

    ceiling_mdm: Estimates
    """Split-half likeness of the MDM with itself."""

    halves: Estimates
    """Likeness of the ARM on one half of the examples with the MDM on the other half."""

    ratio: Estimates
    """`halves` over the geometric mean of the ceilings; 1: as alike as noise lets one see."""

    null: Estimates
    """Likeness after shuffling within layer pair and edge type; low and high over shuffles."""

    layout_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no more alike than edges of the same layers and types are."""

    noise_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no less alike than the two models would be with one circuit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementCurves:
    """Several measures of the same pair."""

    by_measure: Mapping[str, AgreementCurve]
    ratio_draws: Mapping[str, Float[np.ndarray, "resample size"]]
    """Each measure's ratio on every resample; NaN where it is undefined."""
    notes: tuple[str, ...]
    """Why an entry is NaN; one line each."""


def agreement_curves(
    pair: MeasuredPair, groups: Int[np.ndarray, " edge"], settings: ComparisonSettings
) -> AgreementCurves:
    """Every measure of the pair with ceilings, ratio, nulls and p-values."""
    weights = bootstrap_weights(pair.num_examples, settings.num_resamples, settings.seed)
    swapped = exchange_masks(
        pair.num_examples, settings.num_exchanges, settings.seed + EXCHANGE_SEED
    )
    point, resampled = pair.on_pool(), pair.on_resamples(weights)
    halved = likeness_of_halves(pair, settings)
    rehalved = likeness_of_resampled_halves(pair, weights, settings)
    shuffled = pair.on_shuffles(groups, settings.num_shuffles, settings.seed)
    exchanged = pair.on_exchanges(swapped)
    curves, notes = {}, []
    for measure in pair.measures:
        name, level = measure.name, settings.level
        bounds = (measure.lowest, 1.0)
        value = estimates_where_defined(point[name], resampled[name], level, bounds)
        curves[name] = AgreementCurve(
            value=value,
            **_ceiling_estimates(halved[name], rehalved[name], measure, level),
            null=spread_of_draws(shuffled[name], level=level),
            layout_p=permutation_p(point[name], shuffled[name]),
            noise_p=permutation_p(-point[name], -exchanged[name]),
        )
        notes += notes_on_undefined(pair.sizes, value, measure.undefined, _words(name))
        notes += notes_on_undefined(
            pair.sizes, curves[name].ratio, "a split-half ceiling is 0", _ratio_words(measure)
        )
    return AgreementCurves(
        by_measure=curves,
        ratio_draws={name: halves.ratio for name, halves in rehalved.items()},
        notes=tuple(notes),
    )


def estimates_where_defined(
    value: Float[np.ndarray, " size"],
    samples: Float[np.ndarray, "resample size"],
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    """Intervals for the sizes at which the value and every resample exist, NaN elsewhere."""
    low, high = np.full((2, len(value)), np.nan)
    defined = np.isfinite(value) & np.isfinite(samples).all(axis=0)
    if defined.any():
        found = centred_estimates(value[defined], samples[:, defined], level=level, bounds=bounds)
        low[defined], high[defined] = found.low, found.high
    return Estimates(value=value, low=low, high=high, level=level)


def notes_on_undefined(
    sizes: tuple[int, ...], estimates: Estimates, reason: str, name: str
) -> list[str]:
    """At which sizes a number or its interval does not exist, and why."""
    missing = np.isnan(estimates.value)
    unsure = np.isnan(estimates.low) & ~missing
    notes = []
    if missing.any():
        notes.append(f"Circuits of {_listed(sizes, missing)} edges: {reason}; no {name}.")
    if unsure.any():
        notes.append(
            f"Circuits of {_listed(sizes, unsure)} edges: {reason} in some resamples; no"
            f" interval of the {name}."
        )
    return notes


def _ceiling_estimates(
    halved: HalfLikeness, rehalved: HalfLikeness, measure: Measure, level: float
) -> dict[str, Estimates]:
    """What comes from halves: both ceilings, the cross-model likeness and the ratio."""
    lowest = measure.lowest
    cases = {
        "ceiling_arm": (halved.arm, rehalved.arm, (lowest, 1.0)),
        "ceiling_mdm": (halved.mdm, rehalved.mdm, (lowest, 1.0)),
        "halves": (halved.cross, rehalved.cross, (lowest, 1.0)),
        "ratio": (halved.ratio, rehalved.ratio, (-np.inf if lowest < 0 else 0.0, np.inf)),
    }
    return {
        name: estimates_where_defined(value[0], samples, level, bounds)
        for name, (value, samples, bounds) in cases.items()
    }


def _words(name: str) -> str:
    return {"edges": "edge overlap", "nodes": "node overlap"}.get(name, f"{name} agreement")


def _ratio_words(measure: Measure) -> str:
    return "ratio to the ceiling" if measure.name == "edges" else f"ratio of {_words(measure.name)}"


def _listed(sizes: tuple[int, ...], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])
