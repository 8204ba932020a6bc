"""Circuits in files: those of a run for other tools, and those of other tools, run here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from mechshift.circuits import Circuit, ScoredGraph, select_top_edges
from mechshift.circuits.formats import (
    read_circuit,
    write_graphml_circuit,
    write_graphml_scores,
    write_mib_circuit,
    write_mib_scores,
    write_safetensors_circuit,
    write_safetensors_scores,
)
from mechshift.comparison import ComparisonSettings
from mechshift.disk import make_writable
from mechshift.errors import ArtifactError, CircuitError
from mechshift.evaluation import CircuitMetrics, check_graph, find_ablation
from mechshift.models import Kind, ModelPair
from mechshift.progress import progress_bar
from mechshift.run.circuit_runs import run_groups
from mechshift.run.folders import KINDS
from mechshift.run.pipeline import load_stored_pair
from mechshift.run.pools import pool_canvases
from mechshift.run.settings import EvaluationSettings
from mechshift.run.store import pool_manifests, read_pool, scored_metric
from mechshift.run.stored import RunTask

FormatName = Literal["mib-json", "graphml", "safetensors"]


def export_circuits(
    run: Path,
    folder: Path,
    *,
    format: FormatName,
    tasks: Sequence[str] = (),
    models: Sequence[Kind] = KINDS,
    circuit_size: int | None = None,
) -> list[Path]:
    """Write the mean score of every edge, and the top edges, of each task and model.

    Args:
        run: a run folder with scores.
        folder: gets `TASK-MODEL-scores` and `TASK-MODEL-circuit` with the format's suffix; earlier
            files of these names are replaced.
        format: `mib-json` needs to know how wide the models are, and so loads them.
        tasks: some of the run's; none means all.
        models: whose scores.
        circuit_size: edges of the circuits; by default as the comparison chooses it.

    Returns:
        The files, in the order in which they were written.

    Raises:
        ArtifactError: no such task, scores are missing, or the folder cannot be written.
        CircuitError: scores that the format cannot hold, or the disk refuses.
    """
    known = list(pool_manifests(run))
    for task in tasks:
        if task not in known:
            raise ArtifactError(f"{run} has no task '{task}'; it has {', '.join(known)}.")
    try:
        make_writable(folder)  # before the models are loaded
    except OSError as error:
        raise ArtifactError(
            f"cannot write in {folder}: {error.strerror or error}; choose another folder, or make"
            " room or way for this one."
        ) from error
    writer = _writer(run, format)
    written = []
    for task in tasks or known:
        for model in models:
            scores = RunTask(run=run, task=task).scores(model)
            graph, mean = scores.graph, scores.mean()
            size = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(graph.num_edges)
            stem = f"{task}-{model}"
            scores_file = folder / f"{stem}-scores{writer.suffix}"
            circuit_file = folder / f"{stem}-circuit{writer.suffix}"
            writer.write_scores(scores_file, ScoredGraph(graph=graph, scores=mean))
            writer.write_circuit(circuit_file, select_top_edges(graph, mean, size))
            written += [scores_file, circuit_file]
    return written


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """Writer of one format."""

    suffix: str
    write_scores: Callable[[Path, ScoredGraph], None]
    write_circuit: Callable[[Path, Circuit], None]


def _writer(run: Path, format: FormatName) -> _Writer:
    if format == "graphml":
        return _Writer(
            suffix=".graphml",
            write_scores=write_graphml_scores,
            write_circuit=write_graphml_circuit,
        )
    if format == "safetensors":
        return _Writer(
            suffix=".safetensors",
            write_scores=write_safetensors_scores,
            write_circuit=write_safetensors_circuit,
        )
    d_model = load_stored_pair(run, "cpu").arm.parts.d_model
    return _Writer(
        suffix=".json",
        write_scores=partial(write_mib_scores, d_model=d_model),
        write_circuit=partial(write_mib_circuit, d_model=d_model),
    )


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
    circuits = [_circuit_for(pair, path) for path in files]
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
                    metrics = run_groups(
                        model,
                        held_out,
                        {"file": [circuit]},
                        metric=metric,
                        ablation=ablation,
                        batch_size=settings.batch_size,
                    )["file"]
                    names = {"task": task, "model": model.kind.upper(), "file": path.name}
                    rows.append({**names, **_row(circuit, metrics)})
                    advance(1)
    return pl.DataFrame(rows)


def _circuit_for(pair: ModelPair, path: Path) -> Circuit:
    """A circuit from a file, once it is sure that both models have its graph."""
    circuit = read_circuit(path)
    for model in pair.models:
        try:
            check_graph(model, circuit.graph)
        except CircuitError as error:
            raise CircuitError(f"{path}: {error}") from error
    return circuit


def _row(circuit: Circuit, metrics: CircuitMetrics) -> dict[str, int | float]:
    """The numbers of one circuit from a file."""
    found = metrics.curve().interval()
    return {
        "edges": circuit.num_edges,
        "live": int(metrics.live_sizes[0]),
        "faithfulness": float(found.value[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
    }
