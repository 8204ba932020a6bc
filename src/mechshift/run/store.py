"""Store of a run: how the records of its stages are written, and read back.

Every record is stored alike, by `flat_records`: its arrays in `arrays.safetensors`, all else in
`values.json`. Where it lies, `folders` says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool
from msgspec import Struct
from safetensors import safe_open

from mechshift.ablation import AblationRun, AblationSettings
from mechshift.artifacts import (
    ARRAYS_NAME,
    Manifest,
    artifact_hash,
    is_written,
    read_artifact,
    read_manifest,
    setting_in,
    stored_setting,
)
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings
from mechshift.errors import ArtifactError
from mechshift.evaluation import (
    AblationName,
    AlternativeRuns,
    Baselines,
    CircuitMetrics,
    Rediscovery,
)
from mechshift.flat_records import FlatRecord, Record, from_flat, to_flat
from mechshift.graph import Graph
from mechshift.input_files import parse_json
from mechshift.models import Kind, LanguageModel, control_role
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    ANSWERS,
    COMPARISON,
    CONTROLS,
    CROSSED,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POINTS,
    POOL,
    SCORES,
    SEMANTICS,
    SWEEP,
    ablation_folder,
    alternatives_folder,
    answers_folder,
    comparison_folder,
    control_folder,
    crossed_folder,
    faithfulness_folder,
    point_folder,
    pool_folder,
    scores_folder,
    semantics_folder,
    sweep_folder,
)
from mechshift.run.records import CircuitRuns, ComponentReadings, Solved, TaskPools
from mechshift.run.settings import AttributionSettings, EvaluationSettings
from mechshift.semantics import Semantics, SemanticsSettings
from mechshift.tasks import CommonPool, PoolConfig, Split
from mechshift.topics.topic import SweepPoint
from mechshift.topics.trajectory import TrajectoryPoint

RECORD_VALUES = "values.json"
"""Holds what of a record is no array."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Files:
    """What is written to one folder, as `write_artifact` takes it."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def record_files(record: Any) -> Files:
    """A record of dataclasses as arrays and one JSON text; files are given back as they are."""
    if isinstance(record, Files):
        return record
    flat = to_flat(record)
    # In the order of the fields: a mapping is read back in the order in which it stands here.
    return Files(
        arrays=flat.arrays, texts={RECORD_VALUES: json.dumps(flat.scalars, indent=2) + "\n"}
    )


def read_record(
    record_type: type[Record], folder: Path, *, stage: str, in_file: Sequence[str] = ()
) -> Record:
    """A record that was stored as `record_files` says.

    Args:
        record_type: what was stored.
        folder: where.
        stage: under which name it was written.
        in_file: arrays that may exceed memory: they stay in their file and are paged in as they
            are read. What is written to them does not reach the file.

    Raises:
        ArtifactError: missing, damaged, or written by another version.
    """
    artifact = read_artifact(folder, stage=stage)
    if RECORD_VALUES not in artifact.texts:
        raise ArtifactError(
            f"{folder} holds no {RECORD_VALUES}, so another version of mechshift wrote it; delete"
            " it and run its stage again."
        )
    arrays = artifact.arrays.read(name for name in artifact.arrays if name not in in_file)
    in_file = [name for name in in_file if name in artifact.arrays]
    if in_file:
        # Of safetensors' readers only torch's maps a file instead of copying it.
        with safe_open(folder / ARRAYS_NAME, framework="pt") as file:
            arrays |= {name: file.get_tensor(name).numpy() for name in in_file}
    scalars: dict[str, Any] = parse_json(
        artifact.texts[RECORD_VALUES].encode(),
        dict[str, Any],
        where=str(folder / RECORD_VALUES),
        error=ArtifactError,
        advice="delete its folder and run its stage again",
    )
    try:
        return from_flat(record_type, FlatRecord(arrays=arrays, scalars=scalars))
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


def pool_manifests(run: Path) -> dict[str, Manifest]:
    """Task -> manifest of its pool, in the order in which the tasks were asked for.

    Raises:
        ArtifactError: the run has no pool yet.
    """
    folders = sorted(f for f in (run / POOL).glob("*") if not f.name.startswith("."))
    if not folders:
        raise ArtifactError(f"{run} holds no pool; run `mechshift pool {run}` first.")
    manifests = {folder.name: read_manifest(folder) for folder in folders}
    positions = {
        task: setting_in(manifest, pool_folder(run, task), "position", int)
        for task, manifest in manifests.items()
    }
    return {task: manifests[task] for task in sorted(manifests, key=positions.__getitem__)}


def scored_members(run: Path, task: str) -> list[str]:
    """The members whose edges are scored: `arm`, `mdm`, then controls by role and training.

    Checkpoints of a trajectory are scored too, and are compared by themselves (`trajectory.py`).

    Raises:
        ArtifactError: a model of the pair has not been scored.
    """
    found = {folder.parent.name for folder in (run / SCORES / task).glob("*/manifest.json")}
    missing = [kind for kind in KINDS if kind not in found]
    if missing:
        raise ArtifactError(
            f"{run} holds no scores of the {missing[0].upper()} on '{task}'; run"
            f" `mechshift attribute {run}` first."
        )
    controls = {name: role for name in found if (role := control_role(name)) is not None}
    return [*KINDS, *sorted(controls, key=controls.__getitem__)]


def scored_settings(run: Path, task: str, member: str) -> AttributionSettings:
    """How a member was scored on a task, but for what changes time and memory alone.

    Raises:
        ArtifactError: it was not.
    """
    return stored_setting(scores_folder(run, task, member), "attribution", AttributionSettings)


def scored_metric(run: Path, task: str, member: str = "arm") -> str:
    """What the scores of a task explain; the same of every member.

    Raises:
        ArtifactError: the member has not been scored.
    """
    metric = scored_settings(run, task, member).metric
    if metric is None:
        folder = scores_folder(run, task, member)
        raise ArtifactError(f"the manifest in {folder} names no metric; delete it and run again.")
    return metric


def scored_graph(run: Path, task: str, member: str) -> Graph:
    """The graph whose edges were scored.

    Raises:
        ArtifactError: the member has not been scored.
    """
    return stored_setting(scores_folder(run, task, member), "graph", Graph)


def stored_name(run: Path, task: str, member: str) -> str:
    """What a scored model is called.

    Raises:
        ArtifactError: it has not been scored.
    """
    return stored_setting(scores_folder(run, task, member), "model", str)


def swept_num_steps(run: Path, task: str) -> list[int]:
    """The numbers of denoising steps at which the models were compared, ascending."""
    shifts = (run / SWEEP / task).glob("*/shift/manifest.json")
    return sorted(int(path.parent.parent.name) for path in shifts)


def stored_comparison_settings(run: Path, task: str) -> ComparisonSettings:
    """With which settings the two models were compared on a task.

    Raises:
        ArtifactError: they were not.
    """
    folder = comparison_folder(run, task)
    if not is_written(folder):
        raise ArtifactError(
            f"{run} holds no comparison of '{task}'; run `mechshift compare {run}` first."
        )
    return stored_setting(folder, COMPARISON, ComparisonSettings)


def stored_ablation(run: Path, task: str) -> AblationName:
    """What edges outside a circuit carried when circuits were run on a task.

    Raises:
        ArtifactError: none were.
    """
    folder = faithfulness_folder(run, task, "arm")
    if not is_written(folder):
        raise ArtifactError(
            f"{run} holds no runs of circuits on '{task}'; run `mechshift evaluate {run}` first."
        )
    return stored_setting(folder, "evaluation", EvaluationSettings).ablation


class _Alternatives(Struct, forbid_unknown_fields=True):
    """What a manifest says of how other circuits were looked for."""

    factors: tuple[float, ...]
    shares: tuple[float, ...]
    ablation: AblationName


@dataclass(frozen=True, kw_only=True)
class _Components(SemanticsSettings):
    """Settings of the semantics stage as its manifests hold them."""

    experts: bool = False
    """Whether experts were scored, of `GraphSettings`."""


STAGE_SETTINGS: Mapping[str, tuple[str, Any]] = {
    POOL: ("pool", PoolConfig),
    SCORES: ("attribution", AttributionSettings),
    COMPARISON: ("comparison", ComparisonSettings),
    FAITHFULNESS: ("evaluation", EvaluationSettings),
    FLOW: ("flow", dict[str, str | int | bool]),
    SEMANTICS: ("semantics", _Components),
    ABLATION: ("ablation", AblationSettings),
    ALTERNATIVES: ("alternatives", _Alternatives),
}
"""Stage -> under which key its manifests hold its settings, and as what they can be read."""


def stage_settings(run: Path, task: str) -> dict[str, Any]:
    """The settings of every stage that a task has, under the names of `RunSettings`."""
    folders = {
        POOL: pool_folder(run, task),
        COMPARISON: comparison_folder(run, task),
        **{
            stage: run / stage / task / "arm"
            for stage in (SCORES, FAITHFULNESS, FLOW, SEMANTICS, ABLATION, ALTERNATIVES)
        },
    }
    found = {}
    for stage, folder in folders.items():
        if is_written(folder):
            manifest, (key, declared) = read_manifest(folder), STAGE_SETTINGS[stage]
            setting_in(manifest, folder, key, declared)  # refuses what topics could not read
            found[key] = manifest.config[key]
            if stage == FAITHFULNESS:
                sizes = setting_in(manifest, folder, "sizes", tuple[int, ...])
                found[key] = {**found[key], "sizes": list(sizes)}
    return found


def stored_hashes(run: Path, task: str, stages: Sequence[str]) -> dict[str, str]:
    """Hash of every folder that these stages stored of a task, by its path in the run."""
    folders = [run / stage / task for stage in stages]
    hashes = {}
    while folders:
        folder = folders.pop()
        if is_written(folder):
            hashes[folder.relative_to(run).as_posix()] = artifact_hash(folder)
        elif folder.is_dir():
            folders += [
                child
                for child in folder.iterdir()
                if child.is_dir() and not child.name.startswith(".")
            ]
    return dict(sorted(hashes.items()))


def score_inputs(run: Path, task: str, members: Sequence[str] = KINDS) -> dict[str, str]:
    """Hashes of the members' scores, for the manifests of what is made from them.

    Raises:
        ArtifactError: one has not been scored.
    """
    return {f"{name}_scores": artifact_hash(scores_folder(run, task, name)) for name in members}


def model_inputs(run: Path, task: str, model: LanguageModel) -> dict[str, str]:
    """Hashes of a task's pool and of all that a model is read from, for what it is run for."""
    return {"pool": artifact_hash(pool_folder(run, task)), **model.hashes}


