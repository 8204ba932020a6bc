"""The numbers of one checkpoint on one task, from what was scored, traced, asked and run.

A point is made from the same records as a control's evidence (`evidence.py`), by the same functions
and resamples, so the last point of a trajectory says what the comparison of the pair says.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.comparison import (
    ComparisonSettings,
    DirectionOfFlow,
    circuit_shift,
    direction_of_flow,
)
from mechshift.errors import EvaluationError
from mechshift.evaluation import CircuitMetrics
from mechshift.experiment.checkpoints import Checkpoint
from mechshift.experiment.evidence import component_magnitudes
from mechshift.experiment.stores import (
    flow_folder,
    pool_folder,
    read_flow,
    read_scores,
    score_inputs,
    scores_folder,
)
from mechshift.experiment.trajectory_stores import (
    POINTS,
    point_contents,
    point_folder,
    read_answers,
    read_crossed,
)
from mechshift.progress import progress_bar
from mechshift.semantics import (
    concentration_shift,
)
from mechshift.statistics import Estimate, proportion_interval
from mechshift.verdict import ControlEvidence, Measured, TrajectoryPoint, measured_quantities


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
        write_artifact(folder, **made_from, **point_contents(point))
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
        },
        "inputs": score_inputs(run, task, ("arm",))
        | {
            "pool": artifact_hash(pool_folder(run, task)),
            "weights": checkpoint.weights_hash,
            "settings": checkpoint.settings_hash,
        },
    }


def _point(
    run: Path, task: str, checkpoint: Checkpoint, settings: ComparisonSettings, with_flow: bool
) -> TrajectoryPoint:
    member, level = checkpoint.member, settings.level
    arm, other = (read_scores(scores_folder(run, task, name)) for name in ("arm", member))
    shift = circuit_shift(task, arm, other, settings)
    arms, own = (component_magnitudes(scores, settings) for scores in (arm, other))
    correct = read_answers(run, task, member)
    accuracy = proportion_interval(int(correct.sum()), len(correct), level)
    evidence = ControlEvidence(
        name=member,
        accuracy=Estimate(value=float(correct.mean()), interval=accuracy),
        shift=shift,
        concentration=concentration_shift(arms, own, level=level),
        direction=_direction(run, task, member, settings) if with_flow else None,
    )
    crossed = read_crossed(run, task, member)
    return TrajectoryPoint(
        training=checkpoint.training,
        step=checkpoint.step,
        measured=measured_quantities(evidence, measured_faithfulness(crossed, settings)),
        share=shift.circuit_depth.source.mdm.share,
        scores=other.mean(),
    )


def _direction(run: Path, task: str, member: str, settings: ComparisonSettings) -> DirectionOfFlow:
    arm, other = (read_flow(flow_folder(run, task, name)) for name in ("arm", member))
    return direction_of_flow(arm, other, settings)


def measured_faithfulness(
    crossed: Mapping[str, CircuitMetrics], settings: ComparisonSettings
) -> dict[str, Measured]:
    """Each circuit's faithfulness by name, or why it is undefined.

    Early in training a model may gain nothing from its edges: what it scores in full is then no
    different from what it scores with all of them ablated.
    """
    found = {}
    for name, metrics in crossed.items():
        try:
            several = metrics.curve().interval(
                settings.level, num_resamples=settings.num_resamples, seed=settings.seed
            )
        except EvaluationError as error:
            found[name] = Measured(reason=str(error))
        else:
            found[name] = Measured(estimate=several.at(0))
    return found
