"""Does a shift in depth hold when something else is changed that should not matter?

Sweeps over the circuit size, over the denoising steps, over two disjoint halves of the examples,
and over the number of denoising steps. A sweep is read by eye and by its intervals: a shift that
has one sign throughout does not hang on the choice. The points of the first share their examples,
so they are no independent confirmations of each other; the two halves are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.agreement_curve import EXCHANGE_SEED, estimates_where_defined
from mechshift.comparison.depth_shift import ShiftCurve, ShiftRows, shift_rows
from mechshift.comparison.layer_sums import PairSums, exchanged_sums, resampled_sums
from mechshift.comparison.profile_distance import Side
from mechshift.comparison.resampling import MIN_EXAMPLES, check_scores
from mechshift.comparison.scores import Scores, Unit, rows_with_step
from mechshift.comparison.settings import ComparisonSettings, overlap_sizes
from mechshift.graph import Graph, third_of_layers
from mechshift.statistics import (
    Estimates,
    bootstrap_weights,
    exchange_masks,
    split_halves,
    spread_of_draws,
)

Over = Literal["circuit_size", "denoising_step", "half", "num_steps"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthSweep:
    """Shift in depth, MDM minus ARM, at each point of a sweep; every array has axis `point`."""

    over: Over
    """What differs from point to point."""

    points: Int[np.ndarray, " point"]
    """Edges in each circuit; or step, half or number of steps."""

    source: ShiftCurve
    """By the layer that writes an edge."""

    destination: ShiftCurve
    """By the layer that reads an edge."""

    circuit_sizes: Int[np.ndarray, " point"]
    """Edges in each circuit."""

    unit: Unit
    num_examples: Int[np.ndarray, " point"]
    """Rows that were resampled: examples, or shards of them (`unit`)."""

    num_layers: int
    num_resamples: int
    level: float

    notes: tuple[str, ...]
    """Why a point is NaN; one line each."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a row of scores is, and how many each point rests on."""

    unit: Unit
    counts: Sequence[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class PointShifts:
    """Shifts at one point of a sweep, on the pool and its resamples, and on exchanges."""

    resampled: Mapping[Side, ShiftRows]
    exchanged: Mapping[Side, ShiftRows]


def sweep_over_sizes(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
) -> DepthSweep:
    """Shift of circuits of every size of the overlap curve, and of all edges.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: sizes, resamples, level and seed.
        unit: what a row of the scores is.

    Raises:
        ComparisonError: the arrays do not match.
        ConfigError: a size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores, unit)
    sizes = sorted({*overlap_sizes(settings, graph.num_edges), graph.num_edges})
    shifts = point_shifts(graph, arm_scores, mdm_scores, sizes, settings)
    rows = Rows(unit=unit, counts=[len(arm_scores)])
    return _sweep("circuit_size", np.array(sizes), shifts, graph, settings, sizes, rows)


def sweep_over_denoising_steps(
    arm: Scores, mdm: Scores, settings: ComparisonSettings, *, unit: Unit = "example"
) -> DepthSweep:
    """Shift at each denoising step: that step's own circuits, on the examples that have it.

    The point is NaN at a step of fewer than `MIN_EXAMPLES` examples, or where a model's scores are
    all zero.

    Raises:
        ConfigError: the circuit size exceeds the graph.
    """
    graph = arm.graph
    size = settings.circuit_size_in(graph.num_edges)
    num_steps = min(arm.values.shape[1], mdm.values.shape[1])
    shifts: list[PointShifts | None] = []
    num_examples = []
    for step in range(num_steps):
        present = rows_with_step(arm)[:, step] & rows_with_step(mdm)[:, step]
        num_examples.append(int(present.sum()))
        arm_scores, mdm_scores = (scores.values[present, step] for scores in (arm, mdm))
        if num_examples[-1] < MIN_EXAMPLES or not (arm_scores.any() and mdm_scores.any()):
            shifts.append(None)
        else:
            shifts += point_shifts(graph, arm_scores, mdm_scores, [size], settings)
        del arm_scores, mdm_scores  # before the next step's are made: they are as large as a pool's
    rows = Rows(unit=unit, counts=num_examples)
    return _sweep("denoising_step", np.arange(num_steps), shifts, graph, settings, [size], rows)


def sweep_over_halves(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
) -> DepthSweep:
    """Shift on two disjoint halves of the examples, as if it were measured twice.

    A half of fewer than `MIN_EXAMPLES` examples gives a NaN point.

    Raises:
        ComparisonError: the arrays do not match.
        ConfigError: the circuit size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores, unit)
    size = settings.circuit_size_in(graph.num_edges)
    (first,) = split_halves(len(arm_scores), 1, settings.seed)
    shifts: list[PointShifts | None] = []
    for half in (first, ~first):
        if half.sum() < MIN_EXAMPLES:
            shifts.append(None)
        else:
            shifts += point_shifts(graph, arm_scores[half], mdm_scores[half], [size], settings)
    rows = Rows(unit=unit, counts=[int(half.sum()) for half in (first, ~first)])
    return _sweep("half", np.array([1, 2]), shifts, graph, settings, [size], rows)


