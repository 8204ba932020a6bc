"""The page that shows a post-training checkpoint by checkpoint."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mechshift.figures import (
    circuit_scrubber,
    circuit_scrubber_table,
    depth_over_training,
    depth_over_training_table,
    trajectory_curves,
)
from mechshift.page.theme import percent
from mechshift.figures.trajectory_curves import TRAINING_NAMES
from mechshift.page.formats import Cell, estimate_cell
from mechshift.page.html import FigureView, figure_view, render_page
from mechshift.report.records import task_slug
from mechshift.verdict import TRACKED, UNDEFINED, Measured, Trajectory

TABLE_CSV = "trajectory.csv"
"""All numbers of all tasks; the figure of the curves shows them."""

DEPTH, CIRCUIT = "depth", "circuit"
"""Parts of the names of figures and files."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryFacts:
    """How the numbers were made, so that somebody else can make them again."""

    arm_name: str
    config: Mapping[str, Any]
    """Settings, as JSON values."""
    versions: Mapping[str, str]
    """Package -> version, `python` included."""
    weights: Mapping[str, str]
    """Checkpoint -> sha256 over its weights."""
    notes: tuple[str, ...] = ()
    """Sentences on what could not be measured at all."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryInput:
    """A trajectory, ready to be shown."""

    tasks: tuple[Trajectory, ...]
    descriptions: Mapping[str, str]
    """What each task asks, in a sentence."""
    facts: TrajectoryFacts


@dataclass(frozen=True, kw_only=True)
class TrainingView:
    """One training of one task, as a table: a row for each checkpoint."""

    name: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Step, and a cell for each of `TRACKED`."""


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task's section as the template needs it."""

    anchor: str
    name: str
    description: str
    figures: tuple[FigureView, ...]
    trainings: tuple[TrainingView, ...]
    missing: tuple[str, ...]
    """What is undefined at which steps, and why."""


def render_trajectory(shown: TrajectoryInput) -> str:
    """The page; write it beside the files that `trajectory_csvs` names."""
    return render_page(
        "trajectory.html.j2",
        facts=shown.facts,
        curves=figure_view(
            trajectory_curves(shown.tasks),
            anchor="curves",
            reading="Where a band leaves the dashed line, the checkpoint differs from its parent."
            " What the control does too, training does without diffusion.",
            csv=TABLE_CSV,
        ),
        tasks=[_task_view(shown, trajectory) for trajectory in shown.tasks],
        tracked=TRACKED,
        level=percent(shown.tasks[0].level),
        open_words=(UNDEFINED,),
        config=json.dumps(shown.facts.config, indent=2, sort_keys=True, ensure_ascii=False),
    )


def trajectory_csvs(shown: TrajectoryInput) -> dict[str, pl.DataFrame]:
    """File name -> the numbers behind one figure of one task."""
    tables = {}
    for trajectory in shown.tasks:
        tables[_csv_name(trajectory, DEPTH)] = depth_over_training_table(trajectory)
        for training in trajectory.trainings:
            name = _csv_name(trajectory, f"{CIRCUIT}-{training}")
            tables[name] = circuit_scrubber_table(trajectory, training)
    return tables


def _figures(trajectory: Trajectory) -> Iterator[FigureView]:
    """Depth, and the circuits of each training."""
    yield _figure_view(
        trajectory,
        DEPTH,
        depth_over_training(trajectory),
        "A column is a checkpoint; brighter layers write more of the circuit. Work that moves to"
        " earlier layers moves down.",
    )
    for training in trajectory.trainings:
        yield _figure_view(
            trajectory,
            f"{CIRCUIT}-{training}",
            circuit_scrubber(trajectory, training),
            "Move the slider from the parent to the final model. Green edges are the parent's too,"
            " pink ones are new; grey ones are among the parent's strongest and are lost.",
        )


def _figure_view(trajectory: Trajectory, name: str, figure: go.Figure, reading: str) -> FigureView:
    return figure_view(
        figure,
        anchor=f"{task_slug(trajectory.task)}-{name}",
        reading=reading,
        csv=_csv_name(trajectory, name),
    )


def _csv_name(trajectory: Trajectory, name: str) -> str:
    return f"{task_slug(trajectory.task)}-{name}.csv"


def _task_view(shown: TrajectoryInput, trajectory: Trajectory) -> TaskView:
    return TaskView(
        anchor=task_slug(trajectory.task),
        name=trajectory.task,
        description=shown.descriptions[trajectory.task],
        figures=tuple(_figures(trajectory)),
        trainings=tuple(
            TrainingView(
                name=TRAINING_NAMES[training],
                rows=tuple(
                    (f"{point.step:,}", tuple(map(_cell, point.measured.values())))
                    for point in trajectory.of(training)
                ),
            )
            for training in trajectory.trainings
        ),
        missing=_missing(trajectory),
    )


def _cell(measured: Measured) -> Cell:
    if measured.estimate is None:
        return Cell(text=UNDEFINED)
    return estimate_cell(measured.estimate)


def _missing(trajectory: Trajectory) -> tuple[str, ...]:
    return tuple(
        f"{point.training}, step {point.step:,}, {name}: {one.reason}"
        for point in trajectory.points
        for name, one in point.measured.items()
        if one.reason
    )
