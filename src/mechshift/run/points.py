"""Points of a trajectory: the numbers of one checkpoint on one task.

A point is measured as a control is, by the same functions and on the same resamples, so the last
point of a trajectory says what the comparison of the pair says.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, stored_setting
from mechshift.comparison import ComparisonSettings
from mechshift.progress import Advance
from mechshift.run.checkpoints import Checkpoint
from mechshift.run.folders import (
    ANSWERS,
    CROSSED,
    FLOW,
    POINTS,
    POOL,
    SCORES,
    point_folder,
    pool_folder,
    scores_folder,
)
from mechshift.run.stage import Piece, Stage, Work
from mechshift.run.store import score_inputs
from mechshift.run.stored import RunCheckpoint, RunTask
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.trajectory import TrajectoryPoint, measure_checkpoint


def checkpoint_point(
    run: Path, task: str, checkpoint: Checkpoint, settings: ComparisonSettings, *, with_flow: bool
) -> Piece:
    """A checkpoint compared with its parent; everything that it takes is stored in the run.

    What settles a point is known before its checkpoint is scored: weights, and how they will be
    scored. So it can be asked whether a point is there without loading the checkpoint, and points
    outlast the checkpoints' scores, which may be deleted to free the disk.

    Raises:
        ArtifactError: the ARM has not been scored.
    """
    arm = scores_folder(run, task, "arm")
    tracked = tracked_quantities()

    def compute(advance: Advance) -> TrajectoryPoint:
        member = RunCheckpoint(
            of=RunTask(run=run, task=task),
            name=checkpoint.member,
            with_flow=with_flow,
            compared=settings,
        )
        point = measure_checkpoint(
            member, training=checkpoint.training, step=checkpoint.step, tracked=tracked
        )
        advance(1)
        return point

    return Piece(
        folder=point_folder(run, task, checkpoint.member),
        config={
            "task": task,
            "training": checkpoint.training,
            "step": checkpoint.step,
            "graph": stored_setting(arm, "graph", dict[str, int]),
            "attribution": stored_setting(arm, "attribution", dict[str, Any]),
            "comparison": asdict(settings),
            "flow": with_flow,
            "quantities": [one.name for one in tracked],
        },
        inputs=score_inputs(run, task, ("arm",))
        | {
            "pool": artifact_hash(pool_folder(run, task)),
            "weights": checkpoint.weights_hash,
            "settings": checkpoint.settings_hash,
        },
        prepare=lambda: Work(
            title=f"{task}: compare {checkpoint.member}", total=1, compute=compute
        ),
    )


POINT = Stage(
    name=POINTS,
    command="trajectory",
    about="compares a checkpoint with its parent",
    reads=(POOL, SCORES, FLOW, ANSWERS, CROSSED),
    when="by itself",
)
