"""Hypotheses over all tasks: which fall when every task had its chance to differ.

Each hypothesis of a topic is tested once per task; its p-values are adjusted over tasks by Holm's
method, so that if it is true of every task, it is rejected for any of them at most as often as the
level says. Different hypotheses answer different questions and are not adjusted for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from mechshift.comparison import Comparison
from mechshift.errors import ComparisonError
from mechshift.page.formats import UNDEFINED, Cell, number, p_value
from mechshift.statistics import ROUNDING, holm
from mechshift.topics.topic import Test

TESTS_NAME = "tests.csv"

REJECTED, NOT_REJECTED = "rejected", "not rejected"

CAUTION = (
    "All tests but the first two exchange the two models' scores example by example, and so take"
    " unequal noise for a difference too. In simulations of one circuit in both models they keep"
    " their level where both are equally noisy. Where one was three times as noisy, they rejected"
    " in 8 % (signs) to 100 % (weights) of the pools instead of 5 %: edges 13 %, depth 16 to 21 %,"
    " order 41 %, nodes 66 % (docs/validity.md). So a rejection says that the scores differ, which"
    " need not be the circuit, and no verdict rests on an exchange: verdicts read the intervals of"
    " noise-free overlap and of cross-fitted shifts, which keep their level there."
).replace(" %", "\N{NO-BREAK SPACE}%")


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectedTest:
    """One hypothesis over tasks."""

    test: Test
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


def corrected_tests(
    tests: Sequence[Test], comparisons: Sequence[Comparison]
) -> tuple[CorrectedTest, ...]:
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
    (level,) = levels
    corrected = []
    for test in tests:
        statistic, p = np.array([test.measure(one) for one in comparisons]).T
        corrected.append(
            CorrectedTest(
                test=test,
                tasks=tasks,
                statistic=statistic,
                p=p,
                adjusted_p=holm(p),
                level=level,
            )
        )
    return tuple(corrected)


@dataclass(frozen=True, kw_only=True)
class CorrectedRow:
    """One test over all tasks."""

    name: str
    hypothesis: str
    statistic_name: str
    cells: tuple[Cell, ...]
    """Decision, number, p-value and corrected p-value of every task."""


@dataclass(frozen=True, kw_only=True)
class CorrectedTable:
    """Every test, and how to read it."""

    caption: str
    rows: tuple[CorrectedRow, ...]


def corrected_table(tests: Sequence[CorrectedTest]) -> CorrectedTable:
    """The table of the page."""
    return CorrectedTable(
        caption=_caption(tests[0]),
        rows=tuple(
            CorrectedRow(
                name=one.test.title,
                hypothesis=one.test.hypothesis,
                statistic_name=one.test.statistic_name,
                cells=tuple(_cell(one, task) for task in range(len(one.tasks))),
            )
            for one in tests
        ),
    )


def corrected_frame(tests: Sequence[CorrectedTest]) -> pl.DataFrame:
    """One row per test and task; empty where a number is undefined."""
    parts = [
        pl.DataFrame(
            {
                "test": one.test.name,
                "hypothesis": one.test.hypothesis,
                "task": one.tasks,
                "statistic_name": one.test.statistic_name,
                "statistic": one.statistic,
                "p": one.p,
                "corrected_p": one.adjusted_p,
                "level": one.level,
                "rejected": one.rejected,
            }
        )
        for one in tests
    ]
    return pl.concat(parts).fill_nan(None)


def _caption(test: CorrectedTest) -> str:
    chance, count = f"{100 * (1 - test.level):.3g}\N{NO-BREAK SPACE}%", len(test.tasks)
    if count == 1:
        corrected = "With one task, there is nothing to correct for."
    else:
        corrected = (
            f"The p-values of a hypothesis are corrected over the {count} tasks by Holm's method:"
            " where it is true of every task, it is rejected for any of them with a probability of"
            f" at most {chance}. Different hypotheses are not corrected for each other."
        )
    return (
        f"Each hypothesis speaks of circuits of K edges and is rejected where its p-value is at"
        f" most {1 - test.level:.3g}. {corrected}"
    )


def _cell(test: CorrectedTest, task: int) -> Cell:
    if not np.isfinite(test.p[task]):
        return Cell(text=UNDEFINED)
    p = p_value(test.p[task])
    if len(test.tasks) > 1:
        p += f", corrected {number(test.adjusted_p[task], 3)}"
    return Cell(
        text=REJECTED if test.rejected[task] else NOT_REJECTED,
        interval=number(test.statistic[task]),
        note=p,
    )
