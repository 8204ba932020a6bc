"""Plan of a run from configurations alone, before the wait: its costs, and batch sizes that fit.

A machine that cannot hold a run is refused in one line, with settings, or memory, that would do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

from mechshift.errors import ConfigError
from mechshift.models import PairShape, local_tokenizer, pair_shape
from mechshift.models.loading import DTYPES
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POOL,
    SCORES,
    SEMANTICS,
    SWEEP,
    member_title,
)
from mechshift.run.planning.costs import DECODING_BATCH_SIZE, scoring_work
from mechshift.run.planning.machine import (
    GIGA,
    Machine,
    MachineOptions,
    find_machine,
    measured_batch,
)
from mechshift.run.planning.model_on_task import ModelOnTask
from mechshift.run.planning.stages import StageCost, Use, Workload, make_workload
from mechshift.run.planning.workload import run_members, task_lengths
from mechshift.run.scores import check_shards, possible_shards
from mechshift.run.settings import RunSettings, Skippable
from mechshift.tasks import find_tasks

SOLVED = 0.5
"""Share of candidates that both models are assumed to get right."""

NUM_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Batch sizes that are tried: powers of two, largest first. Beyond 128 a batch pads more and
computes no faster."""

FITTED = {
    SCORES: "attribution",
    FLOW: "flow",
    SEMANTICS: "semantics",
    FAITHFULNESS: "circuit evaluation",
    ABLATION: "ablation",
    ALTERNATIVES: "other circuits",
}
"""Stages whose batch size is chosen, and what a refusal calls them."""

Remake = Callable[[RunSettings], Workload]
"""The same work with other settings."""


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """The size of one task for one model."""

    task: str
    model: str
    prompt_tokens: int
    """Of the longest example that was looked at, with its suffix."""
    target_tokens: int
    num_steps: int
    """Denoising steps that are scored."""
    num_canvases: int
    """Discovery canvases of all examples."""
    score_bytes: int
    """Scores of all examples, or shards of them, steps and edges, on disk."""
    chunk_bytes: int
    """What the host's memory holds at once while they are made."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage, and how long it is estimated to take."""

    cost: StageCost
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Passes, FLOPs, memory, disk and time of a run, and the batch sizes to give it."""

    pair: str
    dtype: str
    shapes: PairShape
    num_edges: int
    machine: Machine
    attribution_batch_size: int
    """Of flow too."""
    evaluation_batch_size: int
    semantics_batch_size: int | None
    """None: the run does not do the stage."""
    ablation_batch_size: int | None
    alternatives_batch_size: int | None
    tasks: tuple[TaskPlan, ...]
    stages: tuple[StagePlan, ...]
    """In the order in which they are run."""
    memory: tuple[Use, ...]
    """The largest peak of each phase."""
    comparison_bytes: int
    """What comparing the scores of two models takes of the host's memory, on any task."""
    notes: tuple[str, ...]
    """What was assumed."""

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        return sum(stage.cost.disk_bytes for stage in self.stages)

    @property
    def options(self) -> str:
        """What to give `mechshift run`."""
        sizes = {
            "attribution": self.attribution_batch_size,
            "semantics": self.semantics_batch_size,
            "evaluation": self.evaluation_batch_size,
            "ablation": self.ablation_batch_size,
            "sweep": self.attribution_batch_size if self._sweeps else None,
            "alternatives": self.alternatives_batch_size,
        }
        return " ".join(f"--{name}.batch-size {size}" for name, size in sizes.items() if size)

    @property
    def _sweeps(self) -> bool:
        return any(stage.cost.stage == SWEEP for stage in self.stages)


