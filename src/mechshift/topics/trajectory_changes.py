"""Changes over training: how far each checkpoint is from the first, and when the change came.

For whoever asks whether anything moved at all, given that many checkpoints had their chance to.

1. Contrast: a checkpoint's number minus that of the training's first one, on the same resamples, so
   that what the sample of examples does to both cancels.
2. Band: simultaneous over all checkpoints (`statistics.simultaneous_estimates`): where nothing
   moves, some checkpoint leaves it at most as often as the level says.
3. Half-way: the two checkpoints between which half of the last contrast is first reached, so far
   apart that they hold it in as many resamples as the level says. Nothing is known of the steps
   between two checkpoints. Only where the band of the last one excludes 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.page.formats import NOT_DECIDED, UNDEFINED, in_words
from mechshift.statistics import Estimates, percentile_interval, simultaneous_estimates
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
    half_way: tuple[int, int] | None
    """Steps of the checkpoints between which half of the last contrast is first reached; None where
    the last one is not known to differ from the first, or these are the first and the last."""

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
        if not last.excludes(0.0):
            return f"{self.quantity.name}: {after}: {NOT_DECIDED}."
        when = ""
        if self.half_way is not None:
            when = "; half of that is reached between steps {:,} and {:,}".format(*self.half_way)
        if len(self.steps) > 1:
            when += f"; step {self.first_beyond:,} is the first beyond the band"
        return f"{self.quantity.name}: {after}{when}."


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
            "half_way_after": None if one.half_way is None else one.half_way[0],
            "half_way_by": None if one.half_way is None else one.half_way[1],
        }
        for one in changes
        for place, step in enumerate(one.steps)
    ]
    schema: dict[str, type[pl.DataType]] = {"training": pl.String, "quantity": pl.String}
    schema["step"] = pl.Int64
    schema |= dict.fromkeys(("contrast", "low", "high", "level"), pl.Float64)
    schema |= dict.fromkeys(("half_way_after", "half_way_by"), pl.Int64)
    return pl.DataFrame(rows, schema=schema).fill_nan(None)


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
) -> tuple[int, int] | None:
    """None where some resample has no last contrast, or where no checkpoint bounds the crossing."""
    reached = [_crossing(row) for row in (values, *draws)]
    crossings = np.array([one for one in reached if one is not None])
    if len(crossings) < len(reached):
        return None
    interval = [percentile_interval(ends[1:].astype(float), level) for ends in crossings.T]
    after = min(math.floor(interval[0].low), crossings[0, 0])
    by = max(math.ceil(interval[1].high), crossings[0, 1])
    return None if (after, by) == (0, len(steps) - 1) else (steps[after], steps[by])


def _crossing(contrasts: Float[np.ndarray, " step"]) -> tuple[int, int] | None:
    """The last checkpoint before half of the last contrast, and the first at it; 0 is the first."""
    defined = np.flatnonzero(np.isfinite(contrasts))
    if not len(defined) or defined[-1] != len(contrasts) - 1 or contrasts[-1] == 0:
        return None
    place = int(np.argmax(contrasts[defined] / contrasts[-1] >= 0.5))
    return (int(defined[place - 1]) + 1 if place else 0), int(defined[place]) + 1
