"""Which differences remain when every task has had its chance to differ?

Each hypothesis is tested once per task; its p-values are adjusted over tasks by Holm's method, so
that if it is true of every task, it is rejected for any of them at most as often as the level says.
Different hypotheses answer different questions and are not adjusted for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.comparison.agreement import Agreement
from mechshift.comparison.comparison import Comparison
from mechshift.errors import ComparisonError
from mechshift.statistics import holm


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectedTest:
    """One hypothesis over tasks."""

    name: str
    """What is tested, such as `edges_noise`."""

    hypothesis: str
    """What a small p-value speaks against, in words."""

    tasks: tuple[str, ...]
    p: Float[np.ndarray, " task"]
    """P-value of each task; NaN where the quantity is undefined."""

    adjusted_p: Float[np.ndarray, " task"]
    """Holm's p-value over the tasks that have one."""


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


def corrected_tests(comparisons: Sequence[Comparison]) -> tuple[CorrectedTest, ...]:
    """Every hypothesis, tested on every task and corrected over tasks.

    Raises:
        ComparisonError: there is no comparison, or two of one task.
    """
    tasks = tuple(one.task for one in comparisons)
    if not tasks or len(set(tasks)) < len(tasks):
        raise ComparisonError(
            f"tests are corrected over different tasks, each compared once, not {list(tasks)}."
        )
    p = [p_values(one) for one in comparisons]
    tests = []
    for name, hypothesis in HYPOTHESES.items():
        of_tasks = np.array([of_task[name] for of_task in p])
        tests.append(
            CorrectedTest(
                name=name,
                hypothesis=hypothesis,
                tasks=tasks,
                p=of_tasks,
                adjusted_p=holm(of_tasks),
            )
        )
    return tuple(tests)


def p_values(comparison: Comparison) -> dict[str, float]:
    """The p-value of each of `HYPOTHESES` on one task; NaN where it is undefined."""
    overlap, size = comparison.overlap, comparison.circuit_size
    index = overlap.index_of(size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    depth = comparison.circuit_depth.source
    return {
        "edges_layout": float(overlap.layout_p[index]),
        "edges_noise": float(overlap.noise_p[index]),
        **_noise_p(comparison.agreement, size),
        "early_share": float(depth.thirds_p[0]),
        "centre_of_mass": _or_nan(depth.centre_of_mass_p),
        "profile_distance": _or_nan(depth.distance.noise_p),
    }


def _or_nan(p: float | None) -> float:
    return np.nan if p is None else p


def _noise_p(agreement: Agreement, size: int) -> dict[str, float]:
    index = agreement.index_of(size)
    assert index is not None  # agreement_sizes always measures the circuit's own size
    return {
        f"{name}_noise": float(getattr(agreement, name).noise_p[index])
        for name in ("nodes", "weighted", "rank", "sign")
    }
