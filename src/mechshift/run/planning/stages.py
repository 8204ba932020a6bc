"""Stages of a run as work: what each does for each model on each task, and in which batches.

The list is `mechshift.run.STAGES`; the order, and what `--skip` and `--also` do, come from there.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mechshift.ablation._standard_plans import max_num_plans
from mechshift.ablation.decoded import decodable
from mechshift.ablation.single_components import num_forward_passes
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import Unit
from mechshift.denoising.samplers import Sampler, sampler_named
from mechshift.denoising.schedule import step_sizes
from mechshift.graph import Graph
from mechshift.models import Kind, ModelShape, PairShape
from mechshift.models.loading import DTYPES
from mechshift.run.planning.costs import (
    DECODING_BATCH_SIZE,
    HostWork,
    MethodPasses,
    Work,
    circuit_sizes_run,
    circuits_work,
    comparison_rows,
    comparison_work,
    flow_work,
    forward_work,
    method_passes,
    neurons_work,
    num_measuring_passes,
    path_passes,
    reading_work,
    scoring_work,
)
from mechshift.run.planning.memory import WIDE, MemoryModel, MemoryUse, comparison_bytes
from mechshift.run.planning.workload import (
    Batch,
    ExampleLengths,
    Member,
    canvas_batches,
    commits,
    decoding_batches,
)
from mechshift.run.settings import RunSettings
from mechshift.run.stages import STAGES
from mechshift.run.store import (
    ABLATION,
    COMPARISON,
    CONCLUSIONS,
    CONTROLS,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POOL,
    REPORT,
    SCORES,
    SEMANTICS,
    SWEEP,
)
from mechshift.semantics.hidden_units import EXAMPLES_PER_CHUNK
from mechshift.tasks import Task

REPORT_SECONDS = 5.0
"""Of the page and its figures, whatever the models: a guess."""

CONCLUSION_SECONDS = 1.0
"""Of one member's quantities on one task, beside reading its scores: a guess."""

