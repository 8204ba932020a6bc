"""How is each stage's record laid out in a run folder, and read back?

RUN/pool/TASK                  examples of both splits, what both models answered, the schedule
RUN/scores/TASK/MEMBER         edge scores of each example, or shard of examples; MEMBER is arm, mdm
                               or a control
RUN/faithfulness/TASK/MODEL    the model on its own, on the other's and on baseline circuits
RUN/flow/TASK/MEMBER           between which spans of each example information flows
RUN/semantics/TASK/MODEL       lenses, concentration, roles and neurons; texts of their tokens
RUN/ablation/TASK/MODEL        what the model loses without some structures, or single components
RUN/comparison/TASK/MEMBER     what the ARM's circuit shares with the MDM's, or with a control's
RUN/controls/TASK/CONTROL      whether the control solves the examples that both models solve
RUN/explanations/TASK/MODEL    sentences on when neurons fire, and how well they predict it
RUN/sweep/TASK/S/mdm           edge scores of the MDM with S denoising steps, unless the pool has S
RUN/sweep/TASK/S/shift         what the ARM's circuit shares with the MDM's at S steps
RUN/report                     report.html and a CSV file for each figure
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool
from safetensors import safe_open

from mechshift.ablation import AblationRun
from mechshift.artifacts import (
    ARRAYS_NAME,
    Artifact,
    Manifest,
    artifact_hash,
    is_written,
    read_artifact,
    read_manifest,
)
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings
from mechshift.denoising import Schedule
from mechshift.errors import ArtifactError
from mechshift.evaluation import Baselines, CircuitMetrics
from mechshift.flat_records import FlatRecord, Record, from_flat, to_flat
from mechshift.graph import Graph
from mechshift.models import CONTROLS as CONTROL_MEMBERS
from mechshift.models import Kind
from mechshift.semantics import Semantics
from mechshift.tasks import CommonPool, Example, Split

POOL, SCORES, FAITHFULNESS, COMPARISON = "pool", "scores", "faithfulness", "comparison"
FLOW, SEMANTICS, CONTROLS, REPORT = "flow", "semantics", "controls", "report"
ABLATION, SWEEP, EXPLANATIONS = "ablation", "sweep", "explanations"

RECORD_VALUES = "values.json"
"""Holds what of a record is no array."""

TOKENS = "tokens"
"""Table of the texts of the tokens that a record names by id."""

KINDS: tuple[Kind, Kind] = ("arm", "mdm")


def member_title(member: str) -> str:
    """How a progress bar calls a member: controls go by their names."""
    return member.upper() if member in KINDS else member


def pool_folder(run: Path, task: str) -> Path:
    """Where a task's pool is kept."""
    return run / POOL / task


def scores_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's edge scores are kept."""
    return run / SCORES / task / member


def scored_members(run: Path, task: str) -> list[str]:
    """The members whose edges are scored: `arm`, `mdm`, then controls by name.

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
    return [*KINDS, *sorted(found & set(CONTROL_MEMBERS))]


def faithfulness_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where the results of running circuits in one model are kept."""
    return run / FAITHFULNESS / task / kind


def flow_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's flow between positions is kept."""
    return run / FLOW / task / member


def semantics_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where it is kept what one model's components do."""
    return run / SEMANTICS / task / kind


def explanations_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where sentences on one model's neurons are kept."""
    return run / EXPLANATIONS / task / kind


def ablation_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where it is kept what ablations do to one model."""
    return run / ABLATION / task / kind


def comparison_folder(run: Path, task: str, member: str = "mdm") -> Path:
    """Where the comparison of the ARM with another member is kept."""
    return run / COMPARISON / task / member


def sweep_folder(run: Path, task: str, num_steps: int) -> Path:
    """Where the MDM's scores and its shift with so many denoising steps are kept."""
    return run / SWEEP / task / str(num_steps)


def swept_num_steps(run: Path, task: str) -> list[int]:
    """The numbers of denoising steps at which the models were compared, ascending."""
    shifts = (run / SWEEP / task).glob("*/shift/manifest.json")
    return sorted(int(path.parent.parent.name) for path in shifts)


def control_folder(run: Path, task: str, control: str) -> Path:
    """Where the answers of a control are kept."""
    return run / CONTROLS / task / control


