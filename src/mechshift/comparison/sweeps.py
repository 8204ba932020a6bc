"""Sweeps of the shift in depth over what should not matter: circuit size, steps and halves.

Over the circuit size, over the denoising steps, and over two disjoint halves of the examples. (Over
the number of denoising steps: `num_steps.py`.) A sweep is read by eye and by its intervals: a shift
that has one sign throughout does not hang on the choice. The points of the first share their
examples, so they are no independent confirmations of each other; the two halves are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.draws import MeasuredDraws, Wanted, measure_draws
from mechshift.comparison.layer_sums import SHIFTS, SIDES, LayerSums, shift_rows
from mechshift.comparison.overlaps import at_once, estimates_at_points
from mechshift.comparison.scores import (
    MIN_EXAMPLES,
    Scores,
    Unit,
    check_scores,
    has_one_step,
    rows_with_step,
    scores_at_step,
)
from mechshift.comparison.settings import ComparisonSettings, overlap_sizes
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import Estimates, split_halves, spread_of_draws

Over = Literal["circuit_size", "denoising_step", "half", "num_steps"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShiftCurve:
    """Shifts along a sweep, on one side of the edges; every array has axis `point`.

    Intervals of a sweep over sizes, steps or halves hold all its points at once; those over numbers
    of steps, which are compared one by one, each point by itself.
    """

    early_share: Estimates
    """MDM's minus ARM's share of the first third of the layers, in [-1, 1]."""

    centre_of_mass: Estimates
    """MDM's minus ARM's centre of mass [layers]; negative: the MDM works earlier."""

    distance: Estimates
    """Wasserstein-1 distance between the two profiles [layers]."""

    noise_distance: Estimates
    """The same after exchanges of the models: mean and spread [layers]."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One point of a sweep, before intervals are made."""

    at: int
    """Its place on the axis."""

    size: int
    """Edges in each circuit."""

    num_examples: int

    shifts: Float[np.ndarray, "row side shift"] | None
    """MDM minus ARM on the pool, then on its resamples; None if not measured."""

    exchanged: Float[np.ndarray, "exchange side shift"] | None
    """The same on exchanges."""


def sweep_over_sizes(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
    clusters: Int[np.ndarray, " example"] | None = None,
    draws: MeasuredDraws | None = None,
) -> DepthSweep:
    """Shift of circuits of every size of the overlap curve, and of all edges.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: sizes, resamples, level and seed.
        unit: what a row of the scores is.
        clusters: which rows are drawn together; None: each by itself.
        draws: what was measured already, if it was.

    Raises:
        ComparisonError: the arrays do not match.
        ConfigError: a size exceeds the graph.
    """
    wanted = wanted_for_sizes(graph, settings)
    if draws is None:
        check_scores(arm_scores, mdm_scores, unit)
        draws = measure_draws(graph, arm_scores, mdm_scores, settings, wanted, clusters)
    points = [
        _point(at=size, size=size, num_examples=len(arm_scores), draws=draws)
        for size in wanted.shift
    ]
    return _sweep("circuit_size", points, graph, settings, unit)


def wanted_for_sizes(graph: Graph, settings: ComparisonSettings) -> Wanted:
    """What `sweep_over_sizes` needs measured."""
    sizes = {*overlap_sizes(settings, graph.num_edges), graph.num_edges}
    return Wanted(shift=tuple(sorted(sizes)))


def sweep_over_denoising_steps(
    arm: Scores,
    mdm: Scores,
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
    draws: MeasuredDraws | None = None,
) -> DepthSweep:
    """Shift at each denoising step: that step's own circuits, on the examples that have it.

    The point is NaN at a step of fewer than `MIN_EXAMPLES` examples, or where a model's scores are
    all zero.

    Args:
        arm: scores of the ARM.
        mdm: scores of the MDM on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        unit: what a row of the scores is.
        draws: what was measured already of scores summed over steps, if it was: where there is one
            step, these are that step's.

    Raises:
        ComparisonError: one model's scores are summed over steps, the other's are not.
        ConfigError: the circuit size exceeds the graph.
    """
    graph = arm.graph
    size = settings.circuit_size_in(graph.num_edges)
    if (arm.step_sums is None) != (mdm.step_sums is None):
        raise ComparisonError(
            "one model's scores are of every denoising step and the other's are summed over them;"
            " score both with the same --attribution.steps."
        )
    if draws is not None and has_one_step(arm) and has_one_step(mdm):
        only = _point(at=0, size=size, num_examples=len(arm.values), draws=draws)
        return _sweep("denoising_step", [only], graph, settings, unit)
    points = []
    for step in range(min(scores.clean_metric.shape[1] for scores in (arm, mdm))):
        present = rows_with_step(arm)[:, step] & rows_with_step(mdm)[:, step]
        ours, theirs = (scores_at_step(scores, step, present) for scores in (arm, mdm))
        of_step = None
        if present.sum() >= MIN_EXAMPLES and ours.values.any() and theirs.values.any():
            of_step = _drawn_shifts(
                graph, ours.values, theirs.values, size, settings, ours.clusters
            )
        del ours, theirs  # before the next step's are made
        points.append(_point(at=step, size=size, num_examples=int(present.sum()), draws=of_step))
    return _sweep("denoising_step", points, graph, settings, unit)