def read_pool(run: Path, task: str, split: Split) -> CommonPool:
    """The pool of one split.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(TaskPools, pool_folder(run, task), stage=POOL).of(split)


def read_scores(folder: Path) -> EdgeScores:
    """The edge scores of one model on one task, or of a chunk of its examples.

    The scores stay in their file: those of a 7B model can exceed memory.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(EdgeScores, folder, stage=SCORES, in_file=("values", "step_sums"))


def read_control_answers(run: Path, task: str, control: str) -> Bool[np.ndarray, " example"]:
    """Which held-out examples of the pool a control solves.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(Solved, control_folder(run, task, control), stage=CONTROLS).correct


def read_flow(folder: Path) -> PositionFlow:
    """The flow of one model on one task, or on a chunk of its examples.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(PositionFlow, folder, stage=FLOW)


def read_semantics(run: Path, task: str, kind: Kind) -> Semantics:
    """What one model's components do on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return _read_components(run, task, kind).semantics


def read_token_texts(run: Path, task: str, kind: Kind) -> dict[int, str]:
    """The text of every token that these semantics name, by id.

    Raises:
        ArtifactError: missing or damaged.
    """
    return {int(token): text for token, text in _read_components(run, task, kind).tokens.items()}


def _read_components(run: Path, task: str, kind: Kind) -> ComponentReadings:
    return read_record(ComponentReadings, semantics_folder(run, task, kind), stage=SEMANTICS)


def read_circuit_metrics(run: Path, task: str, kind: Kind) -> dict[Kind, CircuitMetrics]:
    """What a model scores on the ARM's and on the MDM's circuits.

    Raises:
        ArtifactError: missing or damaged.
    """
    by_owner = _read_circuit_runs(run, task, kind).by_owner
    return {owner: by_owner[owner] for owner in KINDS}


def read_baselines(run: Path, task: str, kind: Kind) -> Baselines:
    """What a model scores on circuits that know less than its own.

    Raises:
        ArtifactError: missing or damaged.
    """
    baselines = _read_circuit_runs(run, task, kind).baselines
    assert baselines is not None  # only those of checkpoints have none
    return baselines


def read_rediscovery(run: Path, task: str, kind: Kind) -> Rediscovery | None:
    """What a model scores on circuits found on parts of the discovery examples; None if not run.

    Raises:
        ArtifactError: missing or damaged.
    """
    return _read_circuit_runs(run, task, kind).rediscovery


def _read_circuit_runs(run: Path, task: str, kind: Kind) -> CircuitRuns:
    return read_record(CircuitRuns, faithfulness_folder(run, task, kind), stage=FAITHFULNESS)


def read_ablations(run: Path, task: str, kind: Kind) -> AblationRun:
    """What ablations do to one model on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(AblationRun, ablation_folder(run, task, kind), stage=ABLATION)


