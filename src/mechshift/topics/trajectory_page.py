"""The page of a trajectory: a post-training, checkpoint by checkpoint, and the tables beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechshift.page.elements import Exhibit
from mechshift.page.formats import UNDEFINED, Cell, csv_text, estimate_cell
from mechshift.page.html import (
    FigureView,
    check_file_names,
    figure_view,
    render_page,
    task_slug,
)
from mechshift.page.theme import percent
from mechshift.topics.report_page import Report
from mechshift.topics.topic import Measured, Quantity
from mechshift.topics.trajectory import Trajectory, training_title
from mechshift.topics.trajectory_changes import Change, changes, changes_table
from mechshift.topics.trajectory_circuits import (
    circuit_scrubber,
    circuit_scrubber_table,
    depth_over_training,
    depth_over_training_table,
)
from mechshift.topics.trajectory_curves import trajectory_figure, trajectory_table
from mechshift.topics.trajectory_trainings import (
    KindsDifference,
    differences,
    differences_table,
)

TABLE_NAME = "trajectory"
"""Of the table with all numbers of all tasks, which the figure of the curves shows."""

CURVES_READING = (
    "Where a band leaves the dashed line, the checkpoint differs from its parent. What the control"
    " does too, training does without diffusion."
)


@dataclass(frozen=True, kw_only=True)
class TrajectoryFacts:
    """Facts on how the numbers were made, so that somebody else can make them again."""

    arm_name: str
    config: Mapping[str, Any]
    """Settings, as JSON values."""
    versions: Mapping[str, str]
    """Package -> version, `python` included."""
    weights: Mapping[str, str]
    """Checkpoint -> sha256 over its weights."""
    solved_by_parent_alone: bool = False
    """Whether the final MDM was not asked, since there was none when the pool was made."""
    notes: tuple[str, ...] = ()
    """Sentences on what could not be measured at all."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryInput:
    """A trajectory, ready to be shown."""

    tasks: tuple[Trajectory, ...]
    tracked: tuple[Quantity, ...]
    """What is shown of every point; see `registry.tracked_quantities`."""
    descriptions: Mapping[str, str]
    """What each task asks, in a sentence."""
    facts: TrajectoryFacts


@dataclass(frozen=True, kw_only=True)
class TrainingView:
    """One training of one task, as a table: a row for each checkpoint."""

    name: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Step, and a cell for each tracked quantity."""


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task's section as the template needs it."""

    anchor: str
    name: str
    description: str
    figures: tuple[FigureView, ...]
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    """A training, and what became of each number that has draws."""
    changes_csv: str
    differences: tuple[str, ...]
    """What the trainings with diffusion do more than those without, over several of each."""
    differences_csv: str
    trainings: tuple[TrainingView, ...]
    missing: tuple[str, ...]
    """What is undefined at which steps, and why."""


def render_trajectory(shown: TrajectoryInput) -> Report:
    """The page, the numbers of each figure beside it, and the table of all numbers.

    Every figure is drawn once. Names from the run are escaped; same input, same bytes.

    Raises:
        ReportError: tasks that would share file names.
    """
    check_file_names([trajectory.task for trajectory in shown.tasks])
    table = trajectory_table(shown.tasks, shown.tracked)
    exhibits = {
        trajectory.task: tuple(trajectory_exhibits(trajectory)) for trajectory in shown.tasks
    }
    texts = {
        _csv_name(task, exhibit.name): csv_text(exhibit.table)
        for task, of_task in exhibits.items()
        for exhibit in of_task
    }
    changed = [changes(trajectory, shown.tracked) for trajectory in shown.tasks]
    differing = [differences(trajectory, shown.tracked) for trajectory in shown.tasks]
    page = render_page(
        "trajectory.html.j2",
        facts=shown.facts,
        curves=figure_view(
            trajectory_figure(shown.tasks, shown.tracked),
            anchor="curves",
            reading=CURVES_READING,
            csv=f"{TABLE_NAME}.csv",
        ),
        tasks=[
            _task_view(trajectory, shown, exhibits[trajectory.task], found, of_kinds)
            for trajectory, found, of_kinds in zip(shown.tasks, changed, differing, strict=True)
        ],
        tracked=shown.tracked,
        level=percent(shown.tasks[0].level),
        open_words=(UNDEFINED,),
        config=json.dumps(shown.facts.config, indent=2, sort_keys=True, ensure_ascii=False),
    )
    texts[f"{TABLE_NAME}.csv"] = csv_text(table)
    texts |= {
        _csv_name(trajectory.task, "changes"): csv_text(changes_table(found))
        for trajectory, found in zip(shown.tasks, changed, strict=True)
        if found
    }
    texts |= {
        _csv_name(trajectory.task, "trainings"): csv_text(differences_table(found))
        for trajectory, found in zip(shown.tasks, differing, strict=True)
        if found
    }
    return Report(page=page, texts=texts, tables={TABLE_NAME: table})


def trajectory_exhibits(trajectory: Trajectory) -> Iterator[Exhibit]:
    """The figures of one task: depth, and the circuits of each training."""
    yield Exhibit(
        name="depth",
        figure=depth_over_training(trajectory),
        table=depth_over_training_table(trajectory),
        reading="A column is a checkpoint; brighter layers write more of the circuit. Work that"
        " moves to earlier layers moves down.",
    )
    for training in trajectory.followed:
        yield Exhibit(
            name=f"circuit-{training}",
            figure=circuit_scrubber(trajectory, training),
            table=circuit_scrubber_table(trajectory, training),
            reading="Move the slider from the parent to the final model. Green edges are the"
            " parent's too, pink ones are new; grey ones are among the parent's strongest and are"
            " lost.",
        )


def _csv_name(task: str, name: str) -> str:
    return f"{task_slug(task)}-{name}.csv"


def _task_view(
    trajectory: Trajectory,
    shown: TrajectoryInput,
    exhibits: Sequence[Exhibit],
    changed: Sequence[Change],
    differing: Sequence[KindsDifference],
) -> TaskView:
    task = trajectory.task
    return TaskView(
        anchor=task_slug(task),
        name=task,
        description=shown.descriptions[task],
        figures=tuple(
            figure_view(
                exhibit.figure,
                anchor=f"{task_slug(task)}-{exhibit.name}",
                reading=exhibit.reading,
                csv=_csv_name(task, exhibit.name),
            )
            for exhibit in exhibits
        ),
        changes=tuple(
            (
                training_title(training),
                tuple(one.words for one in changed if one.training == training),
            )
            for training in trajectory.trainings
        ),
        changes_csv=_csv_name(task, "changes"),
        differences=tuple(one.words for one in differing),
        differences_csv=_csv_name(task, "trainings"),
        trainings=tuple(
            TrainingView(
                name=training_title(training),
                rows=tuple(
                    (
                        f"{point.step:,}",
                        tuple(_cell(point.measured[one.name]) for one in shown.tracked),
                    )
                    for point in trajectory.of(training)
                ),
            )
            for training in trajectory.trainings
        ),
        missing=_missing(trajectory, shown.tracked),
    )


def _cell(measured: Measured) -> Cell:
    if measured.estimate is None:
        return Cell(text=UNDEFINED)
    return estimate_cell(measured.estimate)


def _missing(trajectory: Trajectory, tracked: Sequence[Quantity]) -> tuple[str, ...]:
    return tuple(
        f"{point.training}, step {point.step:,}, {quantity.name}: {reason}"
        for point in trajectory.points
        for quantity in tracked
        if (reason := point.measured[quantity.name].reason)
    )