READ_BYTES = 1e9
"""Of stored scores that are read and added up in a second: a guess for a disk that is not slow."""

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


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelOnTask:
    """One model, one task, and how the task is run."""

    task: str
    member: Member
    shape: ModelShape
    graph: Graph
    lengths: ExampleLengths
    metric: str
    settings: RunSettings
    memory: MemoryModel

    @property
    def model(self) -> str:
        """`arm`, `mdm`, or the name of a control."""
        return self.member.name

    @property
    def kind(self) -> Kind:
        return self.member.kind

    @cached_property
    def sampler(self) -> Sampler:
        return sampler_named(self.settings.pool.order)

    @cached_property
    def passes(self) -> MethodPasses:
        """Of scoring a batch."""
        return method_passes(self.settings.attribution, self.metric, self.graph)

    @cached_property
    def flow_passes(self) -> MethodPasses:
        attribution = self.settings.attribution
        return path_passes(attribution.rule or "left", attribution.ig_steps or 5, self.metric)

    def committed(self, target: int) -> tuple[int, ...]:
        """Tokens that each step of the pool's schedule commits."""
        return commits(self.sampler, target, self.settings.pool.num_steps)

    @cached_property
    def num_steps(self) -> int:
        """Denoising steps of the example that has most."""
        targets = map(int, self.lengths.target)
        return max(sum(count > 0 for count in self.committed(target)) for target in targets)

    @cached_property
    def swept(self) -> tuple[int, ...]:
        """The numbers of steps that the task is swept over (`run.step_sweep`)."""
        longest = int(self.lengths.target.max())
        if longest == 1:
            return ()
        powers = (2**power for power in range(longest.bit_length()))
        asked = self.settings.sweep.num_steps or (*powers, self.num_steps, longest)
        return tuple(sorted({steps for steps in asked if steps <= longest}))

    def has_num_steps(self, num_steps: int) -> bool:
        """Whether the pool's own schedule has so many steps, so that nothing is scored anew."""
        return all(
            sum(count > 0 for count in self.committed(target)) == min(num_steps, target)
            for target in map(int, self.lengths.target)
        )

    def discovery(self, batch_size: int, chunk_size: int | None = None) -> list[Batch]:
        """Batches of the examples that edges are scored on."""
        return self.canvases(self.settings.pool.num_examples, batch_size, chunk_size)

    def held_out(self, batch_size: int) -> list[Batch]:
        """Batches of the examples that circuits are run on."""
        return self.canvases(self.settings.pool.num_held_out, batch_size)

    def canvases(
        self,
        num_examples: int,
        batch_size: int,
        chunk_size: int | None = None,
        num_steps: int | None = None,
    ) -> list[Batch]:
        """Batches of canvases, of the pool's schedule or of one in so many steps."""

        def in_steps(target: int) -> Sequence[int]:
            return step_sizes(target, min(num_steps or target, target))

        return list(
            canvas_batches(
                self.lengths.repeated(num_examples),
                self.kind,
                self.committed if num_steps is None else in_steps,
                batch_size=batch_size,
                chunk_size=chunk_size,
            )
        )

    def decoding(self, num_examples: int, batch_size: int = DECODING_BATCH_SIZE) -> list[Batch]:
        """Every call of the decoder that answers so many examples."""
        return list(
            decoding_batches(
                self.lengths.repeated(num_examples),
                self.kind,
                self.sampler,
                self.settings.pool.num_steps,
                batch_size=batch_size,
            )
        )

    @property
    def num_ablated(self) -> int:
        """Held-out examples that ablations are measured on."""
        held_out = self.settings.pool.num_held_out
        return min(self.settings.ablation.num_examples or held_out, held_out)


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
    circuit_sizes: tuple[int, ...]
    """Of all circuits that one model runs [edges]."""
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
            held = self.chunk_bytes(model) if self.host_is_device else 0
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
                yield from (memory.circuits(batch, size) for size in set(self.circuit_sizes))
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
            who, work_of = STAGE_WORK[stage]
            for model in self.models:
                if who(model.model):
                    work = work_of(_Asked(self, model, sizes.get(stage, 1), solved))
                    yield StageCost(stage=stage, task=model.task, model=model.model, **vars(work))

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

    def example_bytes(self, model: ModelOnTask) -> int:
        """Scores of one example."""
        return model.num_steps * model.graph.num_edges * WIDE

    def score_bytes(self, model: ModelOnTask) -> int:
        """A model's scores of one task, on disk: those of a shard are as many as of an example."""
        return self.num_rows * self.example_bytes(model)

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
        )

    compared = settings.comparison.circuit_size_in(graph.num_edges)
    sizes = settings.evaluation.sizes(graph.num_edges, compared)
    return Workload(
        settings=settings,
        models=tuple(model(task, member) for task in tasks for member in members),
        circuit_sizes=tuple(circuit_sizes_run(settings.evaluation, sizes, compared)),
        host_is_device=host_is_device,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """One model on one task, in one stage."""

    run: Workload
    model: ModelOnTask
    batch_size: int
    solved: float
    """Share of candidates that both models get right."""

    @property
    def settings(self) -> RunSettings:
        return self.run.settings

    def on(self, batches: Iterable[Batch], work: Callable[[Batch], Work]) -> Work:
        """The sum over batches."""
        return sum(map(work, batches), Work())

    def forward(self, batches: Iterable[Batch], times: int = 1) -> Work:
        """Plain passes."""
        return self.on(batches, lambda batch: forward_work(self.model.shape, batch, times))


def _pool(asked: _Asked) -> Work:
    """Candidates are tried in rounds of as many as are wanted (`tasks.build_pool`)."""
    pool, work = asked.settings.pool, Work()
    rounds = min(pool.max_candidates, math.ceil(1 / asked.solved))
    for wanted in (pool.num_examples, pool.num_held_out):
        work += asked.forward(asked.model.decoding(wanted)) * rounds
    return work


def _scores(asked: _Asked) -> Work:
    attribution, model = asked.settings.attribution, asked.model
    batches = model.discovery(asked.batch_size, attribution.examples_per_chunk)
    return _scoring(asked, batches) + Work(disk_bytes=_stored_scores(asked, model.num_steps))


def _scoring(asked: _Asked, batches: Iterable[Batch]) -> Work:
    model = asked.model
    return asked.on(
        batches, lambda batch: scoring_work(model.shape, model.graph, model.passes, batch)
    )


def _stored_scores(asked: _Asked, num_steps: int) -> int:
    """With both metrics and the sum out of `input` of every example and step."""
    edges = asked.run.num_rows * asked.model.graph.num_edges * WIDE
    return num_steps * (edges + asked.settings.pool.num_examples * 3 * 8)


def _answers(asked: _Asked) -> Work:
    return asked.forward(asked.model.decoding(asked.settings.pool.num_held_out))


def _flow(asked: _Asked) -> Work:
    model, settings = asked.model, asked.settings
    spans, layers = model.lengths.num_spans, model.shape.num_layers
    batches = model.discovery(asked.batch_size, settings.attribution.chunk_size)
    numbers = sum(math.prod(shape) for shape in part_shapes(layers, spans).values())
    stored = settings.pool.num_examples * model.num_steps * (numbers * WIDE + 2 * 8)
    return asked.on(
        batches, lambda batch: flow_work(model.shape, model.flow_passes, spans, batch)
    ) + Work(disk_bytes=stored)


def _semantics(asked: _Asked) -> Work:
    model, settings = asked.model, asked.settings.semantics
    shape, size = model.shape, asked.batch_size
    batches = model.discovery(size)
    habits = [
        Batch(
            rows=min(size, settings.num_sequences - first), positions=2 * settings.sequence_length
        )
        for first in range(0, settings.num_sequences, size)
    ]
    readouts = sum(batch.readouts for batch in batches)
    lens = (model.graph.num_sources + shape.num_layers + 1) * (3 + settings.num_top_tokens)
    contexts = settings.num_neurons * settings.num_contexts * (2 * settings.context_radius + 1)
    stored = readouts * (lens + model.graph.num_sources) * WIDE + contexts * 2 * 8
    return (
        asked.on(
            model.discovery(size, EXAMPLES_PER_CHUNK),
            lambda batch: neurons_work(shape, model.metric, settings.ig_steps, batch),
        )
        + asked.on(batches, lambda batch: reading_work(shape, batch, num_patterns=2))
        + asked.on(habits, lambda batch: reading_work(shape, batch))
        # What the chosen units do.
        + asked.forward(replace(batch, readouts=0) for batch in batches)
        + Work(disk_bytes=stored)
    )


def _faithfulness(asked: _Asked) -> Work:
    model, sizes, size = asked.model, asked.run.circuit_sizes, asked.batch_size
    measuring = asked.forward(
        model.discovery(size), num_measuring_passes(asked.settings.evaluation)
    )
    stored = (len(sizes) + 4 * 2) * asked.settings.pool.num_held_out * model.num_steps * 8
    return (
        measuring
        + asked.on(
            model.held_out(size),
            lambda batch: circuits_work(model.shape, model.graph, sizes, batch),
        )
        + Work(disk_bytes=stored)
    )


def _ablation(asked: _Asked) -> Work:
    """At most: draws of a control that do not exist are not run."""
    model, settings, size = asked.model, asked.settings.ablation, asked.batch_size
    plans = max_num_plans(model.graph, settings, with_circuit=True)
    replaced = plans * len(settings.replacements)
    each = num_forward_passes(model.graph, 1, settings.single_replacement)
    means = ("mean" in settings.replacements) + (settings.single_replacement == "mean")
    work = asked.forward(model.canvases(model.num_ablated, size), 2 + replaced + each)
    if settings.decode:
        means += "mean" in decodable(settings)
        runs = 1 + plans * len(decodable(settings))
        work += asked.forward(model.decoding(model.num_ablated, size)) * runs
    measured = replaced * (8 + 1 + settings.decode) + 8 * model.graph.num_sources
    # Norms are measured with a pass of their own, and no logits.
    return (
        work
        + asked.forward((replace(b, readouts=0) for b in model.discovery(size)), 1 + means)
        + Work(disk_bytes=model.num_ablated * measured)
    )


def _comparison(asked: _Asked) -> Work:
    whole = asked.model.model == "mdm"
    settings, num_steps = asked.settings.comparison, asked.model.num_steps
    rows = comparison_rows(settings, num_steps, whole=whole)
    return Work(host=comparison_work(rows, asked.run.num_rows, asked.model.graph))


def _sweep(asked: _Asked) -> Work:
    model, pool, work = asked.model, asked.settings.pool, Work()
    rows = comparison_rows(asked.settings.comparison, 1, whole=False)
    for num_steps in model.swept:
        if not model.has_num_steps(num_steps):
            chunk = asked.settings.sweep.chunk_size
            per_shard = asked.settings.attribution.examples_per_shard
            chunk = -(-chunk // per_shard) * per_shard
            batches = model.canvases(pool.num_examples, asked.batch_size, chunk, num_steps)
            work += _scoring(asked, batches)
            work += Work(disk_bytes=_stored_scores(asked, num_steps))
        work += Work(host=comparison_work(rows, asked.run.num_rows, model.graph))
    return work


def _conclusions(asked: _Asked) -> Work:
    """Every quantity of the MDM or a control; its scores and the ARM's are read once more."""
    read = 2 * _stored_scores(asked, asked.model.num_steps)
    return Work(host=HostWork(seconds=CONCLUSION_SECONDS + read / READ_BYTES))


def _any(_model: str) -> bool:
    return True


def _in_pair(model: str) -> bool:
    return model in KINDS


def _control(model: str) -> bool:
    return model not in KINDS


def _compared(model: str) -> bool:
    return model != "arm"


STAGE_WORK: Mapping[str, tuple[Callable[[str], bool], Callable[[_Asked], Work]]] = {
    POOL: (_in_pair, _pool),
    SCORES: (_any, _scores),
    CONTROLS: (_control, _answers),
    FLOW: (_any, _flow),
    SEMANTICS: (_in_pair, _semantics),
    FAITHFULNESS: (_in_pair, _faithfulness),
    ABLATION: (_in_pair, _ablation),
    COMPARISON: (_compared, _comparison),
    SWEEP: (lambda model: model == "mdm", _sweep),
    CONCLUSIONS: (_compared, _conclusions),
}
"""Which members a stage is about, and what it does for one of them on one task."""
