"""Plan of a run from configurations alone, before the wait: its costs, and batch sizes that fit.

A machine that cannot hold a run is refused in one line, with settings, or memory, that would do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import polars as pl

from mechshift.attribution import attribute
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import ConfigError
from mechshift.models import OFFLOAD, PairShape, local_tokenizer, pair_shape
from mechshift.models.loading import DTYPES
from mechshift.run.folders import COMPARISON, REPORT, member_title
from mechshift.run.planning.costs import Work, scoring
from mechshift.run.planning.machine import (
    BROUGHT_BYTES,
    GIGA,
    READ_BYTES,
    TERA,
    Machine,
    MachineOptions,
    find_machine,
    timed,
)
from mechshift.run.planning.memory import Peak, chunk_bytes
from mechshift.run.planning.stages import PLANNED, REPORT_SECONDS, score_bytes, wanted_stages
from mechshift.run.planning.workload import (
    DECODING_BATCH_SIZE,
    ModelOnTask,
    example_lengths,
    models_on_tasks,
    sampled_examples,
)
from mechshift.run.scores import check_shards, possible_shards
from mechshift.run.settings import RunSettings, Skippable
from mechshift.tasks import Task, encode_example, load_tasks

SOLVED = 0.5
"""Share of candidates that both models are assumed to get right."""

NUM_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Batch sizes that are tried: powers of two, largest first. Beyond 128 a batch pads more and
computes no faster."""

Models = Sequence[ModelOnTask]
"""Every model of a run on every task."""

Remake = Callable[[RunSettings], Models]
"""The same work with other settings."""


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """The size of one task for one model."""

    task: str
    model: str
    prompt: int
    """Of the longest example that was looked at, with its suffix [tokens]."""
    target: int
    """The same [tokens]."""
    steps: int
    """Denoising steps that are scored."""
    canvases: int
    """For discovery, of all examples."""
    scores_bytes: int
    """Scores of all examples, or shards of them, steps and edges, on disk."""
    chunk_bytes: int
    """What the host's memory holds at once while they are made."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """Work of one stage for one model on one task, and how long it is estimated to take."""

    stage: str
    """Its name in `mechshift.run.STAGES`."""
    task: str
    """Empty for what is done for all tasks together."""
    model: str
    """`arm`, `mdm`, or the name of a control; empty for what belongs to no model."""
    work: Work
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Passes, FLOPs, memory, disk and time of a run, and the batch sizes to give it."""

    pair: str
    dtype: str
    shapes: PairShape
    num_edges: int
    machine: Machine
    batch_sizes: Mapping[str, int]
    """Largest that fit, by the settings that have them: `attribution`, `evaluation` and so on."""
    tasks: tuple[TaskPlan, ...]
    stages: tuple[StagePlan, ...]
    """In the order in which they are run."""
    notes: tuple[str, ...]
    """What was assumed."""

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        return sum(stage.work.disk_bytes for stage in self.stages)

    @property
    def memory(self) -> tuple[Peak, ...]:
        """The largest peak of each phase."""
        largest: dict[str, Peak] = {}
        for peak in (peak for stage in self.stages for peak in stage.work.peaks):
            if peak.phase not in largest or peak.total_bytes > largest[peak.phase].total_bytes:
                largest[peak.phase] = peak
        return tuple(largest.values())

    @property
    def options(self) -> str:
        """What to give `mechshift run`."""
        sizes = self.batch_sizes.items()
        return " ".join(f"--{settings}.batch-size {size}" for settings, size in sizes)


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
    entry, tasks = settings.models.entry(), load_tasks(settings.task_names())
    shapes, tokenizer = pair_shape(entry), local_tokenizer(entry)
    found = find_machine(options, DTYPES[settings.models.dtype])
    examples = [(task, sampled_examples(task, tokenizer)) for task in tasks]

    def remake(changed: RunSettings) -> Models:
        return models_on_tasks(
            changed,
            entry,
            shapes,
            examples,
            tokenizer,
            solved=solved,
            shared=found.shared,
            held=found.held_weights,
        )

    models = remake(settings)
    sizes = fitting_batch_sizes(models, found, remake)
    if options.measure:
        found = _measured(models[0], tasks[0], sizes["attribution"], found, options)
    stages = [
        StagePlan(
            stage=name,
            task=model.task,
            model=model.name,
            work=work,
            seconds=found.seconds(work, model.brought),
        )
        for name, stage in wanted_stages(settings).items()
        for model, work in _works(models, name, sizes.get(stage.option, 1))
    ]
    report = Work(host_seconds=REPORT_SECONDS)
    stages.append(StagePlan(stage=REPORT, task="", model="", work=report, seconds=REPORT_SECONDS))
    return RunPlan(
        pair=entry.name,
        dtype=settings.models.dtype,
        shapes=shapes,
        num_edges=models[0].graph.num_edges,
        machine=found,
        batch_sizes=sizes,
        tasks=tuple(map(_task_plan, models)),
        stages=tuple(stages),
        notes=tuple(_notes(models[0], found, shapes, tokenizer is not None)),
    )


