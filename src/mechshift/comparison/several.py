"""Several comparisons side by side: tests over tasks, and a sweep over numbers of denoising steps.

Tests: which differences remain when every task has had its chance to differ. Each hypothesis is
tested once per task; its p-values are adjusted over tasks by Holm's method, so that if it is true
of every task, it is rejected for any of them at most as often as the level says. Different
hypotheses answer different questions and are not adjusted for each other.

Sweep: tasks differ in their number of steps, so a difference between tasks may be one between
numbers of steps. Here one task is compared with several numbers of steps S, everything else equal.
Shifts in depth come twice: as in the other sweeps, with the distance that noise alone makes, and
cross-fitted (`depth.py`, 5), as the verdict takes them. With few steps an MDM has to guess more, so
its scores may be noisier, and only the latter do not take noise for a shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.comparisons import CircuitShift, Comparison
from mechshift.comparison.depth import CROSS_FITTED, SideProfiles
from mechshift.comparison.sweeps import DepthSweep, ShiftCurve
from mechshift.errors import ComparisonError
from mechshift.statistics import ROUNDING, Estimate, Estimates, holm

HYPOTHESES = {
    "edges_layout": "the circuits share no more edges than their layers and edge types make them",
    "edges_noise": "the circuits differ in their edges by no more than sampling noise",
    "nodes_noise": "they differ in their nodes' scores by no more than sampling noise",
    "weighted_noise": "they differ in their edges' weights by no more than sampling noise",
    "rank_noise": "they differ in the order of their edges by no more than sampling noise",
    "sign_noise": "their common edges differ in sign by no more than sampling noise",
    "early_share": "the early layers write the same share of both circuits",
    "centre_of_mass": "the centre of mass, by writing layer, did not move",
    "profile_distance": "the profiles, by writing layer, differ by no more than sampling noise",
}
"""Name of each test -> the hypothesis. All are about circuits of the comparison's size."""

STATISTICS = {
    "edges_layout": "Jaccard of edges",
    "edges_noise": "Jaccard of edges",
    "nodes_noise": "weighted Jaccard of nodes",
    "weighted_noise": "weighted Jaccard of edges",
    "rank_noise": "Spearman's correlation",
    "sign_noise": "share of signs alike",
    "early_share": "shift, cross-fitted",
    "centre_of_mass": "shift [layers], cross-fitted",
    "profile_distance": "Wasserstein distance [layers], cross-fitted",
}
"""Name of each test -> the number that it is about."""

BEYOND_EDGES = ("nodes", "weighted", "rank", "sign")
"""Measures of `Agreement`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectedTest:
    """One hypothesis over tasks."""

    name: str
    """What is tested, such as `edges_noise`."""

    hypothesis: str
    """What a small p-value speaks against, in words."""

    statistic_name: str
    """The number that is tested, in words and with its unit."""

    tasks: tuple[str, ...]
    statistic: Float[np.ndarray, " task"]
    """The number of each task; NaN where it is undefined."""

    p: Float[np.ndarray, " task"]
    """P-value of each task; NaN where the quantity is undefined."""

    adjusted_p: Float[np.ndarray, " task"]
    """Holm's p-value over the tasks that have one."""

    level: float
    """1 minus the share of families in which a true hypothesis may be rejected."""

    @property
    def rejected(self) -> Bool[np.ndarray, " task"]:
        """Whether the hypothesis is rejected for each task; not where it has no p-value."""
        return self.adjusted_p <= 1 - self.level + ROUNDING


@dataclass(frozen=True, kw_only=True, eq=False)
class NumStepsSweep:
    """Overlap and depth of one task's circuits against the number of denoising steps."""

    task: str
    depth: DepthSweep
    """Its `points` are the numbers of steps, ascending."""

    source: Estimates
    """Cross-fitted shifts by the layer that writes an edge; axes `point` and `CROSS_FITTED`. NaN
    where a model's scores on one half of the examples do not carry over to the other."""

    destination: Estimates
    """The same by the layer that reads an edge."""

    overlap: Estimates
    """Jaccard of the two circuits; axis `point`."""

    ratio: Estimates
    """The same over its ceiling; NaN where a ceiling is 0."""

    noise_p: Float[np.ndarray, " point"]
    """P-value of: no less alike than the two models would be with one circuit."""

    effective_number: Estimates | None
    """MDM's minus ARM's effective number of components; above 0: the MDM is more distributed. None
    where it was not measured."""


def corrected_tests(comparisons: Sequence[Comparison]) -> tuple[CorrectedTest, ...]:
    """Every hypothesis, tested on every task and corrected over tasks.

    Raises:
        ComparisonError: there is no comparison, two of one task, or two levels.
    """
    tasks = tuple(one.task for one in comparisons)
    if not tasks or len(set(tasks)) < len(tasks):
        raise ComparisonError(
            f"tests are corrected over different tasks, each compared once, not {list(tasks)}."
        )
    levels = {one.settings.level for one in comparisons}
    if len(levels) > 1:
        raise ComparisonError(
            f"tests are corrected at one level, not at {sorted(levels)}; compare all tasks with the"
            " same setting level."
        )
    statistics, p_values = (
        [_statistics(c) for c in comparisons],
        [_p_values(c) for c in comparisons],
    )
    tests = []
    for name, hypothesis in HYPOTHESES.items():
        p = np.array([of_task[name] for of_task in p_values])
        tests.append(
            CorrectedTest(
                name=name,
                hypothesis=hypothesis,
                statistic_name=STATISTICS[name],
                tasks=tasks,
                statistic=np.array([of_task[name] for of_task in statistics]),
                p=p,
                adjusted_p=holm(p),
                level=comparisons[0].settings.level,
            )
        )
    return tuple(tests)


