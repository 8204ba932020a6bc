"""The page of several runs: a list, a table of their verdicts, and forest plots of their numbers.

Everything on it stands in the runs' own reports (`run_list`). A reader chooses which runs are laid
beside each other; without scripts all are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from markupsafe import Markup

from mechshift.page.forest import Axis, axis_drawing, axis_over, row_drawing
from mechshift.page.formats import (
    NOT_DECIDED,
    NOT_MEASURED,
    UNDEFINED,
    Cell,
    estimate_cell,
    p_value,
)
from mechshift.page.html import render_page, task_slug
from mechshift.page.theme import percent
from mechshift.topics.decisions import MIN_CLUSTERS, decides
from mechshift.topics.registry import rules, statement_cell
from mechshift.topics.run_list import ListedRun, ListedTask, Number, RunList, numbers

TITLE = "Runs beside each other"

GENERATOR = "mechshift index"
"""Maker that the page names, by which a later one knows that it may take its place."""

Link = Callable[[ListedRun], str]
"""Address of a run's page, as the page of several runs names it."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as the template needs it."""

    run: ListedRun
    link: str
    """Empty where it has no page."""

    @property
    def title(self) -> str:
        """The MDM, by which a row calls it."""
        return self.run.mdm_name or self.run.name


@dataclass(frozen=True, kw_only=True)
class FamilyView:
    """The finished runs of one parent."""

    parent: str
    arm_name: str
    runs: tuple[RunView, ...]


@dataclass(frozen=True, kw_only=True)
class VerdictCell:
    """Verdict of a run on a task and an axis, and where its evidence is."""

    task: str
    cell: Cell
    link: str
    """Empty where the run does not have the task."""
    decided: bool


@dataclass(frozen=True, kw_only=True)
class AxisView:
    """An axis of the verdict: a row a run, a column a task."""

    axis: str
    words: str
    rows: tuple[tuple[RunView, tuple[VerdictCell, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """A run's number on a task."""

    view: RunView
    drawing: Markup
    cell: Cell


@dataclass(frozen=True, kw_only=True)
class ForestView:
    """A number of all runs on all tasks."""

    number: Number
    anchor: str
    ticks: Markup
    tasks: tuple[tuple[str, tuple[ForestRow, ...]], ...]


def runs_page(listed: RunList, link: Link) -> str:
    """The page, as HTML. Names from runs are escaped; same input, same bytes.

    Args:
        listed: at least one run.
        link: where a run's page is; only asked of runs that have one.
    """
    views = [RunView(run=run, link=link(run) if run.page else "") for run in listed.runs]
    finished = [view for view in views if view.run.tasks]
    tasks = tuple(dict.fromkeys(task.task for view in finished for task in view.run.tasks))
    forests = [_forest(one, finished, tasks) for one in numbers(listed)]
    return render_page(
        "runs.html.j2",
        title=TITLE,
        generator=GENERATOR,
        families=[
            FamilyView(
                parent=parent,
                arm_name=(of_parent := tuple(group))[0].run.arm_name,
                runs=of_parent,
            )
            for parent, group in groupby(finished, lambda view: view.run.parent)
        ],
        others=[view for view in views if not view.run.tasks],
        tasks=tasks,
        axes=_axes(finished, tasks),
        at_a_glance=[one for one in forests if one.number.at_a_glance],
        further=[one for one in forests if not one.number.at_a_glance],
        level=_level(finished),
        differing=_differing(finished),
        open_words=(NOT_DECIDED, NOT_MEASURED, UNDEFINED),
    )


def _axes(finished: Sequence[RunView], tasks: Sequence[str]) -> list[AxisView]:
    return [
        AxisView(
            axis=rule.axis,
            words=rule.words,
            rows=tuple(
                (view, tuple(_verdict_cell(view, task, rule.axis) for task in tasks))
                for view in finished
            ),
        )
        for rule in rules()
    ]


def _verdict_cell(view: RunView, task: str, axis: str) -> VerdictCell:
    found = _task_of(view, task)
    if found is None:
        return VerdictCell(task=task, cell=Cell(text="no such task"), link="", decided=False)
    said = [one for one in found.verdict.statements if one.axis == axis]
    sure = [one for one in said if decides(one.verdict)]
    p = [one.corrected_p for one in sure if one.corrected_p is not None]
    return VerdictCell(
        task=task,
        # The rest of the cell, such as of what examples a verdict speaks, stands by its evidence.
        cell=replace(statement_cell(said), note=f"corrected {p_value(min(p))}" if p else ""),
        link=f"{view.link}#{task_slug(task)}-{axis}-verdict",
        decided=bool(sure),
    )


def _task_of(view: RunView, task: str) -> ListedTask | None:
    return next((one for one in view.run.tasks if one.task == task), None)


def _forest(one: Number, finished: Sequence[RunView], tasks: Sequence[str]) -> ForestView:
    """Runs of a task below each other, in the order of the list: those of one parent adjoin."""
    found = [
        (task, view, of_task, estimate)
        for task in tasks
        for view in finished
        if (of_task := _task_of(view, task)) is not None
        and (estimate := one.of(of_task)) is not None
    ]
    axis = axis_over([estimate for *_, estimate in found], one.neutral)
    return ForestView(
        number=one,
        anchor=f"number-{task_slug(one.name)}",
        ticks=axis_drawing(axis),
        tasks=tuple(
            (
                task,
                tuple(
                    ForestRow(
                        view=view,
                        drawing=row_drawing(axis, estimate, decided=_differs(axis, of_task, one)),
                        cell=estimate_cell(estimate),
                    )
                    for _, view, of_task, estimate in group
                ),
            )
            for task, group in groupby(found, lambda row: row[0])
        ),
    )


def _differs(axis: Axis, task: ListedTask, one: Number) -> bool:
    """Whether the interval excludes no change, on clusters enough to decide anything."""
    estimate = one.of(task)
    return (
        axis.neutral is not None
        and estimate is not None
        and task.num_clusters >= MIN_CLUSTERS
        and estimate.excludes(axis.neutral)
    )


def _level(finished: Sequence[RunView]) -> str:
    """Of the intervals; all that there are, where runs differ."""
    levels = sorted(
        {
            one.estimate.interval.level
            for view in finished
            for task in view.run.tasks
            for one in task.verdict.statements
            if one.estimate is not None
        }
    )
    return " and ".join(map(percent, levels))


def _differing(finished: Sequence[RunView]) -> tuple[str, ...]:
    """In what the runs differ that numbers depend on."""
    tasks = [task for view in finished for task in view.run.tasks]
    metrics: dict[str, set[str]] = {}
    for task in tasks:
        metrics.setdefault(task.task, set()).add(task.metric)
    said = []
    if len(sizes := sorted({task.circuit_size for task in tasks})) > 1:
        said.append(f"circuits of {' and '.join(f'{size:,}' for size in sizes)} edges")
    said += [
        f"the metric of {task} ({' and '.join(sorted(of_task))})"
        for task, of_task in metrics.items()
        if len(of_task) > 1
    ]
    return tuple(said)