def fitting_batch_sizes(models: Models, machine: Machine, remake: Remake) -> dict[str, int]:
    """The largest power of two with which all peaks fit, for all settings that have a batch size.

    Raises:
        ConfigError: not even one canvas fits, or what no batch size changes; the message names
            settings, or the memory, that would do.
    """
    sizes: dict[str, int] = {}
    for name, stage in wanted_stages(models[0].settings).items():
        # Stages that share settings share a size, which fits all of them.
        at_most = sizes.get(stage.option, NUM_SIZES[0]) if stage.option else 1
        for size in (size for size in NUM_SIZES if size <= at_most):
            beyond = _beyond(models, name, size, machine)
            if beyond is None:
                sizes[stage.option] = size
                break
        else:
            assert beyond is not None
            raise _refusal(models, name, beyond, machine, remake)
    sizes.pop("", None)
    return sizes


def _works(models: Models, name: str, batch_size: int) -> Iterator[tuple[ModelOnTask, Work]]:
    """What a stage does for every model on every task that it is about."""
    for model in models:
        if PLANNED[name].is_about(model.name):
            yield model, PLANNED[name].work(model, batch_size)


def _beyond(models: Models, name: str, batch_size: int, machine: Machine) -> Peak | None:
    """The largest of a stage's peaks that do not fit."""
    peaks = (peak for _, work in _works(models, name, batch_size) for peak in work.peaks)
    beyond = [peak for peak in peaks if peak.total_bytes > machine.budget(peak.memory)]
    return max(beyond, key=lambda peak: peak.total_bytes, default=None)


def _refusal(
    models: Models, name: str, peak: Peak, machine: Machine, remake: Remake
) -> ConfigError:
    """One line on what does not fit, with the first change of settings that makes it fit."""
    smallest = peak.total_bytes
    for option, settings in _changes(models[0].settings, name):
        changed = remake(settings) if name in wanted_stages(settings) else []
        beyond = _beyond(changed, name, 1, machine)
        if beyond is None:
            remedy = f"use {option}"
            break
        smallest = min(smallest, beyond.total_bytes)
    else:
        free = gigabytes(smallest / machine.share_of_memory)
        remedy = f"no setting makes it fit; take a {peak.memory} with {free} free"
    budget, share = machine.budget(peak.memory), machine.share_of_memory
    weights = f", {gigabytes(peak.weights_bytes)} of them for the weights of all models,"
    return ConfigError(
        f"{PLANNED[name].called} of '{peak.task}' by {member_title(peak.model)} needs"
        f" {gigabytes(peak.total_bytes)} of the {peak.memory}'s memory at least"
        f"{weights if peak.weights_bytes else ''} and {gigabytes(budget)} may be filled"
        f" ({share:.0%} of {gigabytes(budget / share)} free): {remedy}."
    )


