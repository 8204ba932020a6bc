"""How is each stage's record laid out in a run folder, and read back?

RUN/pool/TASK           examples of both splits, what both models answered, the schedule
RUN/scores/TASK/arm     per-example edge scores; and /mdm
RUN/faithfulness/TASK   both models on their own and on the other's circuit
RUN/comparison/TASK     what the two circuits share
RUN/figures, RUN/report.html
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mechshift.artifacts import Artifact, read_artifact
from mechshift.attribution import EdgeScores
from mechshift.comparison import Comparison, FlatRecord, from_flat, to_flat
from mechshift.denoising import Schedule
from mechshift.errors import ArtifactError
from mechshift.graph import Graph
from mechshift.tasks import CommonPool, Example, Split

POOL, SCORES, FAITHFULNESS, COMPARISON = "pool", "scores", "faithfulness", "comparison"


def pooled_tasks(run: Path) -> list[Path]:
    """The pool folder of every task of a run, in the order in which the tasks were asked for.

    Raises:
        ArtifactError: the run has no pool yet.
    """
    folders = [f for f in (run / POOL).glob("*") if f.is_dir() and not f.name.startswith(".")]
    if not folders:
        raise ArtifactError(f"{run} holds no pool; run `mechshift pool {run}` first.")
    ranked = [
        (read_artifact(folder, stage=POOL).manifest.config["position"], folder)
        for folder in folders
    ]
    return [folder for _, folder in sorted(ranked)]


def pool_contents(pool: CommonPool) -> dict[str, Mapping[str, Any]]:
    """Arrays and tables of one split's pool, named after the split."""
    chosen = {example.id: json.dumps(asdict(example), sort_keys=True) for example in pool.examples}
    table = pl.DataFrame(
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
    return {
        "arrays": {f"{pool.split}.commit_step": pool.schedule.commit_step},
        "tables": {pool.split: table},
    }


def read_pool(artifact: Artifact, task: str, split: Split) -> CommonPool:
    """The pool of one split."""
    table = artifact.tables[split]
    texts = table["example"].drop_nulls()
    return CommonPool(
        task=task,
        split=split,
        examples=tuple(_example(text) for text in texts),
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
    """The edge scores of one model on one task."""
    artifact = read_artifact(folder, stage=SCORES)
    graph = Graph(**artifact.manifest.config["graph"])
    return EdgeScores(graph=graph, **{name: artifact.arrays[name] for name in artifact.arrays})


def comparison_contents(comparison: Comparison) -> dict[str, Mapping[str, Any]]:
    """A comparison as arrays and one JSON text."""
    flat = to_flat(comparison)
    return {
        "arrays": flat.arrays,
        "texts": {"values.json": json.dumps(flat.scalars, indent=2, sort_keys=True) + "\n"},
    }


def read_comparison(folder: Path) -> Comparison:
    """The comparison of one task."""
    artifact = read_artifact(folder, stage=COMPARISON)
    scalars = json.loads(artifact.texts["values.json"])
    arrays = {name: artifact.arrays[name] for name in artifact.arrays}
    return from_flat(Comparison, FlatRecord(arrays=arrays, scalars=scalars))
