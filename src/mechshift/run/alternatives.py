"""Alternatives to the circuits: each model on other edges than its own, on examples of both splits.

The circuits of the compared size are chosen by the run's own scores, those of the candidates by the
same scores with a penalty on some of the circuit's edges (`evaluation.alternative_circuits`). Edges
outside a circuit carry what they carry where the run's circuits are run. Which candidates are as
faithful as the circuit is concluded from what is stored here (`topics.alternatives`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mechshift.denoising import Canvas
from mechshift.evaluation import (
    AblationName,
    AlternativeRuns,
    CircuitMetrics,
    evaluate_circuits,
    find_ablation,
    num_averaged,
    num_runs,
    penalised_circuits,
)
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import (
    ALTERNATIVES,
    COMPARISON,
    FAITHFULNESS,
    POOL,
    SCORES,
    alternatives_folder,
)
from mechshift.run.pools import pool_canvases
from mechshift.run.settings import AlternativesSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    model_inputs,
    pool_manifests,
    read_pool,
    score_inputs,
    scored_graph,
    scored_members,
    scored_metric,
    stored_ablation,
    stored_comparison_settings,
)
from mechshift.run.stored import RunTask
from mechshift.topics.alternatives import concluded_alternatives, table_of_floors


def find_alternatives(
    run: Path,
    pair: ModelPair,
    settings: AlternativesSettings | None = None,
    *,
    quiet: bool = False,
) -> None:
    """Run each model on candidates for alternatives to its circuit, where that is missing.

    Args:
        run: a run folder whose circuits were run and compared; its settings of both are used.
        pair: the models that were scored.
        settings: the ladder of penalties, and the batch size.
        quiet: no progress bars.

    Raises:
        ArtifactError: the run is not scored, evaluated or compared, or holds other results.
        EvaluationError: a metric is not finite, or no mean to ablate with exists.
    """
    pieces = _pieces(run, pair, settings or AlternativesSettings())
    write_pieces(run, ALTERNATIVES_STAGE, pieces, quiet=quiet)


def _pieces(run: Path, pair: ModelPair, settings: AlternativesSettings) -> Iterator[Piece]:
    for task in pool_manifests(run):
        scored_members(run, task)  # refuses a run that is not scored
        ablation = stored_ablation(run, task)
        compared = stored_comparison_settings(run, task)
        size = compared.circuit_size_in(scored_graph(run, task, "arm").num_edges)
        for model in pair.models:
            search = _Search(
                run=run, task=task, model=model, ablation=ablation, size=size, settings=settings
            )
            yield Piece(
                folder=alternatives_folder(run, task, model.kind),
                config={
                    "task": task,
                    "model": model.name,
                    "metric": scored_metric(run, task),
                    "circuit_size": size,
                    "alternatives": {
                        "factors": sorted(set(settings.factors), reverse=True),
                        "shares": sorted(set(settings.shares)),
                        "ablation": ablation,
                    },
                },
                inputs=score_inputs(run, task, (model.kind,)) | model_inputs(run, task, model),
                prepare=search.work,
            )


ALTERNATIVES_STAGE = Stage(
    name=ALTERNATIVES,
    command="alternatives",
    about="runs both models on other circuits than their own, to find as faithful ones",
    reads=(POOL, SCORES, FAITHFULNESS, COMPARISON),
    when="if added",
    pieces=lambda given: _pieces(given.run, given.pair, given.settings.alternatives),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """One model on one task."""

    run: Path
    task: str
    model: LanguageModel
    ablation: AblationName
    size: int
    settings: AlternativesSettings

    def work(self) -> Work:
        """A pass of every candidate over the examples of both splits."""
        scores = RunTask(run=self.run, task=self.task).scores(self.model.kind)
        found = penalised_circuits(
            scores.graph,
            scores.mean(),
            self.size,
            factors=self.settings.factors,
            shares=self.settings.shares,
        )
        circuits = [one.circuit for one in found]
        discovery, held_out = (
            pool_canvases(read_pool(self.run, self.task, split), self.model)
            for split in ("discovery", "held-out")
        )

        def metrics(canvases: list[Canvas], advance: Advance) -> CircuitMetrics:
            batch_size = self.settings.batch_size
            return evaluate_circuits(
                self.model,
                canvases,
                circuits,
                num_examples=1 + max(canvas.example for canvas in canvases),
                metric=scored_metric(self.run, self.task),
                ablation=find_ablation(
                    self.ablation,
                    self.model,
                    canvases=canvases,
                    mean_over=discovery,
                    batch_size=batch_size,
                    progress=advance,
                ),
                batch_size=batch_size,
                progress=advance,
            )

        def compute(advance: Advance) -> AlternativeRuns:
            return AlternativeRuns(
                factors=np.array([one.factor for one in found]),
                num_penalised=np.array([one.num_penalised for one in found], dtype=np.int64),
                edges=np.stack([np.sort(circuit.edges) for circuit in circuits]),
                discovery=metrics(discovery, advance),
                held_out=metrics(held_out, advance),
            )

        total = num_runs(discovery, circuits) + num_runs(held_out, circuits)
        if self.ablation == "mean":
            total += num_averaged(discovery, discovery) + num_averaged(discovery, held_out)
        title = f"{self.task}: run other circuits in {self.model.kind.upper()}"
        return Work(title=title, total=total, compute=compute)


def alternatives_table(run: Path) -> pl.DataFrame:
    """How low overlap goes inside each model on each task, as narrow as a terminal.

    Raises:
        ArtifactError: the run has no pool, or something in it is damaged.
    """
    tasks = {task: RunTask(run=run, task=task) for task in pool_manifests(run)}
    found = {task: concluded_alternatives(stored) for task, stored in tasks.items()}
    return table_of_floors({task: one for task, one in found.items() if one is not None})
