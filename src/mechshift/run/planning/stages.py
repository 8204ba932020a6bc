"""Stages of a run as work: their costs and peaks of memory, for each model on each task.

The list is `mechshift.run.STAGES`; the order, and what `--skip` and `--also` do, come from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mechshift.comparison import Unit
from mechshift.models import Kind, ModelShape, PairShape
from mechshift.models.loading import DTYPES
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POOL,
    REPORT,
    SCORES,
    SEMANTICS,
)
from mechshift.run.planning.costs import DECODING_BATCH_SIZE, HostWork, Work, circuit_sizes_run
from mechshift.run.planning.memory import MemoryModel, MemoryUse
from mechshift.run.planning.model_on_task import ModelOnTask
from mechshift.run.planning.stage_work import STAGE_WORK, Asked, is_about
from mechshift.run.planning.workload import ExampleLengths, Member
from mechshift.run.settings import RunSettings
from mechshift.run.stages import STAGES
from mechshift.tasks import Task

REPORT_SECONDS = 5.0
"""Of the page and its figures, whatever the models: a guess."""

BatchSizes = Mapping[str, int]
"""Stage -> canvases in one of its batches."""


@dataclass(frozen=True, kw_only=True)
class StageCost(Work):
    """The work of one stage, on one task, by one model."""

    stage: str
    """Its name in `mechshift.run.STAGES`."""
    task: str
    """Empty for what is done for all tasks together."""
    model: str
    """`arm`, `mdm`, or the name of a control; empty for what belongs to no model."""


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
    host_is_device: bool

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that the run does, in order."""
        return tuple(stage.name for stage in STAGES if stage.is_wanted(self.settings))

    @property
    def pair(self) -> list[ModelOnTask]:
        """The two models, without controls, on every task."""
        return [model for model in self.models if model.model in KINDS]

    def peaks(self, stage: str, batch_size: int = DECODING_BATCH_SIZE) -> list[Use]:
        """Memory of every model, task and phase of a stage, with so many canvases in a batch."""
        found = []
        for model in self.models if stage in (SCORES, FLOW) else self.pair:
            uses = list(self._uses(stage, model, batch_size))
            for phase in dict.fromkeys(use.phase for use in uses):
                of_phase = (use for use in uses if use.phase == phase)
                memory = max(of_phase, key=lambda use: use.total)
                found.append(Use(task=model.task, model=model.model, memory=memory))
        return found

    def _uses(self, stage: str, model: ModelOnTask, batch_size: int) -> Iterator[MemoryUse]:
        memory, attribution = model.memory, self.settings.attribution
        if stage == POOL:
            pool = self.settings.pool
            calls = {*model.decoding(pool.num_examples), *model.decoding(pool.num_held_out)}
            yield from (memory.decode(call, model.kind) for call in calls)
        elif stage == SCORES:
            held = model.chunk_bytes if self.host_is_device else 0
            for batch in set(model.discovery(batch_size, attribution.examples_per_chunk)):
                if model.passes.num_points:
                    yield memory.gradients(batch, held)
                    yield memory.contract(batch, held)
                else:
                    yield memory.exact(batch, model.passes.edges_per_pass, held)
        elif stage == FLOW:
            yield from map(memory.flow, set(model.discovery(batch_size, attribution.chunk_size)))
        elif stage == SEMANTICS:
            yield from map(memory.read, set(model.discovery(batch_size)))
        elif stage == FAITHFULNESS:
            for batch in set(model.held_out(batch_size)):
                yield from (memory.circuits(batch, size) for size in set(model.circuit_sizes))
        elif stage == ALTERNATIVES:
            for batch in {*model.discovery(batch_size), *model.held_out(batch_size)}:
                yield memory.circuits(batch, model.compared_size)
        elif stage == ABLATION:
            batches = {*model.discovery(batch_size), *model.held_out(batch_size)}
            neurons = "neurons" in self.settings.ablation.kinds
            yield from (memory.ablate(batch, neurons=neurons) for batch in batches)

    def costs(self, sizes: BatchSizes, solved: float) -> Iterator[StageCost]:
        """Passes and operations, stage by stage in the order in which they are run."""
        for stage in self.stages:
            if stage == REPORT:
                yield StageCost(
                    stage=stage, task="", model="", host=HostWork(seconds=REPORT_SECONDS)
                )
                continue
            _, work_of = STAGE_WORK[stage]
            for model in self.models:
                if is_about(stage, model.model):
                    work = work_of(Asked(model, sizes.get(stage, 1), solved))
                    yield StageCost(stage=stage, task=model.task, model=model.model, **vars(work))

    @property
    def comparison_bytes(self) -> int:
        """What comparing two members' scores of a task takes of the host's memory; on all alike."""
        return self.models[0].comparison_bytes

    @property
    def num_rows(self) -> int:
        """Of scores: the examples, or shards of them."""
        return self.models[0].num_rows

    @property
    def unit(self) -> Unit:
        """What a row of scores is."""
        return "example" if self.settings.attribution.examples_per_shard == 1 else "shard"


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
    loaded = (getattr(shapes, member.weights) for member in members if member.loaded)
    weights = itemsize * sum(shape.num_parameters for shape in loaded)
    graph = shapes.arm.graph(grouped=attribution.grouped)
    gim = attribution.gim and attribution.method != "exact"
    compared = settings.comparison.circuit_size_in(graph.num_edges)
    sizes = settings.evaluation.sizes(graph.num_edges, compared)
    circuit_sizes = tuple(circuit_sizes_run(settings.evaluation, sizes, compared))

    def model(task: Task, member: Member) -> ModelOnTask:
        shape: ModelShape = getattr(shapes, member.weights)
        metric = attribution.metric or task.metric
        return ModelOnTask(
            task=task.name,
            member=member,
            shape=shape,
            graph=graph,
            lengths=lengths[task.name][member.kind],
            metric=metric,
            settings=settings,
            memory=MemoryModel(
                shape=shape,
                graph=graph,
                itemsize=itemsize,
                weights=weights,
                metric=metric,
                gim=gim,
            ),
            circuit_sizes=circuit_sizes,
            compared_size=compared,
        )

    return Workload(
        settings=settings,
        models=tuple(model(task, member) for task in tasks for member in members),
        host_is_device=host_is_device,
    )
