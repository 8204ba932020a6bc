"""Differences between trainings with diffusion and without, step by step and over several of each.

For whoever asks whether diffusion does what a curve shows, and not one seed of it.

1. At every step that `MIN_TRAININGS` and more trainings of either kind have, the mean of a number
   over those with diffusion is held against that over those without (`trainings`).
2. Its interval lets examples and trainings vary, and holds for all these steps at once, by
   Bonferroni's inequality.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from scipy.special import ndtri

from mechshift.page.formats import NOT_DECIDED, UNDEFINED, in_words
from mechshift.statistics import Estimate
from mechshift.topics.topic import Quantity
from mechshift.topics.trainings import MIN_TRAININGS, Trainings, trainings_difference
from mechshift.topics.trajectory import TRAINING_KINDS, TrainingKind, Trajectory, training_kind


@dataclass(frozen=True, kw_only=True, eq=False)
class KindsDifference:
    """One number: with diffusion minus without, at every step that enough trainings have."""

    quantity: Quantity
    steps: tuple[int, ...]
    """Ascending."""
    num_trainings: tuple[tuple[int, ...], ...]
    """At each step, how many of either kind count (`TRAINING_KINDS`)."""
    differences: tuple[Estimate | None, ...]
    """At each step, with intervals that hold at once; None where too few trainings count."""

    @property
    def words(self) -> str:
        """What diffusion does, in a sentence on the last step and the first that is decided."""
        last, name = self.differences[-1], self.quantity.name
        if last is None:
            return f"{name}: {UNDEFINED} at the end."
        after = f"after {self.steps[-1]:,} steps it differs by {in_words(last, signed=True)}"
        decided = [
            step
            for step, found in zip(self.steps, self.differences, strict=True)
            if found is not None and found.excludes(0.0)
        ]
        if not last.excludes(0.0):
            return f"{name}: {after}: {NOT_DECIDED}."
        return f"{name}: {after}, and first does after {decided[0]:,}."


def differences(trajectory: Trajectory, tracked: Sequence[Quantity]) -> tuple[KindsDifference, ...]:
    """Every number that has draws; none where a kind has fewer than `MIN_TRAININGS` trainings."""
    steps = _common_steps(trajectory)
    found = (_difference(trajectory, steps, quantity) for quantity in tracked)
    return tuple(one for one in found if any(one.differences))


def differences_table(found: Sequence[KindsDifference]) -> pl.DataFrame:
    """One row for each number and step; empty where undefined."""
    rows = [
        {
            "quantity": one.quantity.name,
            "step": step,
            **dict(zip(TRAINING_KINDS, one.num_trainings[place], strict=True)),
            "difference": None if difference is None else difference.value,
            "low": None if difference is None else difference.interval.low,
            "high": None if difference is None else difference.interval.high,
        }
        for one in found
        for place, (step, difference) in enumerate(zip(one.steps, one.differences, strict=True))
    ]
    counts = dict.fromkeys(("step", *TRAINING_KINDS), pl.Int64)
    numbers = dict.fromkeys(("difference", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={"quantity": pl.String, **counts, **numbers})


def _common_steps(trajectory: Trajectory) -> tuple[int, ...]:
    """Steps after the parent that enough trainings of both kinds have."""
    of_kind: dict[TrainingKind, list[int]] = {kind: [] for kind in TRAINING_KINDS}
    for point in trajectory.points:
        of_kind[training_kind(point.training)].append(point.step)
    every = {point.step for point in trajectory.points if point.step}
    enough = (
        step
        for step in every
        if all(steps.count(step) >= MIN_TRAININGS for steps in of_kind.values())
    )
    return tuple(sorted(enough))


def _difference(
    trajectory: Trajectory, steps: Sequence[int], quantity: Quantity
) -> KindsDifference:
    differing: list[Estimate | None] = []
    counted = []
    level = 1 - (1 - trajectory.level) / max(1, len(steps))
    for step in steps:
        kinds = [
            Trainings.of(
                {
                    point.training: point.measured[quantity.name]
                    for point in trajectory.points
                    if point.step == step and training_kind(point.training) == kind
                }
            )
            for kind in TRAINING_KINDS
        ]
        counts = tuple(0 if one is None else len(one.names) for one in kinds)
        counted.append(counts)
        one, other = kinds
        if one is None or other is None or min(counts) < MIN_TRAININGS:
            differing.append(None)
            continue
        found = trainings_difference(one, other)
        reach = float(ndtri((1 + level) / 2))
        differing.append(None if found is None else found.reaching(reach))
    return KindsDifference(
        quantity=quantity,
        steps=tuple(steps),
        num_trainings=tuple(counted),
        differences=tuple(differing),
    )
