"""What do both models lose when their structures write something else?

Each model is ablated on held-out examples: thirds of its layers, its own circuit at the compared
size, random controls for each of these, and every head and MLP by itself. Norms and means are
those of the discovery examples, so nothing is chosen on the examples that it is measured on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechshift.ablation import (
    MIN_EXAMPLES,
    AblationRun,
    AblationSettings,
    Decoding,
    max_num_runs,
    run_ablations,
)
from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.circuits import Circuit, select_top_edges
from mechshift.comparison import ComparisonSettings
from mechshift.errors import AblationError
from mechshift.experiment.pooling import pool_canvases, pooled_task
from mechshift.experiment.stores import (
    ABLATION,
    ablation_folder,
    pool_folder,
    pool_manifests,
    read_pool,
    read_scores,
    record_contents,
    scores_folder,
)
from mechshift.graph import Graph
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import progress_bar
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
    manifests = pool_manifests(run)
    for manifest in manifests.values():
        check_num_examples(manifest.config["pool"]["num_held_out"])
    for task, manifest in manifests.items():
        for model in pair.models:
            scores = scores_folder(run, task, model.kind)
            scored = read_manifest(scores).config
            size = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(
                Graph(**scored["graph"]).num_edges
            )
            folder = ablation_folder(run, task, model.kind)
            made_from: dict[str, Any] = {
                "stage": ABLATION,
                "config": {
                    "task": task,
                    "model": model.name,
                    "metric": scored["attribution"]["metric"],
                    "circuit_size": size,
                    "ablation": settings.manifest_config(),
                },
                "inputs": {
                    "pool": artifact_hash(pool_folder(run, task)),
                    "scores": artifact_hash(scores),
                    **model.hashes,
                },
            }
            if is_current(folder, **made_from):
                continue
            found = read_scores(scores)
            stage = _Ablation(
                task=task,
                model=model,
                metric=scored["attribution"]["metric"],
                circuit=select_top_edges(found.graph, found.mean(), size),
                settings=settings,
                pool=PoolConfig(**manifest.config["pool"]),
                quiet=quiet,
            )
            write_artifact(folder, **made_from, **record_contents(stage.run(run)))


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ablation:
    """One model on one task."""

    task: str
    model: LanguageModel
    metric: str
    circuit: Circuit
    settings: AblationSettings
    pool: PoolConfig
    quiet: bool

    def run(self, run: Path) -> AblationRun:
        """Ablate the model on the first held-out examples."""
        held_out = read_pool(run, self.task, "held-out")
        examples = held_out.examples[: self.settings.num_examples]
        every_canvas = pool_canvases(held_out, self.model)
        canvases = [canvas for canvas in every_canvas if canvas.example < len(examples)]
        decoding: Decoding | None = None
        if self.settings.decode:
            task = pooled_task(self.task, held_out)
            decoding = Decoding(task=task, examples=examples, pool=self.pool)
        total = max_num_runs(
            self.circuit.graph, canvases, self.settings, with_circuit=True, decoding=decoding
        )
        title = f"{self.task}: ablate {self.model.kind.upper()}"
        with progress_bar(title, total, quiet=self.quiet) as advance:
            return run_ablations(
                self.model,
                canvases,
                circuit=self.circuit,
                mean_canvases=pool_canvases(read_pool(run, self.task, "discovery"), self.model),
                metric=self.metric,
                settings=self.settings,
                decoding=decoding,
                progress=advance,
            )