def _changes(settings: RunSettings, stage: str) -> Iterator[tuple[str, RunSettings]]:
    """Settings that need less memory, those that change least first."""
    own, skip = settings.attribution, settings.skip
    size = own.chunk_size
    while (size := size // 2) >= own.examples_per_shard:
        smaller = replace(own, chunk_size=size)
        yield f"--attribution.chunk-size {size}", replace(settings, attribution=smaller)
    for size in possible_shards(settings.pool.num_examples) if stage == COMPARISON else ():
        shards = replace(own, examples_per_shard=size)
        yield f"--attribution.examples-per-shard {size}", replace(settings, attribution=shards)
    yield "--skip controls", replace(settings, skip=(*skip, "controls"))
    half = replace(settings, models=replace(settings.models, dtype="bfloat16"))
    yield "--dtype bfloat16", half
    least = replace(own, chunk_size=1, grouped=True)
    words = "--dtype bfloat16 --attribution.chunk-size 1 --attribution.grouped"
    yield words, replace(half, attribution=least)
    for optional in get_args(Skippable):
        if optional == stage:
            yield f"--skip {stage}", replace(settings, skip=(*skip, optional))


def _measured(
    model: ModelOnTask, task: Task, batch_size: int, machine: Machine, options: MachineOptions
) -> Machine:
    """The machine at the speed at which it scores a batch of the ARM's, of the first task."""
    settings = model.settings
    arm = settings.models.load(options.device).arm
    batch_size = min(batch_size, settings.attribution.examples_per_chunk)
    sampled = sampled_examples(task, arm.tokenizer)
    lengths = tuple(example_lengths(task, one, arm.tokenizer, "arm") for one in sampled)
    encoded = [encode_example(task, one, arm.tokenizer, "arm") for one in sampled]
    batch = [encoded[row % len(encoded)] for row in range(batch_size)]
    schedule = left_to_right([len(one.target_ids) for one in batch], settings.pool.num_steps)
    canvases = build_canvases(arm, batch, schedule)
    seconds = timed(
        lambda: attribute(
            arm,
            canvases,
            metric=model.metric,
            method=settings.attribution.method,
            grouped=settings.attribution.grouped,
            batch_size=batch_size,
            **settings.attribution.options(),
        ),
        arm.device,
    )
    own = left_to_right([one.target for one in lengths], settings.pool.num_steps)
    measured = replace(model, examples=lengths)
    work = scoring(measured, measured.canvases(batch_size, batch_size, schedule=own))
    return machine.as_measured(work, seconds)


def gigabytes(number: int | float) -> str:
    """Bytes as a text."""
    return f"{number / GIGA:,.2f} GB"


def _task_plan(model: ModelOnTask) -> TaskPlan:
    return TaskPlan(
        task=model.task,
        model=model.name,
        prompt=max(one.prefix + one.suffix for one in model.examples),
        target=max(one.target for one in model.examples),
        steps=model.schedule.num_steps,
        canvases=len(model.discovery(1)),
        scores_bytes=score_bytes(model, model.schedule.num_steps, by_step=model.is_read_by_step),
        chunk_bytes=chunk_bytes(model),
    )


def _notes(
    model: ModelOnTask, machine: Machine, shapes: PairShape, has_tokenizer: bool
) -> Iterator[str]:
    yield f"speed: {machine.note}"
    yield (
        f"{model.solved:.0%} of candidates are assumed to be solved by both models (--solved); they"
        f" are decoded {DECODING_BATCH_SIZE} at a time"
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
        "time counts matrix products, and the comparison as of one core; not loading, the disk, or"
        " the reading of weights that slows decoding by the token; disk counts scores, flow and"
        " semantics, the rest takes a few megabytes"
    )
    if model.brought:
        yield (
            f"{gigabytes(model.brought)} of the ARM's weights lie elsewhere (--device"
            f" ...{OFFLOAD}), and are brought for every pass at"
            f" {(READ_BYTES if machine.shared else BROUGHT_BYTES) / GIGA:.0f} GB/s; that the host"
            " holds them is not checked"
        )
    if machine.host_memory is None:
        yield (
            "the host's memory is not known (--host-memory-gb), so it is not checked that it holds"
            " a chunk's scores, or those that are compared"
        )


def task_table(plan: RunPlan) -> pl.DataFrame:
    """The sizes of each task, and of its scores [10^9 bytes]."""
    return _in_gigabytes(pl.DataFrame(plan.tasks))


def memory_table(plan: RunPlan) -> pl.DataFrame:
    """The peak of each phase, and whose it is [10^9 bytes]."""
    return _in_gigabytes(pl.DataFrame(plan.memory))


def _in_gigabytes(table: pl.DataFrame) -> pl.DataFrame:
    """The table with members as they are titled, and without long names of columns."""
    return table.select(
        pl.col("model").map_elements(member_title, pl.String)
        if name == "model"
        else (pl.col(name) / GIGA).alias(f"{name.removesuffix('_bytes')} GB")
        if name.endswith("_bytes")
        else name
        for name in table.columns
    )


def stage_table(plan: RunPlan) -> pl.DataFrame:
    """Passes, operations [10^12], disk [10^9 bytes] and time of each stage on each task.

    All models together; the last row is the sum.
    """
    groups: dict[tuple[str, str], list[StagePlan]] = {}
    for stage in plan.stages:
        groups.setdefault((stage.stage, stage.task), []).append(stage)
    groups["all", ""] = list(plan.stages)
    rows = []
    for (name, task), stages in groups.items():
        work = sum((stage.work for stage in stages), Work())
        teraflops = (work.flops + work.float32_flops) / TERA
        rows.append(
            {
                "stage": name,
                "task": task,
                "forward": work.forward_passes,
                "backward": work.backward_passes,
                "circuits": work.circuit_runs,
                "TFLOP": f"{teraflops:,.0f}" if teraflops >= 100 else f"{teraflops:.3g}",
                "disk GB": f"{work.disk_bytes / GIGA:.3f}",
                "time": duration(sum(stage.seconds for stage in stages)),
            }
        )
    return pl.DataFrame(rows)


def duration(seconds: float) -> str:
    """A length of time in two units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d} h"
