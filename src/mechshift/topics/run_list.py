"""Several runs beside each other: what each one decided and measured, as records and as tables.

For readers who compare pairs: two MDMs of one parent, one MDM on other tasks or at another size. A
run is listed as it was concluded. Nothing is computed across runs: their examples differ, and the
verdicts of each were corrected for that run alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from mechshift.statistics import Estimate
from mechshift.topics.registry import Verdict, quantities, rules

VERDICT_COLUMNS = {
    "task": pl.String,
    "axis": pl.String,
    "verdict": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "corrected_p": pl.Float64,
    "population": pl.String,
    "sentence": pl.String,
}


def verdict_rows(verdicts: Iterable[Verdict]) -> Iterator[dict[str, Any]]:
    """A row a statement, with the columns of `VERDICT_COLUMNS`."""
    for verdict in verdicts:
        for one in verdict.statements:
            yield {
                "task": verdict.task,
                "axis": one.axis,
                "verdict": one.verdict,
                "quantity": one.quantity,
                **_numbers(one.estimate),
                "p": one.p,
                "corrected_p": one.corrected_p,
                "population": one.population,
                "sentence": one.sentence,
            }


def _numbers(estimate: Estimate | None) -> dict[str, float | None]:
    return {
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.interval.low,
        "high": None if estimate is None else estimate.interval.high,
    }


@dataclass(frozen=True, kw_only=True)
class ListedTask:
    """A task of a finished run."""

    verdict: Verdict
    """As its report says it."""
    measured: Mapping[str, Estimate | None]
    """Each quantity of the MDM by name; None where it is undefined."""
    metric: str
    """Name of the metric that was explained."""
    num_examples: int
    """For discovery."""
    num_clusters: int
    """Of these examples."""
    circuit_size: int
    """Edges of the circuits that were compared."""

    @property
    def task(self) -> str:
        """Its name."""
        return self.verdict.task


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run folder as it is listed, finished or not."""

    name: str
    """Its path below the folder in which it was found."""
    path: Path
    written: date | None = None
    """When its page was written (UTC); None where there is none."""
    arm_name: str = ""
    mdm_name: str = ""
    parent: str = ""
    """SHA-256 over the ARM's weights: runs that share it are of one parent."""
    tasks: tuple[ListedTask, ...] = ()
    """Empty unless the run is finished."""
    page: Path | None = None
    """Of a run that has one: its report, or of a post-training its trajectory."""
    problem: str = ""
    """Why there are no verdicts, in a line; empty where there are."""
    note: str = ""
    """What is to be known before its verdicts are laid beside others, in a line."""


@dataclass(frozen=True, kw_only=True)
class RunList:
    """Runs, those of one parent next to each other; made by `open_runs`."""

    runs: tuple[ListedRun, ...]

    @property
    def finished(self) -> tuple[ListedRun, ...]:
        """Those with verdicts."""
        return tuple(one for one in self.runs if one.tasks)

    def to_frame(self) -> pl.DataFrame:
        """A row a run: name, models, date, tasks, and why it has no verdicts if it has none."""
        rows = [
            {
                "run": one.name,
                "arm": one.arm_name,
                "mdm": one.mdm_name,
                "written": one.written,
                "tasks": [task.task for task in one.tasks],
                "parent": one.parent,
                "problem": one.problem,
            }
            for one in self.runs
        ]
        return pl.DataFrame(rows, schema=_RUN_COLUMNS)

    def verdicts(self) -> pl.DataFrame:
        """A row a statement of every finished run: its models, then as `Verdicts.to_frame`."""
        return self._over_tasks(VERDICT_COLUMNS, lambda task: verdict_rows([task.verdict]))

    def quantities(self) -> pl.DataFrame:
        """A row a quantity of every task: value and interval, and where no change would lie."""
        return self._over_tasks(_QUANTITY_COLUMNS, _quantity_rows)

    def _over_tasks(
        self,
        columns: Mapping[str, Any],
        rows_of: Callable[[ListedTask], Iterable[Mapping[str, Any]]],
    ) -> pl.DataFrame:
        rows = [
            {"run": run.name, "arm": run.arm_name, "mdm": run.mdm_name, **row}
            for run in self.finished
            for task in run.tasks
            for row in rows_of(task)
        ]
        return pl.DataFrame(rows, schema={**_OF_RUN, **columns})

    def __repr__(self) -> str:
        return f"RunList({len(self.runs)} runs, {len(self.finished)} finished)"

    def _repr_html_(self) -> str:
        """A row a run, for notebooks."""
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in _shown(one))}</tr>"
            for one in self.runs
        )
        header = "".join(f"<th>{name}</th>" for name in ("run", "ARM", "MDM", "written", "tasks"))
        return f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"


_OF_RUN = {"run": pl.String, "arm": pl.String, "mdm": pl.String}

_RUN_COLUMNS: Mapping[str, Any] = {
    **_OF_RUN,
    "written": pl.Date,
    "tasks": pl.List(pl.String),
    "parent": pl.String,
    "problem": pl.String,
}

_QUANTITY_COLUMNS = {
    "task": pl.String,
    "quantity": pl.String,
    "unit": pl.String,
    "neutral": pl.Float64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def _quantity_rows(task: ListedTask) -> Iterator[dict[str, Any]]:
    for one in quantities("members"):
        if one.name in task.measured:
            yield {
                "task": task.task,
                "quantity": one.name,
                "unit": one.unit,
                "neutral": one.neutral,
                **_numbers(task.measured[one.name]),
            }


def _shown(run: ListedRun) -> tuple[str, ...]:
    return (
        run.name,
        run.arm_name,
        run.mdm_name,
        "" if run.written is None else run.written.isoformat(),
        run.problem or ", ".join(task.task for task in run.tasks),
    )


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number that runs are laid beside each other by."""

    name: str
    unit: str
    neutral: float | None
    """Its value where the MDM is as the ARM; None: there is no such value."""
    meaning: str
    at_a_glance: bool
    of: Callable[[ListedTask], Estimate | None]


def numbers(runs: RunList) -> tuple[Number, ...]:
    """Every quantity of the MDM that some run has, then what other verdicts rest on, in page order.

    A rule that rests on none of these quantities (inheritance, intervention) has a number of its
    own.
    """
    tasks = [task for run in runs.finished for task in run.tasks]
    found = [
        Number(
            name=one.name,
            unit=one.unit,
            neutral=one.neutral,
            meaning=one.meaning,
            at_a_glance=one.at_a_glance,
            of=lambda task, name=one.name: task.measured.get(name),  # type: ignore[misc]
        )
        for one in quantities("members")
    ]
    known = {estimate for task in tasks for estimate in task.measured.values()}
    for rule in rules():
        rests_on = {_estimate(task, rule.axis) for task in tasks} - {None}
        if rests_on - known:
            found.append(
                Number(
                    name=rule.axis,
                    unit="",
                    neutral=None,
                    meaning=rule.words,
                    at_a_glance=False,
                    of=lambda task, axis=rule.axis: _estimate(task, axis),  # type: ignore[misc]
                )
            )
    return tuple(one for one in found if any(one.of(task) for task in tasks))


def _estimate(task: ListedTask, axis: str) -> Estimate | None:
    """Of the first statement on an axis."""
    return next((one.estimate for one in task.verdict.statements if one.axis == axis), None)
