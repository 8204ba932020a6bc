"""Which differences remain when every task has had its chance to differ?

Each hypothesis is tested once per task; its p-values are adjusted over tasks by Holm's method, so
that if it is true of every task, it is rejected for any of them at most as often as the level says.
Different hypotheses answer different questions and are not adjusted for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.agreement import Agreement
from mechshift.comparison.comparison import Comparison
from mechshift.comparison.depth import CROSS_FITTED
from mechshift.errors import ComparisonError
from mechshift.statistics import ROUNDING, holm


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


@dataclass(frozen=True, kw_only=True)
class MeasuredTest:
    """One hypothesis on one task; NaN where it is undefined."""

    statistic: float
    p: float


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
    measured = [measured_tests(one) for one in comparisons]
    tests = []
    for name, hypothesis in HYPOTHESES.items():
        p = np.array([of_task[name].p for of_task in measured])
        tests.append(
            CorrectedTest(
                name=name,
                hypothesis=hypothesis,
                statistic_name=STATISTICS[name],
                tasks=tasks,
                statistic=np.array([of_task[name].statistic for of_task in measured]),
                p=p,
                adjusted_p=holm(p),
                level=comparisons[0].settings.level,
            )
        )
    return tuple(tests)


def measured_tests(comparison: Comparison) -> dict[str, MeasuredTest]:
    """Each of `HYPOTHESES` on one task."""
    overlap, size = comparison.overlap, comparison.circuit_size
    index = overlap.index_of(size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    edges = float(overlap.edges.value[index])
    depth = comparison.circuit_depth.source
    early, centre = (
        float(depth.tested[CROSS_FITTED.index(n)]) for n in ("early", "centre_of_mass")
    )
    return {
        "edges_layout": MeasuredTest(statistic=edges, p=float(overlap.layout_p[index])),
        "edges_noise": MeasuredTest(statistic=edges, p=float(overlap.noise_p[index])),
        **_beyond_edges(comparison.agreement, size),
        "early_share": MeasuredTest(statistic=float(early), p=float(depth.thirds_p[0])),
        "centre_of_mass": MeasuredTest(statistic=float(centre), p=_or_nan(depth.centre_of_mass_p)),
        "profile_distance": MeasuredTest(
            statistic=_or_nan(depth.distance.tested), p=_or_nan(depth.distance.noise_p)
        ),
    }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _beyond_edges(agreement: Agreement, size: int) -> dict[str, MeasuredTest]:
    index = agreement.index_of(size)
    assert index is not None  # agreement_sizes always measures the circuit's own size
    return {
        f"{name}_noise": MeasuredTest(
            statistic=float(curve.value.value[index]), p=float(curve.noise_p[index])
        )
        for name in ("nodes", "weighted", "rank", "sign")
        for curve in [getattr(agreement, name)]
    }
