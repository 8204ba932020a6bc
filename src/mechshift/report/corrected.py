"""Which hypotheses fall when every task had its chance: a table for the page, CSV and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mechshift.comparison import CorrectedTest, corrected_tests
from mechshift.page.formats import Cell, number
from mechshift.report.records import TaskReport
from mechshift.verdict import UNDEFINED

TESTS_NAME = "tests.csv"

REJECTED, NOT_REJECTED = "rejected", "not rejected"

TITLES = {
    "edges_layout": "Edges, beyond layout",
    "edges_noise": "Edges, beyond noise",
    "nodes_noise": "Nodes",
    "weighted_noise": "Weights",
    "rank_noise": "Order",
    "sign_noise": "Signs",
    "early_share": "Early share",
    "centre_of_mass": "Centre of mass",
    "profile_distance": "Depth profile",
}
"""Name of each of `comparison.HYPOTHESES` -> how the page calls its test."""

CAUTION = (
    "All tests but the first exchange the two models' scores example by example, and therefore take"
    " unequal noise for a difference too. In simulations of one circuit in both models they keep"
    " their level where both are equally noisy. Where one was three times as noisy, they rejected"
    " in 8 % (signs) to 100 % (weights) of the pools instead of 5 %: edges 13 %, depth 16 to 21 %,"
    " order 41 %, nodes 66 % (docs/validity.md). So a rejection says that the scores differ, which"
    " need not be the circuit, and no verdict rests on an exchange: verdicts read the intervals of"
    " ratios to the ceiling and of cross-fitted shifts, which keep their level there."
).replace(" %", "\N{NO-BREAK SPACE}%")


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


def corrected_over(tasks: Sequence[TaskReport]) -> tuple[CorrectedTest, ...]:
    """Every test of a report's tasks, corrected over these."""
    return corrected_tests([task.comparison for task in tasks])


def corrected_table(tests: Sequence[CorrectedTest]) -> CorrectedTable:
    """The table of the page."""
    return CorrectedTable(
        caption=_caption(tests[0]),
        rows=tuple(
            CorrectedRow(
                name=TITLES[test.name],
                hypothesis=test.hypothesis,
                statistic_name=test.statistic_name,
                cells=tuple(_cell(test, task) for task in range(len(test.tasks))),
            )
            for test in tests
        ),
    )


def corrected_frame(tests: Sequence[CorrectedTest]) -> pl.DataFrame:
    """One row per test and task; empty where a number is undefined."""
    parts = [
        pl.DataFrame(
            {
                "test": test.name,
                "hypothesis": test.hypothesis,
                "task": test.tasks,
                "statistic_name": test.statistic_name,
                "statistic": test.statistic,
                "p": test.p,
                "corrected_p": test.adjusted_p,
                "level": test.level,
                "rejected": test.rejected,
            }
        )
        for test in tests
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
    p = f"p {number(test.p[task], 3)}"
    if len(test.tasks) > 1:
        p += f", corrected {number(test.adjusted_p[task], 3)}"
    return Cell(
        text=REJECTED if test.rejected[task] else NOT_REJECTED,
        interval=number(test.statistic[task]),
        note=p,
    )
