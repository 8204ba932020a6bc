"""How is what a trajectory measures laid out in a run folder, and read back?

RUN/pool, RUN/scores and RUN/flow are those of any run (`stores.py`): a checkpoint is a member there
beside the pair and its controls. What only a trajectory has:

RUN/answers/TASK/MEMBER    which held-out examples a checkpoint solves, of all that were tried
RUN/crossed/TASK/MEMBER    a checkpoint on its own and the ARM's circuit, the ARM on its circuit
RUN/points/TASK/MEMBER     what is shown of a checkpoint; with it, none of the above is read again
RUN/trajectory             trajectory.html, the table of all numbers, a CSV file for each figure
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from mechshift.artifacts import read_artifact
from mechshift.evaluation import CircuitMetrics
from mechshift.experiment.checkpoints import Checkpoint
from mechshift.experiment.stores import read_record
from mechshift.topics.trajectory import TrajectoryPoint

ANSWERS, CROSSED, POINTS, TRAJECTORY = "answers", "crossed", "points", "trajectory"


def answers_folder(run: Path, task: str, member: str) -> Path:
    """Where it is kept which examples a checkpoint solves."""
    return run / ANSWERS / task / member


def crossed_folder(run: Path, task: str, member: str) -> Path:
    """Where the results of exchanging circuits with the parent are kept."""
    return run / CROSSED / task / member


def point_folder(run: Path, task: str, member: str) -> Path:
    """Where the numbers of a checkpoint are kept."""
    return run / POINTS / task / member


def read_answers(run: Path, task: str, member: str) -> Bool[np.ndarray, " example"]:
    """Which of the held-out examples that were tried for the pool a checkpoint solves.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_artifact(answers_folder(run, task, member), stage=ANSWERS).arrays["correct"]


def crossed_arrays(crossed: Mapping[str, CircuitMetrics]) -> dict[str, np.ndarray]:
    """What was scored on each exchanged circuit, as named arrays."""
    fields = ("sizes", "live_sizes", "metric", "full", "empty", "num_steps")
    return {
        f"{name}.{field}": getattr(metrics, field)
        for name, metrics in crossed.items()
        for field in fields
    }


def read_crossed(run: Path, task: str, member: str) -> dict[str, CircuitMetrics]:
    """What a checkpoint and the parent score on each other's circuits, by name.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(crossed_folder(run, task, member), stage=CROSSED)
    fields: dict[str, dict[str, Any]] = {}
    for key, array in artifact.arrays.items():
        name, _, field = key.rpartition(".")
        fields.setdefault(name, {})[field] = array
    num_edges = artifact.manifest.config["num_edges"]
    return {name: CircuitMetrics(num_edges=num_edges, **found) for name, found in fields.items()}


def read_point(run: Path, task: str, checkpoint: Checkpoint) -> TrajectoryPoint:
    """What was measured of a checkpoint on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(TrajectoryPoint, point_folder(run, task, checkpoint.member), stage=POINTS)