def read_control_answers(run: Path, task: str, control: str) -> Bool[np.ndarray, " example"]:
    """Which held-out examples of the pool a control solves.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(control_folder(run, task, control), stage=CONTROLS)
    return artifact.arrays["correct"]


def pool_manifests(run: Path) -> dict[str, Manifest]:
    """Task -> manifest of its pool, in the order in which the tasks were asked for.

    Raises:
        ArtifactError: the run has no pool yet.
    """
    folders = sorted(f for f in (run / POOL).glob("*") if not f.name.startswith("."))
    if not folders:
        raise ArtifactError(f"{run} holds no pool; run `mechshift pool {run}` first.")
    manifests = {folder.name: read_manifest(folder) for folder in folders}
    return dict(sorted(manifests.items(), key=lambda item: item[1].config["position"]))


def scored_metric(run: Path, task: str) -> str:
    """What the scores of a task explain; the same of every member.

    Raises:
        ArtifactError: the ARM has not been scored.
    """
    config = read_manifest(scores_folder(run, task, "arm")).config
    return str(config["attribution"]["metric"])


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
    config = read_manifest(folder).config[COMPARISON]
    return ComparisonSettings(**{**config, "sizes": tuple(config["sizes"])})


def score_inputs(run: Path, task: str, members: Sequence[str] = KINDS) -> dict[str, str]:
    """Hashes of the members' scores, for the manifests of what is made from them.

    Raises:
        ArtifactError: one has not been scored.
    """
    return {f"{name}_scores": artifact_hash(scores_folder(run, task, name)) for name in members}


def pool_contents(pools: Mapping[Split, CommonPool]) -> dict[str, Any]:
    """Arrays and tables of the pools, named after their splits."""
    return {
        "arrays": {
            f"{split}.commit_step": pool.schedule.commit_step for split, pool in pools.items()
        },
        "tables": {split: _pool_table(pool) for split, pool in pools.items()},
    }


def _pool_table(pool: CommonPool) -> pl.DataFrame:
    chosen = {example.id: json.dumps(asdict(example), sort_keys=True) for example in pool.examples}
    return pl.DataFrame(
        {
            "id": pool.candidate_ids,
            "arm_completion": pool.arm_completions,
            "mdm_completion": pool.mdm_completions,
            "arm_correct": pool.arm_correct,
            "mdm_correct": pool.mdm_correct,
            "example": [chosen.get(identity) for identity in pool.candidate_ids],
        },
        schema_overrides={"example": pl.String},
    )


def read_pool(run: Path, task: str, split: Split) -> CommonPool:
    """The pool of one split.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(pool_folder(run, task), stage=POOL)
    table = artifact.tables[split]
    return CommonPool(
        task=task,
        split=split,
        examples=tuple(_example(text) for text in table["example"].drop_nulls()),
        schedule=Schedule(commit_step=artifact.arrays[f"{split}.commit_step"]),
        candidate_ids=tuple(table["id"]),
        arm_completions=tuple(table["arm_completion"]),
        mdm_completions=tuple(table["mdm_completion"]),
        arm_correct=table["arm_correct"].to_numpy(),
        mdm_correct=table["mdm_correct"].to_numpy(),
    )


def _example(text: str) -> Example:
    fields = json.loads(text)
    fields["spans"] = {name: (start, end) for name, (start, end) in fields["spans"].items()}
    return Example(**fields)


def scores_arrays(scores: EdgeScores) -> dict[str, np.ndarray]:
    """Edge scores as named arrays; the graph goes into the config."""
    arrays = {
        "values": scores.values,
        "num_steps": scores.num_steps,
        "clean_metric": scores.clean_metric,
        "corrupted_metric": scores.corrupted_metric,
        "input_score": scores.input_score,
    }
    return arrays if scores.by_source is None else arrays | {"by_source": scores.by_source}


def read_scores(folder: Path) -> EdgeScores:
    """The edge scores of one model on one task, or of a chunk of its examples.

    The scores stay in their file and are paged in as they are read: those of a 7B model can exceed
    memory.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(folder, stage=SCORES)
    others = {name: artifact.arrays[name] for name in artifact.arrays if name != "values"}
    # Of safetensors' readers only torch's maps a file instead of copying it.
    with safe_open(folder / ARRAYS_NAME, framework="pt") as file:
        values = file.get_tensor("values").numpy()
    per_shard = len(others["num_steps"]) // len(values)
    return EdgeScores(graph=_graph(artifact), values=values, examples_per_shard=per_shard, **others)


def circuit_metrics_arrays(by_owner: Mapping[Kind, CircuitMetrics]) -> dict[str, np.ndarray]:
    """What one model scores on each owner's circuits, as named arrays."""
    any_owner = next(iter(by_owner.values()))
    arrays = {
        "full": any_owner.full,
        "empty": any_owner.empty,
        "num_steps": any_owner.num_steps,
    }
    for owner, metrics in by_owner.items():
        arrays |= _own_arrays(owner, metrics)
    return arrays


