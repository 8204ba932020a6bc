"""Likeness of two models' circuits over circuit sizes, with everything needed to read it.

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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.draws import MeasuredDraws
from mechshift.comparison.measures import Measure
from mechshift.comparison.measuring import BySize
from mechshift.statistics import Estimates, permutation_p, spread_of_draws


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
class Likeness:
    """One measure of the two models' circuits, on the pool and on all that is drawn from it."""

    measure: Measure
    pool: Float[np.ndarray, " size"]
    resampled: Float[np.ndarray, "resample size"]

    halves: Float[np.ndarray, "compared size"]
    """ARM with itself, MDM with itself, one with the other; mean over halvings of the pool."""

    resampled_halves: Float[np.ndarray, "compared resample size"]
    """The same of each resample."""

    shuffled: Float[np.ndarray, "shuffle size"]
    exchanged: Float[np.ndarray, "exchange size"]

    @property
    def ratio_draws(self) -> Float[np.ndarray, "resample size"]:
        """The ratio to the ceilings in each resample; NaN where a ceiling is not above zero."""
        return _ratio(self.resampled_halves)

    def curve(self, level: float) -> AgreementCurve:
        """Its value, ceilings and ratio with intervals, its null and p-values."""
        lowest = self.measure.lowest
        arm, mdm, cross = (
            _estimates(value, draws, level, (lowest, 1.0))
            for value, draws in zip(self.halves, self.resampled_halves, strict=True)
        )
        ratio_bounds = (-np.inf if lowest < 0 else 0.0, np.inf)
        return AgreementCurve(
            value=_estimates(self.pool, self.resampled, level, (lowest, 1.0)),
            ceiling_arm=arm,
            ceiling_mdm=mdm,
            halves=cross,
            ratio=_estimates(_ratio(self.halves), self.ratio_draws, level, ratio_bounds),
            null=spread_of_draws(self.shuffled, level=level),
            layout_p=permutation_p(self.pool, self.shuffled),
            noise_p=permutation_p(-self.pool, -self.exchanged),
        )

    def notes(self, sizes: tuple[int, ...], curve: AgreementCurve) -> list[str]:
        """Why a value or a ratio, or its interval, is NaN; one line each."""
        name = self.measure.name
        words = {"edges": "edge overlap", "nodes": "node overlap"}.get(name, f"{name} agreement")
        ratio_words = "ratio to the ceiling" if name == "edges" else f"ratio of {words}"
        return [
            *notes_on_undefined(sizes, curve.value, self.measure.undefined, words),
            *notes_on_undefined(sizes, curve.ratio, "a split-half ceiling is 0", ratio_words),
        ]


def likeness_of(draws: MeasuredDraws, measure: Measure, sizes: Sequence[int]) -> Likeness:
    """One measure at these sizes, on everything that was drawn from the pool."""
    name = measure.name
    return Likeness(
        measure=measure,
        pool=rows_of(draws.pool, name, sizes)[0, :, 0],
        resampled=rows_of(draws.resampled, name, sizes)[..., 0],
        halves=_compared_halves(draws.halves, name, sizes).mean(axis=1),
        resampled_halves=np.mean(
            [_compared_halves(split, name, sizes) for split in draws.resampled_halves], axis=0
        ),
        shuffled=rows_of(draws.shuffled, name, sizes)[..., 0],
        exchanged=rows_of(draws.exchanged, name, sizes)[..., 0],
    )


def rows_of(
    found: BySize, name: str, sizes: Sequence[int]
) -> Float[np.ndarray, "row size *compared"]:
    """What was measured under this name, size by size."""
    return np.stack([found[size][name] for size in sizes], axis=1)


def _compared_halves(
    found: BySize, name: str, sizes: Sequence[int]
) -> Float[np.ndarray, "compared=3 row size"]:
    """ARM with itself, MDM with itself, and one with the other, the mean of both ways round."""
    arm, mdm, one_way, other_way = np.moveaxis(rows_of(found, name, sizes), 2, 0)
    return np.stack([arm, mdm, (one_way + other_way) / 2])


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
            f"Circuits of {_listed(sizes, unsure)} edges: {reason} in too many resamples; no"
            f" interval of the {name}."
        )
    return notes


def _ratio(halves: Float[np.ndarray, "compared *row size"]) -> Float[np.ndarray, "*row size"]:
    """Cross-model over within-model likeness; NaN where a ceiling is not above zero."""
    arm, mdm, cross = halves
    measurable = (arm > 0) & (mdm > 0)
    return cross / np.sqrt(np.where(measurable, arm * mdm, np.nan))


def _estimates(
    value: Float[np.ndarray, " size"],
    draws: Float[np.ndarray, "resample size"],
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    return Estimates.from_rows(np.concatenate([value[None], draws]), level=level, bounds=bounds)


def _listed(sizes: tuple[int, ...], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])