def plan_run(
    settings: RunSettings | None = None,
    machine: MachineOptions | None = None,
    *,
    solved: float = SOLVED,
) -> RunPlan:
    """Plan a run without asking the hub, and without loading a model unless a batch is measured.

    Args:
        settings: of the run; its batch sizes are not looked at but chosen.
        machine: by default the one at hand, whose speed is measured for a second.
        solved: share of candidates that both models get right, which decides how many are decoded.

    Raises:
        ConfigError: not even a batch of one canvas fits, or a setting that cannot be planned, or
            shards into which the pool cannot be cut.
        ModelError: a model of whose shape nothing is known on this machine.
        TaskError: no such task, or one that does not fit the tokenizer.
    """
    if not 0 < solved <= 1:
        raise ConfigError(f"solved is a share in (0, 1], not {solved}.")
    settings, options = settings or RunSettings(), machine or MachineOptions()
    check_shards(settings.pool.num_examples, settings.attribution.examples_per_shard)
    entry = settings.models.entry()
    tasks = find_tasks(settings.task_names())
    shapes, tokenizer = pair_shape(entry), local_tokenizer(entry)
    lengths = {task.name: task_lengths(task, tokenizer, KINDS) for task in tasks}
    found = find_machine(options, DTYPES[settings.models.dtype])

    def remake(changed: RunSettings) -> Workload:
        members = run_members(entry, changed.skip)
        return make_workload(changed, shapes, members, tasks, lengths, host_is_device=found.shared)

    workload = remake(settings)
    sizes = fitting_batch_sizes(workload, found, remake)
    _check_host(workload, found, remake)
    if options.measure:
        found = _measured(workload, sizes[SCORES], found, options)
    peaks = [
        use
        for stage in (POOL, *FITTED)
        for use in workload.peaks(stage, sizes.get(stage, 1))
        if stage in workload.stages
    ]
    phases = dict.fromkeys(use.memory.phase for use in peaks)
    return RunPlan(
        pair=entry.name,
        dtype=settings.models.dtype,
        shapes=shapes,
        num_edges=workload.models[0].graph.num_edges,
        machine=found,
        attribution_batch_size=sizes[SCORES],
        evaluation_batch_size=sizes[FAITHFULNESS],
        semantics_batch_size=sizes.get(SEMANTICS),
        ablation_batch_size=sizes.get(ABLATION),
        alternatives_batch_size=sizes.get(ALTERNATIVES),
        tasks=tuple(map(_task_plan, workload.models)),
        stages=tuple(
            StagePlan(cost=cost, seconds=found.seconds(cost))
            for cost in workload.costs(sizes, solved)
        ),
        memory=tuple(
            _largest(use for use in peaks if use.memory.phase == phase) for phase in phases
        ),
        comparison_bytes=workload.comparison_bytes,
        notes=tuple(_notes(workload, found, shapes, tokenizer is not None, solved)),
    )


def fitting_batch_sizes(workload: Workload, machine: Machine, remake: Remake) -> dict[str, int]:
    """The largest power of two, for each stage of a run, with which its peak fits the budget.

    Raises:
        ConfigError: not even one canvas fits, or decoding does not; the message names settings, or
            the memory, that would do.
    """
    if _peak(workload, POOL, DECODING_BATCH_SIZE).memory.total > machine.budget:
        raise _refusal(workload, POOL, "decoding", DECODING_BATCH_SIZE, machine, remake)
    sizes: dict[str, int] = {}
    for stage, words in FITTED.items():
        if stage in workload.stages:
            fitting = (
                size
                for size in NUM_SIZES
                if _peak(workload, stage, size).memory.total <= machine.budget
            )
            size = next(fitting, None)
            if size is None:
                raise _refusal(workload, stage, words, 1, machine, remake)
            sizes[stage] = size
    # They share the settings of attribution.
    sizes[SCORES] = min(sizes[SCORES], sizes.get(FLOW, sizes[SCORES]))
    return sizes | {FLOW: sizes[SCORES], SWEEP: sizes[SCORES]}


def _peak(workload: Workload, stage: str, batch_size: int) -> Use:
    return _largest(workload.peaks(stage, batch_size))


def _largest(uses: Iterator[Use] | list[Use]) -> Use:
    return max(uses, key=lambda use: use.memory.total)


def _refusal(
    workload: Workload, stage: str, words: str, size: int, machine: Machine, remake: Remake
) -> ConfigError:
    """One line on what does not fit, with the first change of settings that makes it fit."""
    use = _peak(workload, stage, size)
    smallest, remedy = use.memory.total, ""
    for option, settings in _changes(workload.settings, stage):
        changed = remake(settings)
        needed = _peak(changed, stage, size).memory.total if stage in changed.stages else 0
        if needed <= machine.budget:
            remedy = f"use {option}" + (f", which needs {gigabytes(needed)}" if needed else "")
            break
        smallest = min(smallest, needed)
    else:
        needed = int(smallest / machine.share_of_memory)
        remedy = f"no setting makes it fit; take a device with {gigabytes(needed)} free"
    return ConfigError(
        f"{words} of '{use.task}' by {member_title(use.model)} needs"
        f" {gigabytes(use.memory.total)} at least, {gigabytes(use.memory.weights)} of them for the"
        f" weights of all models, and {gigabytes(machine.budget)} may be filled"
        f" ({machine.share_of_memory:.0%} of {gigabytes(machine.memory)} free): {remedy}."
    )


def _changes(settings: RunSettings, stage: str) -> Iterator[tuple[str, RunSettings]]:
    """Settings that need less memory, those that change least first."""
    half = replace(settings, models=replace(settings.models, dtype="bfloat16"))
    chunk, bfloat16 = "--attribution.chunk-size 1", "--dtype bfloat16"
    small = replace(settings.attribution, chunk_size=1)
    yield chunk, replace(settings, attribution=small)
    yield "--skip controls", replace(settings, skip=(*settings.skip, "controls"))
    yield bfloat16, half
    yield f"{bfloat16} {chunk}", replace(half, attribution=small)
    grouped = replace(half, attribution=replace(small, grouped=True))
    yield f"{bfloat16} {chunk} --attribution.grouped", grouped
    for optional in get_args(Skippable):
        if optional == stage:
            yield f"--skip {stage}", replace(settings, skip=(*settings.skip, optional))


