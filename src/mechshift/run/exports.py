"""Scores and circuits of a run, as files that other tools read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mechshift.artifacts import make_writable
from mechshift.circuits import Circuit, ScoredGraph, select_top_edges
from mechshift.circuits.formats import (
    write_graphml_circuit,
    write_graphml_scores,
    write_mib_circuit,
    write_mib_scores,
    write_safetensors_circuit,
    write_safetensors_scores,
)
from mechshift.comparison import ComparisonSettings
from mechshift.errors import ArtifactError
from mechshift.models import Kind
from mechshift.run.pipeline import load_stored_pair
from mechshift.run.store import KINDS, pool_manifests, read_scores, scores_folder

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
            scores = read_scores(scores_folder(run, task, model))
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
    """How one format is written."""

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
