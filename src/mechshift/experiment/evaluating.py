"""Stage 3: how much of each model's behaviour do its own and the other model's circuits keep?

Circuits are chosen on discovery examples and run on held-out ones.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.circuits import Circuit, select_top_edges
from mechshift.comparison import ComparisonSettings
from mechshift.denoising import Canvas
from mechshift.evaluation import CircuitMetrics, evaluate_circuits, num_runs
from mechshift.experiment.pooling import pool_canvases
from mechshift.experiment.settings import EvaluationSettings
from mechshift.experiment.stores import (
    FAITHFULNESS,
    KINDS,
    circuit_metrics_arrays,
    faithfulness_folder,
    pool_folder,
    pool_manifests,
    read_pool,
    read_scores,
    score_inputs,
    scores_folder,
)
from mechshift.graph import Graph
from mechshift.models import Kind, LanguageModel, ModelPair
from mechshift.progress import Advance, progress_bar


def evaluate_pair(
    run: Path,
    pair: ModelPair,
    settings: EvaluationSettings,
    *,
    circuit_size: int | None = None,
    quiet: bool = False,
) -> None:
    """Write what both models score on both models' circuits, where it is missing.

    Args:
        run: a run folder with scores.
        pair: the models that were scored.
        settings: sizes as shares of all edges.
        circuit_size: the size at which the circuits are compared [edges]; it is evaluated too.
        quiet: no progress bars.

    Raises:
        ArtifactError: scores are missing, or the run holds other evaluations.
        EvaluationError: a metric is not finite.
    """
    for task_name in pool_manifests(run):
        inputs = score_inputs(run, task_name)
        config = read_manifest(scores_folder(run, task_name, "arm")).config
        metric, graph = config["attribution"]["metric"], Graph(**config["graph"])
        compared = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(graph.num_edges)
        sizes = settings.sizes(graph.num_edges, compared)
        circuits: dict[Kind, list[Circuit]] | None = None
        for model in pair.models:
            folder = faithfulness_folder(run, task_name, model.kind)
            made_from: dict[str, Any] = {
                "stage": FAITHFULNESS,
                "config": {
                    "task": task_name,
                    "model": model.name,
                    "metric": metric,
                    "sizes": sizes,
                    "graph": asdict(graph),
                },
                "inputs": inputs
                | {
                    "pool": artifact_hash(pool_folder(run, task_name)),
                    "weights": model.weights_hash,
                },
            }
            if is_current(folder, **made_from):
                continue
            circuits = circuits or _circuits(run, task_name, sizes)
            canvases = pool_canvases(read_pool(run, task_name, "held-out"), model)
            title = f"{task_name}: run circuits in {model.kind.upper()}"
            total = num_runs(canvases, [c for of_one in circuits.values() for c in of_one])
            with progress_bar(title, total, quiet=quiet) as advance:
                found = _evaluate(model, canvases, circuits, metric, settings.batch_size, advance)
            write_artifact(folder, **made_from, arrays=circuit_metrics_arrays(found))


def _circuits(run: Path, task: str, sizes: list[int]) -> dict[Kind, list[Circuit]]:
    """Each model's circuits, smallest first."""
    circuits = {}
    for kind in KINDS:
        scores = read_scores(scores_folder(run, task, kind))
        mean = scores.mean()
        circuits[kind] = [select_top_edges(scores.graph, mean, size) for size in sizes]
    return circuits


def _evaluate(
    model: LanguageModel,
    canvases: list[Canvas],
    circuits: dict[Kind, list[Circuit]],
    metric: str,
    batch_size: int,
    advance: Advance,
) -> dict[Kind, CircuitMetrics]:
    """What the model scores on each owner's circuits; the full and empty runs are shared."""
    metrics = evaluate_circuits(
        model,
        canvases,
        [circuit for of_one in circuits.values() for circuit in of_one],
        num_examples=1 + max(canvas.example for canvas in canvases),
        metric=metric,
        batch_size=batch_size,
        progress=advance,
    )
    starts = np.cumsum([0, *map(len, circuits.values())])
    return {
        owner: metrics.subset(slice(int(start), int(end)))
        for owner, start, end in zip(circuits, starts[:-1], starts[1:], strict=True)
    }