def _check_host(workload: Workload, machine: Machine, remake: Remake) -> None:
    """Refuse a host whose memory cannot hold a chunk's scores, or those that are compared.

    Raises:
        ConfigError: with the size of a chunk, or of shards, that would fit.
    """
    if machine.host_memory is None:
        return
    room, settings = int(machine.share_of_memory * machine.host_memory), workload.settings
    if machine.shared:
        # The stage's own peak counts the chunk; models are still loaded when scores are compared.
        room -= max(model.memory.weights for model in workload.models)
    else:
        for model in workload.models:
            needed = model.chunk_bytes
            if needed > room:
                raise ConfigError(
                    f"a chunk's scores of '{model.task}' by {member_title(model.model)} take"
                    f" {gigabytes(needed)} of the host's memory, and {gigabytes(room)} may be"
                    f" filled: {_smaller_chunk(workload, model, room)}."
                )
    if workload.comparison_bytes <= room:
        return
    remedy = "no size of shards makes it fit; take a host with more memory"
    for size in possible_shards(settings.pool.num_examples):
        attribution = replace(settings.attribution, examples_per_shard=size)
        if remake(replace(settings, attribution=attribution)).comparison_bytes <= room:
            remedy = f"use --attribution.examples-per-shard {size}"
            break
    raise ConfigError(
        f"comparing scores of {workload.num_rows} {workload.unit}s takes"
        f" {gigabytes(workload.comparison_bytes)} of the host's memory, and {gigabytes(room)} may"
        f" be filled: {remedy}."
    )


def _smaller_chunk(workload: Workload, model: ModelOnTask, room: int) -> str:
    """The largest chunk of whole shards that fits."""
    per_shard = workload.settings.attribution.examples_per_shard
    chunk = workload.settings.attribution.examples_per_chunk
    while chunk and model.bytes_of_chunk(chunk) > room:
        chunk -= per_shard
    if chunk:
        return f"use --attribution.chunk-size {chunk}"
    smaller = "smaller shards, " if per_shard > 1 else ""
    return f"use {smaller}fewer steps, --pool.num-steps, or a host with more memory"


def _measured(
    workload: Workload, batch_size: int, machine: Machine, options: MachineOptions
) -> Machine:
    """The machine at the speed at which it scores the ARM's largest batch of the first task."""
    settings, model = workload.settings, workload.models[0]
    batches = model.discovery(batch_size, settings.attribution.examples_per_chunk)
    batch = max(batches, key=lambda batch: batch.tokens)
    loaded = settings.models.load(options.device).arm
    work = scoring_work(model.shape, model.graph, model.passes, batch)
    return machine.as_measured(work, measured_batch(loaded, batch, settings.attribution))


def gigabytes(number: int) -> str:
    """Bytes as a text."""
    return f"{number / GIGA:,.2f} GB"


def _task_plan(model: ModelOnTask) -> TaskPlan:
    lengths = model.lengths
    return TaskPlan(
        task=model.task,
        model=model.model,
        prompt_tokens=int((lengths.prefix + lengths.suffix).max()),
        target_tokens=int(lengths.target.max()),
        num_steps=model.num_steps,
        num_canvases=len(model.discovery(1)),
        score_bytes=model.score_bytes,
        chunk_bytes=model.chunk_bytes,
    )


def _notes(
    workload: Workload, machine: Machine, shapes: PairShape, has_tokenizer: bool, solved: float
) -> Iterator[str]:
    per_shard = workload.settings.attribution.examples_per_shard
    of = f" of {per_shard} examples each" if per_shard > 1 else ""
    yield (
        f"comparing scores of {workload.num_rows} {workload.unit}s{of} takes"
        f" {gigabytes(workload.comparison_bytes)} of the host's memory"
    )
    yield f"speed: {machine.note}"
    yield (
        f"the host is taken to rank {machine.host_elements:,.0f} edges in a second"
        " (--host-elements), as one core of a small server did"
    )
    yield (
        f"{solved:.0%} of candidates are assumed to be solved by both models (--solved); they are"
        f" decoded {DECODING_BATCH_SIZE} at a time"
    )
    if not has_tokenizer:
        yield (
            "no tokenizer of the pair is on this machine: tokens are estimated, one for each word,"
            " digit and mark"
        )
    if not shapes.read:
        yield "shapes are those of the published ARM; an MDM may pad its vocabulary differently"
    yield (
        "upper estimates: circuits, as if all their edges had different sources and destinations,"
        " and ablation, as if every control had all its draws"
    )
    yield (
        "time counts matrix products and ranked edges only, not loading, the disk, or the reading"
        " of weights that slows decoding by the token; disk counts scores, flow, semantics, circuit"
        " runs and ablation, the rest takes a few megabytes"
    )
    if machine.host_memory is None:
        yield (
            "the host's memory is not known (--host-memory-gb), so it is not checked that it holds"
            " a chunk's scores, or those that are compared"
        )
