"""Circuits that are run: how much of a model's behaviour its own and other circuits keep.

Circuits are chosen on discovery examples and run on held-out ones. There are two kinds of them:

- of a run: both models on each other's circuits at every size; on circuits that know less than a
  model's own: random ones with as many edges in every layer pair and edge type, and as many edges
  by the activation of their sources; and, at the compared size, on circuits that were found on
  parts of the discovery examples;
- of a checkpoint: it and its parent on each other's circuits, at the compared size alone. What lies
  outside a circuit carries its source's output on the corrupted prompt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from mechshift.circuits import Circuit, select_top_edges
from mechshift.comparison import ComparisonSettings, row_clusters
from mechshift.denoising import Canvas
from mechshift.evaluation import (
    NUM_REDISCOVERED,
    Ablation,
    Baselines,
    CircuitMetrics,
    RediscoveredCircuits,
    Rediscovery,
    activation_sized_circuit,
    difference_norms,
    discovery_folds,
    evaluate_circuits,
    find_ablation,
    num_averaged,
    num_runs,
    random_matched_circuit,
    rediscovered_circuits,
)
from mechshift.evaluation._corrupted_cache import corrupted_cache
from mechshift.models import Kind, LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import (
    CROSSED,
    FAITHFULNESS,
    KINDS,
    POOL,
    SCORES,
    crossed_folder,
    faithfulness_folder,
)
from mechshift.run.pools import pool_canvases
from mechshift.run.records import CircuitRuns
from mechshift.run.settings import EvaluationSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    model_inputs,
    pool_manifests,
    read_pool,
    score_inputs,
    scored_graph,
    scored_metric,
)
from mechshift.run.stored import RunTask
from mechshift.statistics import num_clusters
from mechshift.topics.faithfulness import INHERITED, OWN, RETURNED


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
    write_pieces(run, EVALUATE, _pair_pieces(run, pair, settings, circuit_size), quiet=quiet)


def _pair_pieces(
    run: Path, pair: ModelPair, settings: EvaluationSettings, circuit_size: int | None
) -> Iterator[Piece]:
    for task in pool_manifests(run):
        inputs = score_inputs(run, task)
        metric, graph = scored_metric(run, task), scored_graph(run, task, "arm")
        compared = ComparisonSettings(circuit_size=circuit_size).circuit_size_in(graph.num_edges)
        sizes = settings.sizes(graph.num_edges, compared)
        # Found once for both models, and only if one of them is still to be run.
        circuits = cache(partial(_pair_circuits, run, task, sizes))
        rediscovered = cache(partial(_rediscovered, run, task, compared, settings))
        for model in pair.models:
            evaluation = _Evaluation(
                run=run,
                task=task,
                model=model,
                metric=metric,
                settings=settings,
                circuits=circuits,
                rediscovered=rediscovered,
                sizes=sizes,
                baseline_sizes=sizes if settings.baseline_sizes == "all" else [compared],
            )
            yield Piece(
                folder=faithfulness_folder(run, task, model.kind),
                config={
                    "task": task,
                    "model": model.name,
                    "metric": metric,
                    "sizes": sizes,
                    "graph": asdict(graph),
                    "circuit_size": compared,
                    "evaluation": settings.manifest_config(),
                },
                inputs=inputs | model_inputs(run, task, model),
                prepare=evaluation.work,
            )


EVALUATE = Stage(
    name=FAITHFULNESS,
    command="evaluate",
    about="runs both models on their own, on each other's and on baseline circuits",
    reads=(POOL, SCORES),
    pieces=lambda given: _pair_pieces(
        given.run, given.pair, given.settings.evaluation, given.settings.comparison.circuit_size
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evaluation:
    """One model on one task, on the circuits of both and on baseline circuits."""

    run: Path
    task: str
    model: LanguageModel
    metric: str
    settings: EvaluationSettings
    circuits: Callable[[], Mapping[Kind, Sequence[Circuit]]]
    """Of each size."""
    rediscovered: Callable[[], "_Rediscovered | None"]
    """Of the compared size; None where they are not to be run."""
    sizes: Sequence[int]
    baseline_sizes: Sequence[int]

    def work(self) -> Work:
        """Passes over discovery examples for what is ablated, over held-out ones for circuits."""
        discovery, held_out = (
            pool_canvases(read_pool(self.run, self.task, split), self.model)
            for split in ("discovery", "held-out")
        )
        circuits = self.circuits()
        own = [circuits[self.model.kind][self.sizes.index(size)] for size in self.baseline_sizes]
        total = 2 * len(discovery)
        if self.settings.ablation == "mean":
            total += num_averaged(discovery, held_out)
        found_anew = self.rediscovered()
        num_others = (self.settings.num_random + 1) * len(own)
        num_others += 0 if found_anew is None else NUM_REDISCOVERED
        total += len(held_out) * (2 + len(KINDS) * len(self.sizes) + num_others)

        def compute(advance: Advance) -> CircuitRuns:
            ablation, norms = self._measure_sources(discovery, held_out, advance)
            return self._run(own, norms, held_out, ablation, advance)

        title = f"{self.task}: run circuits in {self.model.kind.upper()}"
        return Work(title=title, total=total, compute=compute)

    def _measure_sources(
        self, discovery: Sequence[Canvas], held_out: Sequence[Canvas], advance: Advance
    ) -> tuple[Ablation, np.ndarray]:
        """What ablated edges carry, and how far the corruption moves each source."""
        batch_size = self.settings.batch_size
        ablation = find_ablation(
            self.settings.ablation,
            self.model,
            canvases=held_out,
            mean_over=discovery,
            batch_size=batch_size,
            progress=advance,
        )
        norms = difference_norms(self.model, discovery, batch_size=batch_size, progress=advance)
        return ablation, norms

    def _run(
        self,
        own: Sequence[Circuit],
        norms: np.ndarray,
        held_out: Sequence[Canvas],
        ablation: Ablation,
        advance: Advance,
    ) -> CircuitRuns:
        circuits, found_anew = self.circuits(), self.rediscovered()
        matched = [
            random_matched_circuit(circuit, self.settings.seed + draw)
            for draw in range(self.settings.num_random)
            for circuit in own
        ]
        groups: dict[str, Sequence[Circuit]] = {
            **{kind: circuits[kind] for kind in KINDS},
            "random": [draw.circuit for draw in matched],
            "activation": [activation_sized_circuit(circuit, norms) for circuit in own],
            **({} if found_anew is None else found_anew.groups(self.model.kind)),
        }
        found = run_groups(
            self.model,
            held_out,
            groups,
            metric=self.metric,
            ablation=ablation,
            batch_size=self.settings.batch_size,
            advance=advance,
        )
        num_forced = [len(draw.forced_edges) for draw in matched[: len(own)]]
        return CircuitRuns(
            by_owner={kind: found[kind] for kind in KINDS},
            baselines=Baselines(
                random=found["random"],
                activation=found["activation"],
                num_forced=np.array(num_forced, dtype=np.int64),
            ),
            rediscovery=None if found_anew is None else found_anew.record(found),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rediscovered:
    """Circuits of both models that were found on parts of the discovery examples."""

    circuits: Mapping[Kind, RediscoveredCircuits]
    num_clusters: int

    def groups(self, model: Kind) -> dict[str, Sequence[Circuit]]:
        """Those that one model runs, by a name."""
        return {
            **{f"{kind} without fold": self.circuits[kind].without_fold for kind in KINDS},
            "halves": self.circuits[model].halves,
        }

    def record(self, found: Mapping[str, CircuitMetrics]) -> Rediscovery:
        """What a model scored on them, by these names."""
        return Rediscovery(
            without_fold={kind: found[f"{kind} without fold"] for kind in KINDS},
            halves=found["halves"],
            shared_by_halves={kind: one.shared_by_halves for kind, one in self.circuits.items()},
            shared_by_quarters={
                kind: one.shared_by_quarters for kind, one in self.circuits.items()
            },
            num_clusters=self.num_clusters,
        )


def exchanged_circuits(
    run: Path,
    task: str,
    member: str,
    model: LanguageModel,
    arm: LanguageModel,
    *,
    circuit_size: int,
    batch_size: int,
) -> Piece:
    """What a checkpoint and the ARM score on each other's circuits.

    Raises:
        ArtifactError: scores are missing.
    """
    graph = scored_graph(run, task, member)
    metric = scored_metric(run, task)

    def prepare() -> Work:
        own, arms = (_circuits(run, task, name, [circuit_size])[0] for name in (member, "arm"))
        pool = read_pool(run, task, "held-out")
        readers = [(model, {OWN: [own], INHERITED: [arms]}), (arm, {RETURNED: [own]})]
        work = [(one, pool_canvases(pool, one), groups) for one, groups in readers]

        def compute(advance: Advance) -> CircuitRuns:
            by_owner: dict[str, CircuitMetrics] = {}
            for reader, canvases, groups in work:
                by_owner |= run_groups(
                    reader,
                    canvases,
                    groups,
                    metric=metric,
                    batch_size=batch_size,
                    advance=advance,
                )
            return CircuitRuns(by_owner=by_owner)

        total = sum(num_runs(canvases, _flat(groups)) for _, canvases, groups in work)
        return Work(title=f"{task}: exchange circuits with {member}", total=total, compute=compute)

    return Piece(
        folder=crossed_folder(run, task, member),
        config={
            "task": task,
            "model": model.name,
            "metric": metric,
            "num_edges": graph.num_edges,
            "circuit_size": circuit_size,
        },
        inputs=score_inputs(run, task, ("arm", member))
        | {"arm": arm.weights_hash, "weights": model.weights_hash},
        prepare=prepare,
    )


EXCHANGE = Stage(
    name=CROSSED,
    command="trajectory",
    about="runs a checkpoint and its parent on each other's circuits",
    reads=(POOL, SCORES),
    when="by itself",
)


def _pair_circuits(run: Path, task: str, sizes: Sequence[int]) -> dict[Kind, list[Circuit]]:
    return {kind: _circuits(run, task, kind, sizes) for kind in KINDS}


def _circuits(run: Path, task: str, member: str, sizes: Sequence[int]) -> list[Circuit]:
    """A member's circuits of these sizes, chosen by its mean scores."""
    scores = RunTask(run=run, task=task).scores(member)
    mean = scores.mean()
    return [select_top_edges(scores.graph, mean, size) for size in sizes]


