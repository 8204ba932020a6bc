"""How faithful are circuits that come from files: from another tool, or from another run?"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mechshift.circuits.formats import read_circuit
from mechshift.evaluation import evaluate_circuits, find_ablation
from mechshift.experiment.pooling import pool_canvases
from mechshift.experiment.settings import EvaluationSettings
from mechshift.experiment.stores import pool_manifests, read_pool, scored_metric
from mechshift.models import ModelPair
from mechshift.progress import progress_bar


def evaluate_files(
    run: Path,
    pair: ModelPair,
    files: Sequence[Path],
    settings: EvaluationSettings,
    *,
    quiet: bool = False,
) -> pl.DataFrame:
    """Run circuits in both models on the held-out examples of every task of a run.

    Nothing is written.

    Args:
        run: a run folder with scores, whose metrics are used.
        pair: the models of the run.
        files: circuits as MIB's JSON, GraphML or safetensors, of the models' architecture.
        settings: what ablated edges carry; sizes and baselines do not apply.
        quiet: no progress bar.

    Returns:
        One row per task, model and file: its edges, those that are not dangling, and faithfulness
        with a 95% bootstrap interval over examples.

    Raises:
        ArtifactError: scores are missing.
        CircuitError: a file that cannot be read, or a circuit of another architecture.
        EvaluationError: faithfulness is undefined, or no mean to ablate with exists.
    """
    circuits = [read_circuit(path) for path in files]
    tasks = list(pool_manifests(run))
    rows = []
    with progress_bar("run circuits", 2 * len(tasks) * len(files), quiet=quiet) as advance:
        for task in tasks:
            metric = scored_metric(run, task)
            for model in pair.models:
                held_out = pool_canvases(read_pool(run, task, "held-out"), model)
                ablation = find_ablation(
                    settings.ablation,
                    model,
                    canvases=held_out,
                    mean_over=pool_canvases(read_pool(run, task, "discovery"), model),
                    batch_size=settings.batch_size,
                )
                for path, circuit in zip(files, circuits, strict=True):
                    metrics = evaluate_circuits(
                        model,
                        held_out,
                        [circuit],
                        num_examples=1 + max(canvas.example for canvas in held_out),
                        metric=metric,
                        ablation=ablation,
                        batch_size=settings.batch_size,
                    )
                    found = metrics.curve().interval()
                    rows.append(
                        {
                            "task": task,
                            "model": model.kind.upper(),
                            "file": path.name,
                            "edges": circuit.num_edges,
                            "live": int(metrics.live_sizes[0]),
                            "faithfulness": float(found.value[0]),
                            "low": float(found.low[0]),
                            "high": float(found.high[0]),
                        }
                    )
                    advance(1)
    return pl.DataFrame(rows)