def sweep_over_halves(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
    clusters: Int[np.ndarray, " example"] | None = None,
) -> DepthSweep:
    """Shift on two disjoint halves of the examples, as if it were measured twice.

    A half of fewer than `MIN_EXAMPLES` examples gives a NaN point.

    Raises:
        ComparisonError: the arrays do not match.
        ConfigError: the circuit size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores, unit)
    size = settings.circuit_size_in(graph.num_edges)
    if clusters is None:
        clusters = np.arange(len(arm_scores))
    (first,) = split_halves(clusters, 1, settings.seed)
    points = []
    for at, half in enumerate((first, ~first), start=1):
        draws = None
        if half.sum() >= MIN_EXAMPLES:
            draws = _drawn_shifts(
                graph, arm_scores[half], mdm_scores[half], size, settings, clusters[half]
            )
        points.append(_point(at=at, size=size, num_examples=int(half.sum()), draws=draws))
    return _sweep("half", points, graph, settings, unit)


def _drawn_shifts(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
    settings: ComparisonSettings,
    clusters: Int[np.ndarray, " example"],
) -> MeasuredDraws:
    """What a point needs measured of circuits of one size."""
    wanted = Wanted(shift=(size,))
    return measure_draws(graph, arm_scores, mdm_scores, settings, wanted, clusters)


def _point(*, at: int, size: int, num_examples: int, draws: MeasuredDraws | None) -> Point:
    if draws is None:
        return Point(at=at, size=size, num_examples=num_examples, shifts=None, exchanged=None)
    of_pool, of_resamples = (drawn[size]["layers"] for drawn in (draws.pool, draws.resampled))
    return Point(
        at=at,
        size=size,
        num_examples=num_examples,
        shifts=_both_sides(LayerSums(values=np.concatenate([of_pool, of_resamples]))),
        exchanged=_both_sides(LayerSums(values=draws.exchanged[size]["layers"])),
    )


def _both_sides(sums: LayerSums) -> Float[np.ndarray, "row side shift"]:
    return np.stack([shift_rows(*sums.layers(side)) for side in SIDES], axis=1)


def _sweep(
    over: Over,
    points: Sequence[Point],
    graph: Graph,
    settings: ComparisonSettings,
    unit: Unit,
) -> DepthSweep:
    """Put the points together; one that was not measured is NaN."""
    source, destination = (
        _curve(points, side, settings.level, deepest=graph.num_layers - 1.0)
        for side in range(len(SIDES))
    )
    places = np.array([point.at for point in points])
    return DepthSweep(
        over=over,
        points=places,
        source=source,
        destination=destination,
        circuit_sizes=np.array([point.size for point in points]),
        unit=unit,
        num_examples=np.array([point.num_examples for point in points]),
        num_layers=graph.num_layers,
        num_resamples=settings.num_resamples,
        level=settings.level,
        notes=_notes(over, places, source, destination, unit),
    )


def _curve(points: Sequence[Point], side: int, level: float, *, deepest: float) -> ShiftCurve:
    """One side of all points, from the pool, its resamples and exchanges."""
    unmeasured = np.full((1, len(SIDES), len(SHIFTS)), np.nan)

    def estimates(name: str, lowest: float, highest: float) -> Estimates:
        shift = SHIFTS.index(name)
        rows = [(unmeasured if p.shifts is None else p.shifts)[:, side, shift] for p in points]
        found = [(row[:1], row[1:]) for row in rows]
        bounds = lowest, highest
        plain = estimates_at_points(found, level=level, bounds=bounds)
        return at_once(plain, found, bounds=bounds)

    at = SHIFTS.index("distance")
    exchanged = [
        (unmeasured if p.exchanged is None else p.exchanged)[:, side, at, None] for p in points
    ]
    noise = [spread_of_draws(rows, level=level) for rows in exchanged]
    return ShiftCurve(
        early_share=estimates("early", -1.0, 1.0),
        centre_of_mass=estimates("centre_of_mass", -deepest, deepest),
        distance=estimates("distance", 0.0, deepest),
        noise_distance=Estimates.stack(noise, level=level).sel(slice(None), 0),
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