def _statistics(comparison: Comparison) -> dict[str, float]:
    """The number that each of `HYPOTHESES` is about, on one task; NaN where it is undefined."""
    edges, depth = comparison.overlap.edges.value, comparison.circuit_depth.source
    overlap = float(edges[_position(comparison)])
    early, centre = (depth.tested[CROSS_FITTED.index(n)] for n in ("early", "centre_of_mass"))
    agreement, at = comparison.agreement, _agreement_position(comparison)
    return {
        "edges_layout": overlap,
        "edges_noise": overlap,
        **{f"{n}_noise": float(getattr(agreement, n).value.value[at]) for n in BEYOND_EDGES},
        "early_share": float(early),
        "centre_of_mass": float(centre),
        "profile_distance": _or_nan(depth.distance.tested),
    }


def _p_values(comparison: Comparison) -> dict[str, float]:
    """The p-value of each of `HYPOTHESES`, on one task; NaN where it is undefined."""
    overlap, depth = comparison.overlap, comparison.circuit_depth.source
    index, agreement, at = (
        _position(comparison),
        comparison.agreement,
        _agreement_position(comparison),
    )
    return {
        "edges_layout": float(overlap.layout_p[index]),
        "edges_noise": float(overlap.noise_p[index]),
        **{f"{n}_noise": float(getattr(agreement, n).noise_p[at]) for n in BEYOND_EDGES},
        "early_share": float(depth.thirds_p[0]),
        "centre_of_mass": _or_nan(depth.centre_of_mass_p),
        "profile_distance": _or_nan(depth.distance.noise_p),
    }


def _position(comparison: Comparison | CircuitShift) -> int:
    """Of the circuit's size on the overlap curve."""
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    return index


def _agreement_position(comparison: Comparison) -> int:
    index = comparison.agreement.index_of(comparison.circuit_size)
    assert index is not None  # agreement_sizes always measures the circuit's own size
    return index


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def sweep_over_num_steps(
    comparisons: Mapping[int, Comparison | CircuitShift],
    effective_number: Mapping[int, Estimate] | None = None,
) -> NumStepsSweep:
    """Line up comparisons of one task that differ in their number of denoising steps.

    Args:
        comparisons: number of steps -> comparison of the models' scores at that schedule.
        effective_number: number of steps -> MDM's minus ARM's effective number of components, for
            the same numbers of steps.

    Raises:
        ComparisonError: there is none, or they differ in task, graph, circuit size, level or
            numbers of steps.
    """
    if not comparisons:
        raise ComparisonError("a sweep over numbers of steps needs at least one comparison.")
    points = sorted(comparisons)
    ordered = [comparisons[point] for point in points]
    _check_alike(ordered)
    if effective_number is not None and effective_number.keys() != comparisons.keys():
        raise ComparisonError(
            f"effective numbers of components at {sorted(effective_number)} steps do not belong to"
            f" comparisons at {points} steps."
        )
    first, level = ordered[0], ordered[0].settings.level
    depths = [one.circuit_depth for one in ordered]
    depth = DepthSweep(
        over="num_steps",
        points=np.array(points),
        source=_curve([one.source for one in depths], level),
        destination=_curve([one.destination for one in depths], level),
        circuit_sizes=np.array([one.circuit_size for one in ordered]),
        num_examples=np.array([one.num_examples for one in depths]),
        num_layers=first.graph.num_layers,
        num_resamples=first.settings.num_resamples,
        level=level,
        unit=depths[0].unit,
        notes=(),
    )
    overlaps = [(one.overlap, _position(one)) for one in ordered]
    return NumStepsSweep(
        task=first.task,
        depth=depth,
        source=Estimates.stack([one.source.cross_fitted for one in depths], level=level),
        destination=Estimates.stack([one.destination.cross_fitted for one in depths], level=level),
        overlap=Estimates.stack([one.edges.sel(at) for one, at in overlaps], level=level),
        ratio=Estimates.stack([one.ratio.sel(at) for one, at in overlaps], level=level),
        noise_p=np.array([one.noise_p[at] for one, at in overlaps]),
        effective_number=None
        if effective_number is None
        else Estimates.stack([effective_number[point] for point in points], level=level),
    )


def _check_alike(comparisons: Sequence[Comparison | CircuitShift]) -> None:
    def settings_of(one: Comparison | CircuitShift) -> dict[str, object]:
        return {
            "task": one.task,
            "graph": one.graph,
            "circuit size": one.circuit_size,
            "level": one.settings.level,
        }

    for name, expected in settings_of(comparisons[0]).items():
        found = {str(settings_of(one)[name]) for one in comparisons}
        if len(found) > 1:
            raise ComparisonError(
                f"comparisons of a sweep over numbers of steps must have one {name}, not"
                f" {sorted(found | {str(expected)})}."
            )


def _curve(sides: Sequence[SideProfiles], level: float) -> ShiftCurve:
    return ShiftCurve(
        early_share=Estimates.stack([side.thirds_shift.sel(0) for side in sides], level=level),
        centre_of_mass=Estimates.stack([side.centre_of_mass_shift for side in sides], level=level),
        distance=Estimates.stack([side.distance.value for side in sides], level=level),
        noise_distance=Estimates.stack([side.distance.noise for side in sides], level=level),
    )
