"""The numbers of one checkpoint on one task, from what was scored, traced, asked and run.

A point is measured as a control is, by the same functions and on the same resamples, so the last
point of a trajectory says what the comparison of the pair says.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.comparison import ComparisonSettings
from mechshift.experiment.checkpoints import Checkpoint
from mechshift.experiment.stored import RunCheckpoint, RunTask
from mechshift.experiment.stores import pool_folder, record_contents, score_inputs, scores_folder
from mechshift.experiment.trajectory_stores import POINTS, point_folder
from mechshift.progress import progress_bar
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.trajectory import TrajectoryPoint, measure_checkpoint


def point_is_current(
    run: Path, task: str, checkpoint: Checkpoint, settings: ComparisonSettings, *, with_flow: bool
) -> bool:
    """Whether a point is there, so that its checkpoint need not even be loaded.

    Raises:
        ArtifactError: the ARM has not been scored, or another point is there.
    """
    folder = point_folder(run, task, checkpoint.member)
    return is_current(folder, **_made_from(run, task, checkpoint, settings, with_flow))


def write_point(
    run: Path,
    task: str,
    checkpoint: Checkpoint,
    settings: ComparisonSettings,
    *,
    with_flow: bool,
    quiet: bool,
) -> None:
    """Compare a checkpoint with its parent; everything that it takes is stored in the run.

    Raises:
        ArtifactError: an earlier result is missing or damaged.
        ComparisonError: the scores cannot be compared.
        SemanticsError: no component is attributed anything.
    """
    made_from = _made_from(run, task, checkpoint, settings, with_flow)
    with progress_bar(f"{task}: compare {checkpoint.member}", 1, quiet=quiet) as advance:
        point = _point(run, task, checkpoint, settings, with_flow)
        folder = point_folder(run, task, checkpoint.member)
        write_artifact(folder, **made_from, **record_contents(point))
        advance(1)


def _made_from(
    run: Path, task: str, checkpoint: Checkpoint, settings: ComparisonSettings, with_flow: bool
) -> dict[str, Any]:
    """What settles a point before its checkpoint is scored: weights, and how they will be scored.

    So points outlast the checkpoints' scores, which may be deleted to free the disk.
    """
    arm = read_manifest(scores_folder(run, task, "arm")).config
    return {
        "stage": POINTS,
        "config": {
            "task": task,
            "graph": arm["graph"],
            "attribution": arm["attribution"],
            "comparison": asdict(settings),
            "flow": with_flow,
            "quantities": [one.name for one in tracked_quantities()],
        },
        "inputs": score_inputs(run, task, ("arm",))
        | {
            "pool": artifact_hash(pool_folder(run, task)),
            "weights": checkpoint.weights_hash,
        },
    }


def _point(
    run: Path, task: str, checkpoint: Checkpoint, settings: ComparisonSettings, with_flow: bool
) -> TrajectoryPoint:
    member = RunCheckpoint(
        of=RunTask(run=run, task=task),
        name=checkpoint.member,
        with_flow=with_flow,
        compared=settings,
    )
    return measure_checkpoint(
        member,
        training=checkpoint.training,
        step=checkpoint.step,
        tracked=tracked_quantities(),
    )
