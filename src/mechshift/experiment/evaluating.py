"""Stage 3: how much of each model's behaviour do its own and the other model's circuits keep?

Circuits are chosen on discovery examples and run on held-out ones. Beside them, each model runs
circuits that know less than its own: random ones with as many edges in every layer pair and edge
type, and as many edges by the activation of their sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.circuits import Circuit, select_top_edges
from mechshift.comparison import ComparisonSettings
from mechshift.denoising import Canvas
from mechshift.evaluation import (
    Ablation,
    Baselines,
    CircuitMetrics,
    activation_sized_circuit,
    difference_norms,
    evaluate_circuits,
    find_ablation,
    num_averaged,
    num_runs,
    random_matched_circuit,
)
from mechshift.experiment.pooling import pool_canvases
from mechshift.experiment.settings import EvaluationSettings
from mechshift.experiment.stores import (
    FAITHFULNESS,
    KINDS,
    baselines_arrays,
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
from mechshift.progress import progress_bar


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
        settings: sizes as shares of all edges, what is ablated, and the baselines.
        circuit_size: the size at which the circuits are compared [edges]; it is evaluated too.
        quiet: no progress bars.

    Raises:
        ArtifactError: scores are missing, or the run holds other evaluations.
        EvaluationError: a metric is not finite, or no mean to ablate with exists.
    """
    for task_name in pool_manifests(run):
        inputs = score_inputs(run, task_name)
        config = read_manifest(scores_folder(run, task_name, "arm")).config
        metric, graph = config["attribution"]["metric"], Graph(**config["graph"])
        compared = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(graph.num_edges)
        sizes = settings.sizes(graph.num_edges, compared)
        baseline_sizes = sizes if settings.baseline_sizes == "all" else [compared]
        circuits: dict[Kind, dict[int, Circuit]] | None = None
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
                    "circuit_size": compared,
                    "evaluation": settings.manifest_config(),
                },
                "inputs": inputs
                | {
                    "pool": artifact_hash(pool_folder(run, task_name)),
                    **model.hashes,
                },
            }
            if is_current(folder, **made_from):
                continue
            circuits = circuits or _circuits(run, task_name, sizes)
            stage = _Evaluation(
                task=task_name,
                model=model,
                metric=metric,
                settings=settings,
                discovery=pool_canvases(read_pool(run, task_name, "discovery"), model),
                held_out=pool_canvases(read_pool(run, task_name, "held-out"), model),
                quiet=quiet,
            )
            write_artifact(folder, **made_from, arrays=stage.run(circuits, baseline_sizes))


def _circuits(run: Path, task: str, sizes: list[int]) -> dict[Kind, dict[int, Circuit]]:
    """Each model's circuits by size, smallest first."""
    circuits = {}
    for kind in KINDS:
        scores = read_scores(scores_folder(run, task, kind))
        mean = scores.mean()
        circuits[kind] = {size: select_top_edges(scores.graph, mean, size) for size in sizes}
    return circuits


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evaluation:
    """One model on one task."""

    task: str
    model: LanguageModel
    metric: str
    settings: EvaluationSettings
    discovery: list[Canvas]
    held_out: list[Canvas]
    quiet: bool

    def run(
        self, circuits: Mapping[Kind, Mapping[int, Circuit]], baseline_sizes: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """What the model scores on everybody's circuits, as arrays to be stored."""
        own = [circuits[self.model.kind][size] for size in baseline_sizes]
        matched = [
            random_matched_circuit(circuit, self.settings.seed + draw)
            for draw in range(self.settings.num_random)
            for circuit in own
        ]
        ablation, norms = self._measure_sources()
        # The full and the empty run are shared by all, so all are run at once.
        groups = {kind: list(of_kind.values()) for kind, of_kind in circuits.items()}
        random = [draw.circuit for draw in matched]
        activation = [activation_sized_circuit(circuit, norms) for circuit in own]
        metrics = self._evaluate(ablation, [*groups.values(), random, activation])
        baselines = Baselines(
            random=metrics[-2],
            activation=metrics[-1],
            num_forced=np.array([len(m.forced_edges) for m in matched[: len(own)]], dtype=np.int64),
        )
        by_owner = dict(zip(groups, metrics, strict=False))
        return circuit_metrics_arrays(by_owner) | baselines_arrays(baselines)

    def _measure_sources(self) -> tuple[Ablation, np.ndarray]:
        """What ablated edges carry, and how far the corruption moves each source."""
        total = 2 * len(self.discovery)
        if self.settings.ablation == "mean":
            total += num_averaged(self.discovery, self.held_out)
        title = f"{self.task}: measure {self.model.kind.upper()}'s nodes"
        batch_size = self.settings.batch_size
        with progress_bar(title, total, quiet=self.quiet) as advance:
            ablation = find_ablation(
                self.settings.ablation,
                self.model,
                canvases=self.held_out,
                mean_over=self.discovery,
                batch_size=batch_size,
                progress=advance,
            )
            norms = difference_norms(
                self.model, self.discovery, batch_size=batch_size, progress=advance
            )
        return ablation, norms

    def _evaluate(
        self, ablation: Ablation, groups: Sequence[Sequence[Circuit]]
    ) -> list[CircuitMetrics]:
        """What the model scores on the circuits of each group."""
        everything = [circuit for group in groups for circuit in group]
        title = f"{self.task}: run circuits in {self.model.kind.upper()}"
        total = num_runs(self.held_out, everything)
        with progress_bar(title, total, quiet=self.quiet) as advance:
            metrics = evaluate_circuits(
                self.model,
                self.held_out,
                everything,
                num_examples=1 + max(canvas.example for canvas in self.held_out),
                metric=self.metric,
                ablation=ablation,
                batch_size=self.settings.batch_size,
                progress=advance,
            )
        ends = np.cumsum([len(group) for group in groups]).tolist()
        return [
            metrics.subset(slice(end - len(group), end))
            for group, end in zip(groups, ends, strict=True)
        ]