def baselines_arrays(baselines: Baselines) -> dict[str, np.ndarray]:
    """What the same model scores on baseline circuits; the full and empty runs are shared."""
    return (
        _own_arrays("random", baselines.random)
        | _own_arrays("activation", baselines.activation)
        | {"random.num_forced": baselines.num_forced}
    )


def _own_arrays(origin: str, metrics: CircuitMetrics) -> dict[str, np.ndarray]:
    return {
        f"{origin}.sizes": metrics.sizes,
        f"{origin}.live_sizes": metrics.live_sizes,
        f"{origin}.metric": metrics.metric,
    }


def read_circuit_metrics(run: Path, task: str, kind: Kind) -> dict[Kind, CircuitMetrics]:
    """What a model scores on the ARM's and on the MDM's circuits.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(faithfulness_folder(run, task, kind), stage=FAITHFULNESS)
    return {owner: _circuit_metrics(artifact, owner) for owner in KINDS}


def read_baselines(run: Path, task: str, kind: Kind) -> Baselines:
    """What a model scores on circuits that know less than its own.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(faithfulness_folder(run, task, kind), stage=FAITHFULNESS)
    return Baselines(
        random=_circuit_metrics(artifact, "random"),
        activation=_circuit_metrics(artifact, "activation"),
        num_forced=artifact.arrays["random.num_forced"],
    )


def _circuit_metrics(artifact: Artifact, origin: str) -> CircuitMetrics:
    arrays = artifact.arrays
    return CircuitMetrics(
        sizes=arrays[f"{origin}.sizes"],
        live_sizes=arrays[f"{origin}.live_sizes"],
        num_edges=_graph(artifact).num_edges,
        metric=arrays[f"{origin}.metric"],
        full=arrays["full"],
        empty=arrays["empty"],
        num_steps=arrays["num_steps"],
    )


def _graph(artifact: Artifact) -> Graph:
    return Graph(**artifact.manifest.config["graph"])


def record_contents(record: Any) -> dict[str, Any]:
    """A record of dataclasses as arrays and one JSON text."""
    flat = to_flat(record)
    return {
        "arrays": flat.arrays,
        "texts": {RECORD_VALUES: json.dumps(flat.scalars, indent=2, sort_keys=True) + "\n"},
    }


def _record(record_type: type[Record], artifact: Artifact) -> Record:
    scalars = json.loads(artifact.texts[RECORD_VALUES])
    return from_flat(record_type, FlatRecord(arrays=dict(artifact.arrays.items()), scalars=scalars))


def read_record(record_type: type[Record], folder: Path, *, stage: str) -> Record:
    """A record that `record_contents` took apart.

    Raises:
        ArtifactError: missing or damaged.
    """
    return _record(record_type, read_artifact(folder, stage=stage))


def read_comparison(run: Path, task: str) -> Comparison:
    """The comparison of the two models on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(comparison_folder(run, task), stage=COMPARISON)
    return _record(Comparison, artifact)


def read_control_shift(run: Path, task: str, control: str) -> CircuitShift:
    """How far a control's circuit is from the ARM's on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    folder = comparison_folder(run, task, control)
    return _record(CircuitShift, read_artifact(folder, stage=COMPARISON))


def read_flow(folder: Path) -> PositionFlow:
    """The flow of one model on one task, or on a chunk of its examples.

    Raises:
        ArtifactError: missing or damaged.
    """
    return _record(PositionFlow, read_artifact(folder, stage=FLOW))


def read_semantics(run: Path, task: str, kind: Kind) -> Semantics:
    """What one model's components do on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(semantics_folder(run, task, kind), stage=SEMANTICS)
    return _record(Semantics, artifact)


def read_ablations(run: Path, task: str, kind: Kind) -> AblationRun:
    """What ablations do to one model on one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    return _record(AblationRun, read_artifact(ablation_folder(run, task, kind), stage=ABLATION))


def read_token_texts(run: Path, task: str, kind: Kind) -> dict[int, str]:
    """The text of every token that these semantics name, by id.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(semantics_folder(run, task, kind), stage=SEMANTICS)
    return dict(artifact.tables[TOKENS].iter_rows())
