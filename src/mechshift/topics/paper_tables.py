"""Tables of a run for a paper: verdicts, numbers, tests and controls, as the page has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mechshift.page.elements import Group
from mechshift.page.html import check_file_names, task_slug
from mechshift.page.printed_tables import PrintedGroup, PrintedTable
from mechshift.page.theme import percent
from mechshift.topics.controls import (
    control_title,
    controls_table,
    member_estimates,
    quantity_panels_table,
)
from mechshift.topics.hypotheses import corrected_frame, corrected_table
from mechshift.topics.registry import correction, headline, quantities, tests_over, verdicts
from mechshift.topics.run_list import VERDICT_COLUMNS, verdict_rows
from mechshift.topics.topic import TaskResults


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table as it is printed, and its numbers."""

    printed: PrintedTable
    numbers: pl.DataFrame
    """With every digit where the run has them."""


def paper_tables(tasks: Sequence[TaskResults]) -> tuple[PaperTable, ...]:
    """Every table of a run.

    Raises:
        ReportError: no task, or tasks that would share file names.
    """
    check_file_names([task.task for task in tasks])
    return tuple(_tables(tasks))


def _tables(tasks: Sequence[TaskResults]) -> Iterator[PaperTable]:
    decided, tests = verdicts(tasks), tests_over(tasks)
    of_verdict, *of_numbers = headline(tasks, decided)
    columns = tuple(task.task for task in tasks)
    brackets = f"Brackets are {percent(tasks[0].comparison.settings.level)} intervals."
    yield PaperTable(
        printed=PrintedTable(
            name="verdicts",
            caption=f"Verdicts. {brackets} {correction(decided).partition(' “')[0]}",
            corner="Axis",
            columns=columns,
            groups=(_group(of_verdict, name=""),),
        ),
        numbers=pl.DataFrame(list(verdict_rows(decided)), schema=VERDICT_COLUMNS),
    )
    yield PaperTable(
        printed=PrintedTable(
            name="numbers",
            caption=f"Numbers behind the verdicts, and others. {brackets}",
            corner="Quantity",
            columns=columns,
            groups=tuple(_group(one, name=one.name) for one in of_numbers),
        ),
        numbers=_as_shown(of_numbers, columns),
    )
    table = corrected_table(tests)
    yield PaperTable(
        printed=PrintedTable(
            name="tests",
            caption=table.caption,
            corner="Hypothesis",
            columns=columns,
            groups=(
                PrintedGroup(
                    name="",
                    rows=tuple((f"{row.name}: {row.hypothesis}", row.cells) for row in table.rows),
                ),
            ),
        ),
        numbers=corrected_frame(tests),
    )
    for task in tasks:
        if task.controls:
            yield _controls(task, brackets)


def _group(group: Group, *, name: str) -> PrintedGroup:
    return PrintedGroup(name=name, rows=tuple((row.name, row.cells) for row in group.rows))


def _as_shown(groups: Sequence[Group], columns: Sequence[str]) -> pl.DataFrame:
    """A row a cell; topics give these numbers as they are printed."""
    rows: list[Mapping[str, str]] = [
        {
            "group": group.name,
            "quantity": row.name,
            "task": task,
            "value": cell.text,
            "interval": cell.interval,
            "note": cell.note,
        }
        for group in groups
        for row in group.rows
        for task, cell in zip(columns, row.cells, strict=True)
    ]
    return pl.DataFrame(rows)


def _controls(task: TaskResults, brackets: str) -> PaperTable:
    table = controls_table(task, quantities("members"))
    rows = {"MDM": member_estimates(task.mdm)}
    rows |= {control_title(one.name): member_estimates(one) for one in task.controls}
    return PaperTable(
        printed=PrintedTable(
            name=f"{task_slug(task.task)}-controls",
            caption=f"The MDM and its controls against the ARM on {task.task}. {brackets}",
            corner=table.corner,
            columns=tuple(name for name, _ in table.columns),
            groups=(PrintedGroup(name="", rows=table.rows),),
        ),
        numbers=quantity_panels_table(rows, quantities("members")),
    )
