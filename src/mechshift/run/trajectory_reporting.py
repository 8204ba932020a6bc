"""The page that shows a trajectory, the table of all its numbers, and those of each figure."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, read_manifest, setting_in, stored_setting
from mechshift.comparison import ComparisonSettings
from mechshift.flat_records import Files
from mechshift.run.checkpoints import Checkpoint
from mechshift.run.folders import (
    POINTS,
    POOL,
    SCORES,
    TRAJECTORY,
    point_folder,
    pool_folder,
)
from mechshift.run.pools import pooled_task
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    pool_manifests,
    read_point,
    read_pool,
    stage_settings,
    stored_name,
)
from mechshift.run.stored import RunTask
from mechshift.tasks import SolvedBy
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.trajectory import Trajectory, training_place
from mechshift.topics.trajectory_page import TrajectoryFacts, TrajectoryInput, render_trajectory

PAGE_NAME = "trajectory.html"


def write_trajectory(
    run: Path,
    tasks: Sequence[str],
    checkpoints: Sequence[Checkpoint],
    settings: ComparisonSettings,
    *,
    solved_by: SolvedBy = "both",
    notes: Sequence[str] = (),
) -> Path:
    """Render the page of checkpoints that are all measured, in place of an earlier one.

    Args:
        run: the run folder.
        tasks: those that are shown, in order.
        checkpoints: by training, then by step.
        settings: with which they were compared.
        solved_by: which models solve the examples of the pool.
        notes: what could not be measured at all, and why.

    Returns:
        The page; its tables lie beside it.

    Raises:
        ArtifactError: a point is missing or damaged.
    """
    piece = Piece(
        folder=run / TRAJECTORY,
        config={},
        inputs={
            f"{task}/{one.member}": artifact_hash(point_folder(run, task, one.member))
            for task in tasks
            for one in checkpoints
        },
        prepare=lambda: Work(
            title="write the page",
            total=1,
            compute=lambda _: _files(run, tasks, checkpoints, settings, solved_by, notes),
        ),
    )
    write_pieces(run, TRAJECTORY_PAGE, [piece], quiet=True)
    return run / TRAJECTORY / PAGE_NAME


TRAJECTORY_PAGE = Stage(
    name=TRAJECTORY,
    command="trajectory",
    about="writes the page that shows the checkpoints over training steps",
    reads=(POOL, SCORES, POINTS),
    when="by itself",
    remade="always",
)


def _files(
    run: Path,
    tasks: Sequence[str],
    checkpoints: Sequence[Checkpoint],
    settings: ComparisonSettings,
    solved_by: SolvedBy,
    notes: Sequence[str],
) -> Files:
    """The page with its tables."""
    shown = TrajectoryInput(
        tasks=tuple(
            _trajectory(run, task, [one.member for one in checkpoints], settings) for task in tasks
        ),
        tracked=tracked_quantities(),
        descriptions={
            task: pooled_task(task, read_pool(run, task, "discovery")).summary for task in tasks
        },
        facts=replace(
            _facts(run, tasks[0], checkpoints, settings, notes),
            solved_by_parent_alone=solved_by == "arm",
        ),
    )
    made = render_trajectory(shown)
    return Files(tables=made.tables, texts={PAGE_NAME: made.page, **made.texts})


def read_trajectories(run: Path) -> tuple[Trajectory, ...]:
    """What the page of a trajectory shows, by task in the run's order.

    Raises:
        ArtifactError: there is no such page, or what it rests on is missing or damaged.
    """
    shown: dict[str, list[str]] = {}
    for name in read_manifest(run / TRAJECTORY).inputs:
        task, _, member = name.rpartition("/")
        shown.setdefault(task, []).append(member)
    return tuple(
        _read_trajectory(run, task, shown[task]) for task in pool_manifests(run) if task in shown
    )


def _read_trajectory(run: Path, task: str, members: Sequence[str]) -> Trajectory:
    settings = stored_setting(point_folder(run, task, members[0]), "comparison", ComparisonSettings)
    found = _trajectory(run, task, members, settings)
    # A manifest names its inputs by the alphabet.
    points = sorted(found.points, key=lambda one: (training_place(one.training), one.step))
    return replace(found, points=tuple(points))


def _trajectory(
    run: Path, task: str, members: Sequence[str], settings: ComparisonSettings
) -> Trajectory:
    parent = RunTask(run=run, task=task).scores("arm")
    held_out = read_pool(run, task, "held-out")
    return Trajectory(
        task=task,
        graph=parent.graph,
        circuit_size=settings.circuit_size_in(parent.graph.num_edges),
        parent_scores=parent.mean(),
        points=tuple(read_point(run, task, member) for member in members),
        num_examples=parent.num_examples,
        num_held_out=len(held_out.examples),
        num_asked=len(held_out.candidate_ids),
        level=settings.level,
    )


def _facts(
    run: Path,
    task: str,
    checkpoints: Sequence[Checkpoint],
    settings: ComparisonSettings,
    notes: Sequence[str],
) -> TrajectoryFacts:
    """Settings, versions and weights, from the manifests of the first task."""
    pool = read_manifest(pool_folder(run, task))
    stored = stage_settings(run, task)
    return TrajectoryFacts(
        arm_name=stored_name(run, task, "arm"),
        config={
            "pair": setting_in(pool, pool_folder(run, task), "pair", dict[str, Any]),
            "pool": stored["pool"],
            "attribution": stored["attribution"],
            "comparison": asdict(settings),
        },
        versions=pool.versions,
        weights={f"{one.training}, step {one.step:,}": one.weights_hash for one in checkpoints},
        notes=tuple(notes),
    )
