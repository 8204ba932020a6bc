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
from mechshift.statistics import Estimates, check_shapes, permutation_p, spread_of_draws


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

    value_band: Estimates
    """`value`, with intervals that hold all sizes at once."""

    ratio_band: Estimates
    """The same of `ratio`."""

    null: Estimates
    """Likeness after shuffling within layer pair and edge type; low and high over shuffles."""

    layout_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no more alike than edges of the same layers and types are."""

    noise_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no less alike than the two models would be with one circuit."""

    def __post_init__(self) -> None:
        check_shapes(self, self.layout_p.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """One measure at one circuit size, on the pool and on all that is drawn from it."""

    pool: Float[np.ndarray, " one"]
    resampled: Float[np.ndarray, " resample"]

    halves: Float[np.ndarray, " compared"]
    """ARM with itself, MDM with itself, one with the other; mean over halvings of the pool."""

    resampled_halves: Float[np.ndarray, "compared resample"]
    """The same of each resample."""

    shuffled: Float[np.ndarray, " shuffle"]
    exchanged: Float[np.ndarray, " exchange"]

    @classmethod
    def of(cls, draws: MeasuredDraws, name: str, size: int) -> "Likeness":
        """What was measured under this name."""
        halves = [found for found in draws.resampled_halves if size in found]
        return cls(
            pool=draws.pool[size][name][:, 0],
            resampled=draws.resampled[size][name][:, 0],
            halves=_compared(draws.halves[size][name]).mean(axis=1),
            resampled_halves=np.mean([_compared(found[size][name]) for found in halves], axis=0),
            shuffled=draws.shuffled[size][name][:, 0],
            exchanged=draws.exchanged[size][name][:, 0],
        )


def agreement_curve(
    draws: MeasuredDraws, measure: Measure, sizes: Sequence[int], level: float
) -> AgreementCurve:
    """One measure over circuit sizes: value, ceilings and ratio with intervals, null, p-values."""
    found = [Likeness.of(draws, measure.name, size) for size in sizes]
    bounds = measure.lowest, 1.0
    arm, mdm, cross = (
        estimates_at_points(
            [(one.halves[[at]], one.resampled_halves[at]) for one in found],
            level=level,
            bounds=bounds,
        )
        for at in range(3)
    )
    null = [spread_of_draws(one.shuffled[:, None], level=level) for one in found]
    values = [(one.pool, one.resampled) for one in found]
    value = estimates_at_points(values, level=level, bounds=bounds)
    ratios = [(_ratio(one.halves[:, None]), _ratio(one.resampled_halves)) for one in found]
    of_ratio = (-np.inf if measure.lowest < 0 else 0.0, np.inf)
    ratio = estimates_at_points(ratios, level=level, bounds=of_ratio)
    return AgreementCurve(
        value=value,
        ceiling_arm=arm,
        ceiling_mdm=mdm,
        halves=cross,
        ratio=ratio,
        value_band=at_once(value, values, bounds=bounds),
        ratio_band=at_once(ratio, ratios, bounds=of_ratio),
        null=Estimates.stack(null, level=level).sel(slice(None), 0),
        layout_p=np.concatenate([permutation_p(one.pool, one.shuffled[:, None]) for one in found]),
        noise_p=np.concatenate(
            [permutation_p(-one.pool, -one.exchanged[:, None]) for one in found]
        ),
    )


def notes_on(measure: Measure, curve: AgreementCurve, sizes: tuple[int, ...]) -> list[str]:
    """Why a value or a ratio of a measure, or its interval, is NaN; one line each."""
    name = measure.name
    words = {"edges": "edge overlap", "nodes": "node overlap"}.get(name, f"{name} agreement")
    ratio_words = "ratio to the ceiling" if name == "edges" else f"ratio of {words}"
    return [
        *notes_on_undefined(sizes, curve.value, measure.undefined, words),
        *notes_on_undefined(sizes, curve.ratio, "a split-half ceiling is 0", ratio_words),
    ]


def estimates_at_points(
    found: Sequence[tuple[Float[np.ndarray, " one"], Float[np.ndarray, " _resample"]]],
    *,
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    """A number at several circuit sizes, or points of a sweep, each on resamples of its own.

    Args:
        found: at each, the number on the pool and on every resample.
        level: of the intervals.
        bounds: range of the number.
    """
    rows = [np.concatenate(one)[:, None] for one in found]
    parts = [Estimates.from_rows(one, level=level, bounds=bounds) for one in rows]
    return Estimates.stack(parts, level=level).sel(slice(None), 0)


def at_once(
    estimates: Estimates,
    found: Sequence[tuple[Float[np.ndarray, " one"], Float[np.ndarray, " _resample"]]],
    *,
    bounds: tuple[float, float],
) -> Estimates:
    """The same with intervals that hold all points at once, and not each by itself.

    Args:
        estimates: `estimates_at_points`.
        found: of which they are; resamples that only some points have do not count.
        bounds: range of the number.
    """
    counts = [len(draws) for _, draws in found if len(draws)]
    if not counts:
        return estimates
    samples = np.full((min(counts), len(found)), np.nan)  # NaN where a point was not measured
    for point, (_, draws) in enumerate(found):
        samples[:, point] = draws[: len(samples)] if len(draws) else np.nan
    return estimates.at_once(samples, bounds=bounds)


def _compared(halves: Float[np.ndarray, "row pair=4"]) -> Float[np.ndarray, "compared=3 row"]:
    """ARM with itself, MDM with itself, and one with the other, the mean of both ways round."""
    arm, mdm, one_way, other_way = halves.T
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


def _ratio(halves: Float[np.ndarray, "compared row"]) -> Float[np.ndarray, " row"]:
    """Cross-model over within-model likeness; NaN where a ceiling is not above zero."""
    arm, mdm, cross = halves
    measurable = (arm > 0) & (mdm > 0)
    return cross / np.sqrt(np.where(measurable, arm * mdm, np.nan))


def _listed(sizes: tuple[int, ...], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])
