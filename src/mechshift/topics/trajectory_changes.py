"""Changes over training: how far each checkpoint is from the first, and when the change came.

For whoever asks whether anything moved at all, given that many checkpoints had their chance to.

1. Contrast: a checkpoint's number minus that of the training's first one, on the same resamples, so
   that what the sample of examples does to both cancels.
2. Band: simultaneous over all checkpoints (`statistics.simultaneous_estimates`): where nothing
   moves, some checkpoint leaves it at most as often as the level says.
3. Half-way: the step at which half of the last contrast is first reached, on the axis of the curves
   (the logarithm of steps). Only where the band of the last checkpoint excludes 0; its interval is
   that of the resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.page.formats import NOT_DECIDED, UNDEFINED, in_words, number
from mechshift.statistics import Estimate, Estimates, percentile_interval, simultaneous_estimates
from mechshift.topics.topic import Quantity
from mechshift.topics.trajectory import Training, Trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """One number along one training, against the training's first checkpoint."""

    training: Training
    quantity: Quantity
    steps: tuple[int, ...]
    """Of the later checkpoints, ascending."""
    contrasts: Estimates
    """Of each of them [step], with simultaneous intervals; NaN where it is undefined."""
    half_way: Estimate | None
    """The step at which half of the last contrast is first reached; None where the last checkpoint
    is not known to differ from the first."""

    @property
    def first_beyond(self) -> int | None:
        """The first step whose interval excludes 0."""
        for place, step in enumerate(self.steps):
            found = self.contrasts.at(place)
            if found is not None and found.excludes(0.0):
                return step
        return None

    @property
    def words(self) -> str:
        """What became of the number, in a sentence."""
        last = self.contrasts.at(len(self.steps) - 1)
        if last is None:
            return f"{self.quantity.name}: {UNDEFINED} at the end."
        after = f"after {self.steps[-1]:,} steps it differs by {in_words(last, signed=True)}"
        if self.half_way is None:
            return f"{self.quantity.name}: {after}: {NOT_DECIDED}."
        at = [self.half_way.value, self.half_way.interval.low, self.half_way.interval.high]
        middle, low, high = (number(step, 0) for step in at)
        return (
            f"{self.quantity.name}: {after}; half of that is reached after {middle} [{low}, {high}]"
            f" steps, and step {self.first_beyond:,} is the first beyond the band."
        )


def changes(trajectory: Trajectory, tracked: Sequence[Quantity]) -> tuple[Change, ...]:
    """Every number along every training that has a later checkpoint and draws to compare."""
    return tuple(
        found
        for training in trajectory.trainings
        for quantity in tracked
        if (found := _change(trajectory, training, quantity)) is not None
    )


def changes_table(changes: Sequence[Change]) -> pl.DataFrame:
    """One row for each training, number and checkpoint; empty where undefined."""
    rows = [
        {
            "training": one.training,
            "quantity": one.quantity.name,
            "step": step,
            "contrast": float(one.contrasts.value[place]),
            "low": float(one.contrasts.low[place]),
            "high": float(one.contrasts.high[place]),
            "level": one.contrasts.level,
            "half_way_step": None if one.half_way is None else one.half_way.value,
            "half_way_low": None if one.half_way is None else one.half_way.interval.low,
            "half_way_high": None if one.half_way is None else one.half_way.interval.high,
        }
        for one in changes
        for place, step in enumerate(one.steps)
    ]
    schema = {"training": pl.String, "quantity": pl.String, "step": pl.Int64}
    numbers = ("contrast", "low", "high", "level", "half_way_step", "half_way_low", "half_way_high")
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(numbers, pl.Float64)).fill_nan(None)


def _change(trajectory: Trajectory, training: Training, quantity: Quantity) -> Change | None:
    first, *later = trajectory.of(training)
    begun = first.measured[quantity.name]
    if not later or begun.estimate is None or begun.draws is None:
        return None
    values, draws = np.full(len(later), np.nan), np.full((len(begun.draws), len(later)), np.nan)
    for place, point in enumerate(later):
        found = point.measured[quantity.name]
        if found.estimate is not None and found.draws is not None:
            values[place] = found.estimate.value - begun.estimate.value
            draws[:, place] = found.draws - begun.draws
    steps = tuple(point.step for point in later)
    contrasts = simultaneous_estimates(values, draws, level=trajectory.level)
    last = contrasts.at(len(later) - 1)
    half_way = None
    if last is not None and last.excludes(0.0):
        half_way = _half_way((first.step, *steps), values, draws, trajectory.level)
    return Change(
        training=training,
        quantity=quantity,
        steps=steps,
        contrasts=contrasts,
        half_way=half_way,
    )


def _half_way(
    steps: Sequence[int],
    values: Float[np.ndarray, " step"],
    draws: Float[np.ndarray, "resample step"],
    level: float,
) -> Estimate | None:
    """None where some resample has no last contrast, or one of the other sign in many."""
    reached = np.array([_first_half(steps, row) for row in (values, *draws)])
    if not np.isfinite(reached).all():
        return None
    interval = percentile_interval(reached[1:], level)
    value = float(np.clip(reached[0], interval.low, interval.high))
    return Estimate(value=value, interval=interval)


def _first_half(steps: Sequence[int], contrasts: Float[np.ndarray, " step"]) -> float:
    """Where a curve that starts at 0 first reaches half of its last value; in log1p of steps."""
    defined = np.isfinite(contrasts)
    if not defined[-1] or contrasts[-1] == 0:
        return np.nan
    share = np.concatenate([[0.0], contrasts[defined] / contrasts[-1]])
    at = np.log1p(np.array([steps[0], *np.array(steps[1:])[defined].tolist()]))
    place = int(np.argmax(share >= 0.5))
    part = (0.5 - share[place - 1]) / (share[place] - share[place - 1])
    return float(np.expm1(at[place - 1] + part * (at[place] - at[place - 1])))
