"""Ablations of a run: what both models lose when their structures write something else.

Each model is ablated on held-out examples: thirds of its layers, its own circuit at the compared
size, random controls for each of these, and every head and MLP by itself. Norms and means are
those of the discovery examples, so nothing is chosen on the examples that it is measured on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mechshift.ablation import (
    MIN_EXAMPLES,
    AblationRun,
    AblationSettings,
    Decoding,
    max_num_runs,
    run_ablations,
)
from mechshift.artifacts import artifact_hash, setting_in
from mechshift.circuits import select_top_edges
from mechshift.comparison import ComparisonSettings
from mechshift.errors import AblationError
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import (
    ABLATION,
    POOL,
    SCORES,
    ablation_folder,
    pool_folder,
    scores_folder,
)
from mechshift.run.pools import pool_canvases, pooled_task
from mechshift.run.settings import RunSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    model_inputs,
    pool_manifests,
    read_pool,
    scored_graph,
    scored_metric,
)
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig


def ablate_pair(
    run: Path,
    pair: ModelPair,
    settings: AblationSettings,
    *,
    circuit_size: int | None = None,
    quiet: bool = False,
) -> None:
    """Write what ablations cost both models on every pooled task, where it is missing.

    Args:
        run: a run folder with scores.
        pair: the models that were scored.
        settings: what is ablated, how, and on how many examples.
        circuit_size: edges of the circuits that are ablated; by default as `compare` chooses.
        quiet: no progress bars.

    Raises:
        ArtifactError: scores are missing, or the run holds other ablations.
        AblationError: a pool of too few held-out examples, a circuit without heads and MLPs, or a
            metric that is not finite.
        ConfigError: the circuit size exceeds the graph.
    """
    pieces = _pieces(run, pair, settings, circuit_size)
    write_pieces(run, ABLATE, pieces, quiet=quiet)


def _pieces(
    run: Path, pair: ModelPair, settings: AblationSettings, circuit_size: int | None
) -> Iterator[Piece]:
    pools = {
        task: setting_in(manifest, pool_folder(run, task), "pool", PoolConfig)
        for task, manifest in pool_manifests(run).items()
    }
    for pool in pools.values():
        check_num_examples(pool.num_held_out)
    for task, pool in pools.items():
        for model in pair.models:
            scores = scores_folder(run, task, model.kind)
            size = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(
                scored_graph(run, task, model.kind).num_edges
            )
            metric = scored_metric(run, task, model.kind)
            ablation = _Ablation(
                run=run,
                task=task,
                model=model,
                metric=metric,
                circuit_size=size,
                settings=settings,
                pool=pool,
            )
            yield Piece(
                folder=ablation_folder(run, task, model.kind),
                config={
                    "task": task,
                    "model": model.name,
                    "metric": metric,
                    "circuit_size": size,
                    "ablation": settings.manifest_config(),
                },
                inputs=model_inputs(run, task, model) | {"scores": artifact_hash(scores)},
                prepare=ablation.work,
            )


def check_num_examples(num_held_out: int) -> None:
    """Refuse pools on which no interval can be had.

    Raises:
        AblationError: fewer held-out examples than `MIN_EXAMPLES`.
    """
    if num_held_out < MIN_EXAMPLES:
        raise AblationError(
            f"{num_held_out} held-out examples are too few to say how certain a loss is;"
            f" ask for at least {MIN_EXAMPLES} with --pool.num-held-out, or leave ablation out with"
            " --skip ablation."
        )


def check_settings(settings: RunSettings) -> None:
    """Refuse a run on whose pools no interval can be had.

    Raises:
        AblationError: see `check_num_examples`.
    """
    check_num_examples(settings.pool.num_held_out)


ABLATE = Stage(
    name=ABLATION,
    command="ablate",
    about="measures what both models lose when some of their structures write something else",
    reads=(POOL, SCORES),
    when="unless skipped",
    check=check_settings,
    pieces=lambda given: _pieces(
        given.run, given.pair, given.settings.ablation, given.settings.comparison.circuit_size
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ablation:
    """One model on one task."""

    run: Path
    task: str
    model: LanguageModel
    metric: str
    circuit_size: int
    settings: AblationSettings
    pool: PoolConfig

    def work(self) -> Work:
        """Ablate the model on the first held-out examples."""
        scores = RunTask(run=self.run, task=self.task).scores(self.model.kind)
        circuit = select_top_edges(scores.graph, scores.mean(), self.circuit_size)
        held_out = read_pool(self.run, self.task, "held-out")
        examples = held_out.examples[: self.settings.num_examples]
        every_canvas = pool_canvases(held_out, self.model)
        canvases = [canvas for canvas in every_canvas if canvas.example < len(examples)]
        decoding: Decoding | None = None
        if self.settings.decode:
            task = pooled_task(self.task, held_out)
            decoding = Decoding(task=task, examples=examples, pool=self.pool)

        def compute(advance: Advance) -> AblationRun:
            discovery = read_pool(self.run, self.task, "discovery")
            return run_ablations(
                self.model,
                canvases,
                circuit=circuit,
                mean_canvases=pool_canvases(discovery, self.model),
                metric=self.metric,
                settings=self.settings,
                decoding=decoding,
                progress=advance,
            )

        total = max_num_runs(
            circuit.graph, canvases, self.settings, with_circuit=True, decoding=decoding
        )
        title = f"{self.task}: ablate {self.model.kind.upper()}"
        return Work(title=title, total=total, compute=compute)