def _rediscovered(
    run: Path, task: str, size: int, settings: EvaluationSettings
) -> _Rediscovered | None:
    """Both models' circuits on the same parts; None where not wanted, or of too few clusters."""
    if not settings.rediscover:
        return None
    scores = {kind: RunTask(run=run, task=task).scores(kind) for kind in KINDS}
    clusters = row_clusters(scores["arm"])  # the MDM's are of the same examples
    folds = discovery_folds(clusters, settings.seed)
    if folds is None:
        return None
    return _Rediscovered(
        circuits={
            kind: rediscovered_circuits(one.graph, one.sums(folds), np.bincount(folds), size)
            for kind, one in scores.items()
        },
        num_clusters=num_clusters(clusters),
    )


def run_groups(
    model: LanguageModel,
    held_out: Sequence[Canvas],
    groups: Mapping[str, Sequence[Circuit]],
    *,
    metric: str,
    batch_size: int,
    ablation: Ablation = corrupted_cache,
    advance: Advance | None = None,
) -> dict[str, CircuitMetrics]:
    """What a model scores on the circuits of each group, by the group's name.

    The full and the empty run are shared by all, so all groups are run at once.

    Raises:
        CircuitError: a circuit of another architecture.
        EvaluationError: a metric is not finite, or no mean to ablate with exists.
    """
    metrics = evaluate_circuits(
        model,
        held_out,
        _flat(groups),
        num_examples=1 + max(canvas.example for canvas in held_out),
        metric=metric,
        ablation=ablation,
        batch_size=batch_size,
        progress=advance,
    )
    ends = np.cumsum([len(group) for group in groups.values()]).tolist()
    return {
        name: metrics.subset(slice(end - len(group), end))
        for (name, group), end in zip(groups.items(), ends, strict=True)
    }


def _flat(groups: Mapping[str, Sequence[Circuit]]) -> list[Circuit]:
    return [circuit for group in groups.values() for circuit in group]
