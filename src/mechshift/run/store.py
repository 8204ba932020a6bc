"""Store of a run: what is in it, by its manifests, and the records that stages read of each other.

What was stored of a task, record by record, is read by `stored.RunTask`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from mechshift.ablation import AblationSettings
from mechshift.artifacts import (
    Manifest,
    artifact_hash,
    is_written,
    read_manifest,
    setting_in,
    stored_setting,
)
from mechshift.comparison import ComparisonSettings
from mechshift.errors import ArtifactError
from mechshift.evaluation import (
    AblationName,
)
from mechshift.flat_records import read_record
from mechshift.graph import Graph
from mechshift.models import LanguageModel, control_role
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    COMPARISON,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POINTS,
    POOL,
    SCORES,
    SEMANTICS,
    SWEEP,
    comparison_folder,
    faithfulness_folder,
    point_folder,
    pool_folder,
    scores_folder,
)
from mechshift.run.records import TaskPools
from mechshift.run.settings import AttributionSettings, EvaluationSettings
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import CommonPool, PoolConfig, Split
from mechshift.topics.trajectory import TrajectoryPoint


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
    """Part of a manifest on how other circuits were looked for."""

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


def read_point(run: Path, task: str, member: str) -> TrajectoryPoint:
    """What was measured of a checkpoint on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(TrajectoryPoint, point_folder(run, task, member), stage=POINTS)
