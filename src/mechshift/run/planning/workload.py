"""What do the settings of a run ask of each model on each task, before any machine is looked at?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mechshift.comparison import Unit
from mechshift.denoising.samplers import sampler_named
from mechshift.models import Kind, ModelShape, PairShape
from mechshift.models.loading import DTYPES
from mechshift.run.planning.comparing import comparison_bytes
from mechshift.run.planning.lengths import ExampleLengths
from mechshift.run.planning.members import Member
from mechshift.run.planning.memory import WIDE, MemoryModel, MemoryUse
from mechshift.run.planning.methods import method_passes
from mechshift.run.planning.stages import (
    ModelOnTask,
    StageCost,
    attribution_cost,
    circuit_sizes_run,
    evaluation_cost,
    num_measuring_passes,
    pool_cost,
)
from mechshift.run.settings import RunSettings
from mechshift.run.store import KINDS
from mechshift.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Use:
    """A peak of memory, and whose it is."""

    task: str
    model: str
    memory: MemoryUse


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A run's models, tasks and settings."""

    settings: RunSettings
    models: tuple[ModelOnTask, ...]
    memory: tuple[MemoryModel, ...]
    """Of each of `models`."""
    circuit_sizes: tuple[int, ...]
    """Of all circuits that one model runs [edges]."""
    host_is_device: bool

    def decoding(self) -> Iterator[Use]:
        """Peaks of finding the pool."""
        for model, memory in self._pair():
            largest = max(model.decoding(1.0), key=lambda call: call.tokens + call.readouts)
            yield Use(task=model.task, model=model.model, memory=memory.decode(largest, model.kind))

    def attribution(self, batch_size: int) -> Iterator[Use]:
        """Peaks of scoring edges with so many canvases in a batch."""
        settings = self.settings.attribution
        for model, memory in zip(self.models, self.memory, strict=True):
            held = self.chunk_bytes(model) if self.host_is_device else 0
            passes = model.passes
            batches = set(model.discovery_batches(batch_size, settings.examples_per_chunk))
            uses = [
                use
                for batch in batches
                for use in (
                    [memory.exact(batch, passes.edges_per_pass, held)]
                    if not passes.num_points
                    else [
                        memory.gradients(batch, held),
                        memory.contract(batch, held),
                    ]
                )
            ]
            yield from _largest(model, uses)

    def evaluation(self, batch_size: int) -> Iterator[Use]:
        """Peaks of running circuits with so many canvases in a batch."""
        for model, memory in self._pair():
            batches = set(model.held_out_batches(batch_size))
            sizes = set(self.circuit_sizes)
            uses = [memory.circuits(batch, size) for batch in batches for size in sizes]
            yield from _largest(model, uses)

    def costs(
        self, attribution_batch: int, evaluation_batch: int, solved: float
    ) -> Iterator[StageCost]:
        """Passes and FLOPs, stage by stage in the order in which they are run."""
        for model, _ in self._pair():
            yield pool_cost(model, solved)
        chunk_size = self.settings.attribution.examples_per_chunk
        for model in self.models:
            yield attribution_cost(model, model.discovery_batches(attribution_batch, chunk_size))
        repeats = num_measuring_passes(self.settings.evaluation)
        for model, _ in self._pair():
            yield evaluation_cost(
                model,
                model.held_out_batches(evaluation_batch),
                self.circuit_sizes,
                repeats * model.discovery_batches(evaluation_batch, None),
            )

    def _pair(self) -> Iterator[tuple[ModelOnTask, MemoryModel]]:
        """The pair's two models, without controls, which are scored only."""
        for model, memory in zip(self.models, self.memory, strict=True):
            if model.model in KINDS:
                yield model, memory

    def score_bytes(self, model: ModelOnTask) -> int:
        """A model's scores of one task, on disk: those of a shard are as many as of an example."""
        return self.num_rows * self.example_bytes(model)

    def chunk_bytes(self, model: ModelOnTask) -> int:
        """Scores that are held in the host's memory before they are saved.

        Chunks are joined in a file, which is mapped where it is read, so no more are held at once.
        Those of single examples are held until a chunk's shards are averaged.
        """
        attribution = self.settings.attribution
        chunk = min(attribution.examples_per_chunk, self.settings.pool.num_examples)
        per_shard = attribution.examples_per_shard
        averaged = chunk // per_shard if per_shard > 1 else 0
        return (chunk + averaged) * self.example_bytes(model)

    @property
    def comparison_bytes(self) -> int:
        """What comparing two members' scores of a task takes of the host's memory; on all alike."""
        return comparison_bytes(self.models[0].graph, self.num_rows, self.settings.comparison)

    @property
    def num_rows(self) -> int:
        """Of scores: the examples, or shards of them."""
        return self.settings.pool.num_examples // self.settings.attribution.examples_per_shard

    @property
    def unit(self) -> Unit:
        """What a row of scores is."""
        return "example" if self.settings.attribution.examples_per_shard == 1 else "shard"

    def example_bytes(self, model: ModelOnTask) -> int:
        """Scores of one example."""
        return model.num_steps * model.graph.num_edges * WIDE


def make_workload(
    settings: RunSettings,
    shapes: PairShape,
    members: Sequence[Member],
    tasks: Sequence[Task],
    lengths: Mapping[str, Mapping[Kind, ExampleLengths]],
    *,
    host_is_device: bool,
) -> Workload:
    """Put together what the settings ask for.

    Args:
        settings: of the run.
        shapes: of both models.
        members: the models whose edges are scored.
        tasks: that the settings name.
        lengths: task name -> kind of model -> lengths of examples.
        host_is_device: whether the models run in the host's memory.

    Raises:
        ConfigError: a method that cannot be planned, or a circuit size larger than the graph.
        DenoisingError: a number of steps that the sampler cannot have.
    """
    attribution = settings.attribution
    itemsize = DTYPES[settings.models.dtype].itemsize
    weights = itemsize * sum(
        getattr(shapes, member.weights).num_parameters for member in members if member.loaded
    )
    graph = shapes.arm.graph(grouped=attribution.grouped)
    models, memory = [], []
    for task in tasks:
        metric = attribution.metric or task.metric
        for member in members:
            shape: ModelShape = getattr(shapes, member.weights)
            passes = method_passes(attribution, metric, graph)
            models.append(
                ModelOnTask(
                    task=task.name,
                    model=member.name,
                    kind=member.kind,
                    shape=shape,
                    graph=graph,
                    lengths=lengths[task.name][member.kind],
                    sampler=sampler_named(settings.pool.order),
                    pool=settings.pool,
                    passes=passes,
                )
            )
            memory.append(
                MemoryModel(
                    shape=shape,
                    graph=graph,
                    itemsize=itemsize,
                    weights=weights,
                    metric=metric,
                    gim=passes.gim,
                )
            )
    compared = settings.comparison.circuit_size_in(graph.num_edges)
    sizes = settings.evaluation.sizes(graph.num_edges, compared)
    return Workload(
        settings=settings,
        models=tuple(models),
        memory=tuple(memory),
        circuit_sizes=tuple(circuit_sizes_run(settings.evaluation, sizes, compared)),
        host_is_device=host_is_device,
    )


def _largest(model: ModelOnTask, uses: Sequence[MemoryUse]) -> Iterator[Use]:
    """The largest use of each phase."""
    for phase in dict.fromkeys(use.phase for use in uses):
        largest = max((use for use in uses if use.phase == phase), key=lambda use: use.total)
        yield Use(task=model.task, model=model.model, memory=largest)
