"""How is each stage's record laid out in a run folder, and read back?

RUN/pool/TASK                  examples of both splits, what both models answered, the schedule
RUN/scores/TASK/MODEL          edge scores of each example; MODEL is arm or mdm
RUN/faithfulness/TASK/MODEL    the model on its own and on the other's circuits
RUN/comparison/TASK            what the two circuits share
RUN/report                     report.html and a CSV file for each figure
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import safe_open

from mechshift.artifacts import (
    ARRAYS_NAME,
    Artifact,
    Manifest,
    artifact_hash,
    read_artifact,
    read_manifest,
)
from mechshift.attribution import EdgeScores
from mechshift.comparison import Comparison, FlatRecord, from_flat, to_flat
from mechshift.denoising import Schedule
from mechshift.errors import ArtifactError
from mechshift.evaluation import CircuitMetrics
from mechshift.graph import Graph
from mechshift.models import Kind
from mechshift.tasks import CommonPool, Example, Split

POOL, SCORES, FAITHFULNESS, COMPARISON = "pool", "scores", "faithfulness", "comparison"
REPORT = "report"

KINDS: tuple[Kind, Kind] = ("arm", "mdm")


def pool_folder(run: Path, task: str) -> Path:
    """Where a task's pool is kept."""
    return run / POOL / task


def scores_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where one model's edge scores are kept."""
    return run / SCORES / task / kind


def faithfulness_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where the results of running circuits in one model are kept."""
    return run / FAITHFULNESS / task / kind


def comparison_folder(run: Path, task: str) -> Path:
    """Where a task's comparison is kept."""
    return run / COMPARISON / task


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


def score_inputs(run: Path, task: str) -> dict[str, str]:
    """Hashes of both models' scores, for the manifests of what is made from them.

    Raises:
        ArtifactError: a model has not been scored.
    """
    return {f"{kind}_scores": artifact_hash(scores_folder(run, task, kind)) for kind in KINDS}


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
    return {
        "values": scores.values,
        "num_steps": scores.num_steps,
        "clean_metric": scores.clean_metric,
        "corrupted_metric": scores.corrupted_metric,
        "input_score": scores.input_score,
    }


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
    return EdgeScores(graph=_graph(artifact), values=values, **others)


def circuit_metrics_arrays(by_owner: Mapping[Kind, CircuitMetrics]) -> dict[str, np.ndarray]:
    """What one model scores on each owner's circuits, as named arrays."""
    arrays = {}
    for owner, metrics in by_owner.items():
        arrays[f"{owner}.sizes"] = metrics.sizes
        arrays[f"{owner}.live_sizes"] = metrics.live_sizes
        arrays[f"{owner}.metric"] = metrics.metric
    any_owner = next(iter(by_owner.values()))
    return arrays | {
        "full": any_owner.full,
        "empty": any_owner.empty,
        "num_steps": any_owner.num_steps,
    }


def read_circuit_metrics(run: Path, task: str, kind: Kind) -> dict[Kind, CircuitMetrics]:
    """What a model scores on the ARM's and on the MDM's circuits.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(faithfulness_folder(run, task, kind), stage=FAITHFULNESS)
    arrays = artifact.arrays
    return {
        owner: CircuitMetrics(
            sizes=arrays[f"{owner}.sizes"],
            live_sizes=arrays[f"{owner}.live_sizes"],
            num_edges=_graph(artifact).num_edges,
            metric=arrays[f"{owner}.metric"],
            full=arrays["full"],
            empty=arrays["empty"],
            num_steps=arrays["num_steps"],
        )
        for owner in KINDS
    }


def _graph(artifact: Artifact) -> Graph:
    return Graph(**artifact.manifest.config["graph"])


def comparison_contents(comparison: Comparison) -> dict[str, Any]:
    """A comparison as arrays and one JSON text."""
    flat = to_flat(comparison)
    return {
        "arrays": flat.arrays,
        "texts": {"values.json": json.dumps(flat.scalars, indent=2, sort_keys=True) + "\n"},
    }


def read_comparison(run: Path, task: str) -> Comparison:
    """The comparison of one task.

    Raises:
        ArtifactError: missing or damaged.
    """
    artifact = read_artifact(comparison_folder(run, task), stage=COMPARISON)
    scalars = json.loads(artifact.texts["values.json"])
    return from_flat(Comparison, FlatRecord(arrays=dict(artifact.arrays.items()), scalars=scalars))