def read_alternatives(run: Path, task: str, kind: Kind) -> AlternativeRuns:
    """What one model scores on candidates for alternatives to its circuit.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(AlternativeRuns, alternatives_folder(run, task, kind), stage=ALTERNATIVES)


def read_comparison(run: Path, task: str) -> Comparison:
    """The comparison of the two models on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(Comparison, comparison_folder(run, task), stage=COMPARISON)


def read_control_shift(run: Path, task: str, control: str) -> CircuitShift:
    """How far a control's circuit is from the ARM's on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(CircuitShift, comparison_folder(run, task, control), stage=COMPARISON)


def read_sweep_point(run: Path, task: str, num_steps: int) -> SweepPoint:
    """What the models share with so many denoising steps.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(SweepPoint, sweep_folder(run, task, num_steps) / "shift", stage=SWEEP)


def read_answers(run: Path, task: str, member: str) -> Bool[np.ndarray, " example"]:
    """Which of the held-out examples that were tried for the pool a checkpoint solves.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(Solved, answers_folder(run, task, member), stage=ANSWERS).correct


def read_crossed(run: Path, task: str, member: str) -> dict[str, CircuitMetrics]:
    """What a checkpoint and the parent score on each other's circuits, by name.

    Raises:
        ArtifactError: missing or damaged.
    """
    folder = crossed_folder(run, task, member)
    return dict(read_record(CircuitRuns, folder, stage=CROSSED).by_owner)


def read_point(run: Path, task: str, member: str) -> TrajectoryPoint:
    """What was measured of a checkpoint on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(TrajectoryPoint, point_folder(run, task, member), stage=POINTS)