def point_shifts(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
    settings: ComparisonSettings,
) -> list[PointShifts]:
    """Shifts for circuits of each size, resampled and exchanged."""
    num_examples = len(arm_scores)
    weights = bootstrap_weights(num_examples, settings.num_resamples, settings.seed)
    swapped = exchange_masks(num_examples, settings.num_exchanges, settings.seed + EXCHANGE_SEED)
    return [
        PointShifts(resampled=_shifts(resampled), exchanged=_shifts(exchanged))
        for resampled, exchanged in zip(
            resampled_sums(graph, weights, arm_scores, mdm_scores, sizes),
            exchanged_sums(graph, swapped, arm_scores, mdm_scores, sizes),
            strict=True,
        )
    ]


def _shifts(sums: PairSums) -> dict[Side, ShiftRows]:
    sides: tuple[Side, ...] = ("source", "destination")
    thirds = third_of_layers(sums.arm.source.shape[1] - 1).astype(np.float64)
    return {
        side: shift_rows(sums.arm.of_layers(side), sums.mdm.of_layers(side), thirds)
        for side in sides
    }


def _sweep(
    over: Over,
    points: Int[np.ndarray, " point"],
    shifts: Sequence[PointShifts | None],
    graph: Graph,
    settings: ComparisonSettings,
    sizes: Sequence[int],
    rows: Rows,
) -> DepthSweep:
    """Put the points together; there may be one size, or count of rows, for all."""
    source, destination = (
        _curve(shifts, side, graph.num_layers - 1.0, settings) for side in ("source", "destination")
    )
    return DepthSweep(
        over=over,
        points=points,
        source=source,
        destination=destination,
        circuit_sizes=np.broadcast_to(sizes, points.shape).copy(),
        unit=rows.unit,
        num_examples=np.broadcast_to(rows.counts, points.shape).copy(),
        num_layers=graph.num_layers,
        num_resamples=settings.num_resamples,
        level=settings.level,
        notes=_notes(over, points, source, destination, rows.unit),
    )


def _curve(
    shifts: Sequence[PointShifts | None], side: Side, deepest: float, settings: ComparisonSettings
) -> ShiftCurve:
    """One side of all points; a missing point is NaN."""

    def stack(sample: Literal["resampled", "exchanged"], name: str) -> np.ndarray:
        num_rows = {"resampled": settings.num_resamples + 1, "exchanged": settings.num_exchanges}
        missing = np.full(num_rows[sample], np.nan)
        columns = [
            missing if point is None else getattr(getattr(point, sample)[side], name)
            for point in shifts
        ]
        return np.stack([c[:, 0] if c.ndim == 2 else c for c in columns], axis=1)

    def estimates(name: str, lowest: float, highest: float) -> Estimates:
        rows = stack("resampled", name)
        return estimates_where_defined(rows[0], rows[1:], settings.level, (lowest, highest))

    return ShiftCurve(
        early_share=estimates("thirds", -1.0, 1.0),
        centre_of_mass=estimates("centre_of_mass", -deepest, deepest),
        distance=estimates("distance", 0.0, deepest),
        noise_distance=spread_of_draws(stack("exchanged", "distance"), level=settings.level),
    )


def _notes(
    over: Over,
    points: Int[np.ndarray, " point"],
    source: ShiftCurve,
    destination: ShiftCurve,
    unit: Unit,
) -> tuple[str, ...]:
    """Which points have no value or no interval, and why that can be."""
    unknown = np.isnan(source.distance.low) | np.isnan(destination.distance.low)
    if not unknown.any():
        return ()
    listed = ", ".join(f"{point:,}" for point in points[unknown])
    return (
        f"{over.replace('_', ' ')} {listed}: no shift in depth, or no interval; fewer than"
        f" {MIN_EXAMPLES} {unit}s, scores that are all zero, or circuits that touch no layer.",
    )
