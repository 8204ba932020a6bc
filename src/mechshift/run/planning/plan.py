"""What will a run take, and which batch sizes fit? From configurations alone, before the wait."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mechshift.errors import ConfigError
from mechshift.models import PairShape, local_tokenizer, pair_shape
from mechshift.models.loading import DTYPES
from mechshift.run.planning.fitting import (
    check_decoding,
    check_host,
    fitting_batch_size,
    gigabytes,
)
from mechshift.run.planning.lengths import task_lengths
from mechshift.run.planning.machine import Machine, MachineOptions, find_machine
from mechshift.run.planning.members import run_members
from mechshift.run.planning.stages import DECODING_BATCH_SIZE, ModelOnTask, StageCost
from mechshift.run.planning.workload import Use, Workload, make_workload
from mechshift.run.scores import check_shards
from mechshift.run.settings import RunSettings
from mechshift.run.store import KINDS
from mechshift.tasks import find_tasks

SOLVED = 0.5
"""Share of candidates that both models are assumed to get right."""


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
    """Passes, FLOPs, memory and time of a run, and the batch sizes to give it."""

    pair: str
    dtype: str
    shapes: PairShape
    num_edges: int
    machine: Machine
    attribution_batch_size: int
    evaluation_batch_size: int
    tasks: tuple[TaskPlan, ...]
    stages: tuple[StagePlan, ...]
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
    def options(self) -> str:
        """What to give `mechshift run`."""
        return (
            f"--attribution.batch-size {self.attribution_batch_size}"
            f" --evaluation.batch-size {self.evaluation_batch_size}"
        )


def plan_run(
    settings: RunSettings | None = None,
    machine: MachineOptions | None = None,
    *,
    solved: float = SOLVED,
) -> RunPlan:
    """Plan a run without loading a model or asking the hub.

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
    settings = settings or RunSettings()
    check_shards(settings.pool.num_examples, settings.attribution.examples_per_shard)
    entry = settings.models.entry()
    tasks = find_tasks(settings.task_names())
    shapes, tokenizer = pair_shape(entry), local_tokenizer(entry)
    lengths = {task.name: task_lengths(task, tokenizer, KINDS) for task in tasks}
    found = find_machine(machine or MachineOptions(), DTYPES[settings.models.dtype])

    def remake(changed: RunSettings) -> Workload:
        members = run_members(entry, changed)
        return make_workload(changed, shapes, members, tasks, lengths, host_is_device=found.shared)

    workload = remake(settings)
    check_decoding(workload, found, remake)
    attribution_batch = fitting_batch_size(
        "attribution", lambda w: w.attribution, workload, found, remake
    )
    evaluation_batch = fitting_batch_size(
        "circuit evaluation", lambda w: w.evaluation, workload, found, remake
    )
    check_host(workload, found, remake)
    costs = workload.costs(attribution_batch, evaluation_batch, solved)
    return RunPlan(
        pair=entry.name,
        dtype=settings.models.dtype,
        shapes=shapes,
        num_edges=workload.models[0].graph.num_edges,
        machine=found,
        attribution_batch_size=attribution_batch,
        evaluation_batch_size=evaluation_batch,
        tasks=tuple(_task_plan(workload, model) for model in workload.models),
        stages=tuple(
            StagePlan(cost=cost, seconds=estimated_seconds(cost, found)) for cost in costs
        ),
        memory=_largest_of_each_phase(
            [
                *workload.decoding(),
                *workload.attribution(attribution_batch),
                *workload.evaluation(evaluation_batch),
            ]
        ),
        comparison_bytes=workload.comparison_bytes,
        notes=tuple(
            [_comparison_note(workload), *_notes(found, shapes, tokenizer is not None, solved)]
        ),
    )


def estimated_seconds(cost: StageCost, machine: Machine) -> float:
    """How long the matrix products take; nothing else is counted."""
    return cost.flops.model / machine.flops + cost.flops.float32 / machine.float32_flops


def _task_plan(workload: Workload, model: ModelOnTask) -> TaskPlan:
    lengths = model.lengths
    batches = model.discovery_batches(1, None)
    return TaskPlan(
        task=model.task,
        model=model.model,
        prompt_tokens=int((lengths.prefix + lengths.suffix).max()),
        target_tokens=int(lengths.target.max()),
        num_steps=model.num_steps,
        num_canvases=len(batches),
        score_bytes=workload.score_bytes(model),
        chunk_bytes=workload.chunk_bytes(model),
    )


def _largest_of_each_phase(uses: Sequence[Use]) -> tuple[Use, ...]:
    phases = dict.fromkeys(use.memory.phase for use in uses)
    return tuple(
        max((use for use in uses if use.memory.phase == phase), key=lambda use: use.memory.total)
        for phase in phases
    )


def _comparison_note(workload: Workload) -> str:
    """What is compared, and the memory that it takes."""
    per_shard = workload.settings.attribution.examples_per_shard
    of = f" of {per_shard} examples each" if per_shard > 1 else ""
    return (
        f"comparing scores of {workload.num_rows} {workload.unit}s{of} takes"
        f" {gigabytes(workload.comparison_bytes)} of the host's memory"
    )


def _notes(
    machine: Machine, shapes: PairShape, has_tokenizer: bool, solved: float
) -> Iterator[str]:
    yield f"speed: {machine.note}"
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
        "circuits are costed as if all their edges had different sources and destinations, an"
        " upper estimate"
    )
    yield (
        "not planned: flow, semantics, ablation, the sweep, what controls answer, the comparison's"
        " time; time counts matrix products only, not the disk, or the reading of weights that"
        " slows decoding by the token"
    )
    if machine.host_memory is None:
        yield (
            "the host's memory is not known (--host-memory-gb), so it is not checked that it holds"
            " a chunk's scores, or those that are compared"
        )
