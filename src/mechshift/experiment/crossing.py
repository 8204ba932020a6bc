"""Does the parent's circuit still carry the task in a checkpoint, and the other way round?

Circuits are chosen on discovery examples and run on held-out ones, at the compared size alone. What
lies outside a circuit carries its source's output on the corrupted prompt.
"""

from pathlib import Path
from typing import Any

from mechshift.artifacts import is_current, read_manifest, write_artifact
from mechshift.circuits import Circuit, select_top_edges
from mechshift.evaluation import CircuitMetrics, evaluate_circuits, num_runs
from mechshift.experiment.pooling import pool_canvases
from mechshift.experiment.stores import read_pool, read_scores, score_inputs, scores_folder
from mechshift.experiment.trajectory_stores import CROSSED, crossed_arrays, crossed_folder
from mechshift.models import LanguageModel
from mechshift.progress import progress_bar
from mechshift.verdict.trajectory import INHERITED, OWN, RETURNED


def cross_circuits(
    run: Path,
    task: str,
    member: str,
    model: LanguageModel,
    arm: LanguageModel,
    *,
    circuit_size: int,
    batch_size: int,
    quiet: bool,
) -> None:
    """Write what a checkpoint and the ARM score on each other's circuits, where it is missing.

    Raises:
        ArtifactError: scores are missing, or other results are there.
        EvaluationError: a metric is not finite.
    """
    scores = scores_folder(run, task, member)
    metric = read_manifest(scores).config["attribution"]["metric"]
    graph = read_scores(scores).graph
    made_from: dict[str, Any] = {
        "stage": CROSSED,
        "config": {
            "task": task,
            "model": model.name,
            "metric": metric,
            "num_edges": graph.num_edges,
            "circuit_size": circuit_size,
        },
        "inputs": score_inputs(run, task, ("arm", member))
        | {"arm": arm.weights_hash, **model.hashes},
    }
    folder = crossed_folder(run, task, member)
    if is_current(folder, **made_from):
        return
    own, arms = (_circuit(run, task, name, circuit_size) for name in (member, "arm"))
    pool = read_pool(run, task, "held-out")

    def score(reader: LanguageModel, circuits: list[Circuit]) -> CircuitMetrics:
        canvases = pool_canvases(pool, reader)
        title = f"{task}: run circuits in {reader.name}"
        with progress_bar(title, num_runs(canvases, circuits), quiet=quiet) as advance:
            return evaluate_circuits(
                reader,
                canvases,
                circuits,
                num_examples=len(pool.examples),
                metric=metric,
                batch_size=batch_size,
                progress=advance,
            )

    in_checkpoint, in_arm = score(model, [own, arms]), score(arm, [own])
    crossed = {
        OWN: in_checkpoint.subset(slice(0, 1)),
        INHERITED: in_checkpoint.subset(slice(1, 2)),
        RETURNED: in_arm,
    }
    write_artifact(folder, **made_from, arrays=crossed_arrays(crossed))


def _circuit(run: Path, task: str, member: str, size: int) -> Circuit:
    scores = read_scores(scores_folder(run, task, member))
    return select_top_edges(scores.graph, scores.mean(), size)
