"""How many canvases fit into a batch, and what would help where not even one does?

And does the host hold a chunk's scores, and those that are compared?
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mechshift.errors import ConfigError
from mechshift.run.planning.machine import GIGA, Machine
from mechshift.run.planning.stages import ModelOnTask
from mechshift.run.planning.workload import Use, Workload
from mechshift.run.scores import possible_shards
from mechshift.run.settings import RunSettings
from mechshift.run.store import member_title

BATCH_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Powers of two, largest first. Beyond 128 a batch pads more and computes no faster."""

Remake = Callable[[RunSettings], Workload]
"""The same work with other settings."""


def fitting_batch_size(
    stage: str,
    uses: Callable[[Workload], Callable[[int], Iterable[Use]]],
    workload: Workload,
    machine: Machine,
    remake: Remake,
) -> int:
    """The largest power of two with which a stage's peak fits the machine's budget.

    Args:
        stage: how a refusal calls it.
        uses: a workload's peaks of the stage, by batch size.
        workload: what is to be done.
        machine: where.
        remake: the work under other settings, to find some that fit.

    Raises:
        ConfigError: not even one canvas fits; the message names settings, or the memory, that would
            do.
    """
    for batch_size in BATCH_SIZES:
        if peak(uses(workload)(batch_size)).memory.total <= machine.budget:
            return batch_size
    largest = peak(uses(workload)(1))
    raise ConfigError(refusal(stage, largest, machine, _remedy(uses, workload, machine, remake)))


def check_decoding(workload: Workload, machine: Machine, remake: Remake) -> None:
    """Refuse a machine in which the pool cannot be found; its batch size is not asked for.

    Raises:
        ConfigError: see `fitting_batch_size`.
    """
    largest = peak(workload.decoding())
    if largest.memory.total > machine.budget:
        remedy = _remedy(lambda w: lambda _size: w.decoding(), workload, machine, remake)
        raise ConfigError(refusal("decoding", largest, machine, remedy))


def check_host(workload: Workload, machine: Machine, remake: Remake) -> None:
    """Refuse a host whose memory cannot hold a chunk's scores, or those that are compared.

    Raises:
        ConfigError: with the size of a chunk, or of shards, that would fit.
    """
    if machine.host_memory is None:
        return
    room = int(machine.share_of_memory * machine.host_memory)
    if machine.shared:
        # The stage's own peak counts the chunk; models are still loaded when scores are compared.
        room -= max(memory.weights for memory in workload.memory)
    else:
        _check_chunks(workload, room)
    _check_comparison(workload, room, remake)


def _check_chunks(workload: Workload, room: int) -> None:
    for model in workload.models:
        needed = workload.chunk_bytes(model)
        if needed > room:
            raise ConfigError(
                f"a chunk's scores of '{model.task}' by {member_title(model.model)} take"
                f" {gigabytes(needed)} of the host's memory, and {gigabytes(room)} may be filled:"
                f" {_smaller_chunk(workload, model, room)}."
            )


def _smaller_chunk(workload: Workload, model: ModelOnTask, room: int) -> str:
    """The largest chunk of whole shards that fits."""
    per_shard = workload.settings.attribution.examples_per_shard
    shard = (per_shard + (per_shard > 1)) * workload.example_bytes(model)
    if fitting := room // shard:
        return f"use --attribution.chunk-size {fitting * per_shard}"
    smaller = "smaller shards, " if per_shard > 1 else ""
    return f"use {smaller}fewer steps, --pool.num-steps, or a host with more memory"


def _check_comparison(workload: Workload, room: int, remake: Remake) -> None:
    needed = workload.comparison_bytes
    if needed > room:
        raise ConfigError(
            f"comparing scores of {workload.num_rows} {workload.unit}s takes {gigabytes(needed)} of"
            f" the host's memory, and {gigabytes(room)} may be filled:"
            f" {_larger_shards(workload, room, remake)}."
        )


def _larger_shards(workload: Workload, room: int, remake: Remake) -> str:
    """The smallest shards of which a comparison fits."""
    settings = workload.settings
    for size in possible_shards(settings.pool.num_examples):
        attribution = replace(settings.attribution, examples_per_shard=size)
        if remake(replace(settings, attribution=attribution)).comparison_bytes <= room:
            return f"use --attribution.examples-per-shard {size}"
    return "no size of shards makes it fit; take a host with more memory"


def peak(uses: Iterable[Use]) -> Use:
    """The largest of these."""
    return max(uses, key=lambda use: use.memory.total)


def refusal(stage: str, use: Use, machine: Machine, remedy: str) -> str:
    """One line on what does not fit."""
    return (
        f"{stage} of '{use.task}' by {member_title(use.model)} needs"
        f" {gigabytes(use.memory.total)} at least, {gigabytes(use.memory.weights)} of them for the"
        f" weights of all models, and {gigabytes(machine.budget)} may be filled"
        f" ({machine.share_of_memory:.0%} of {gigabytes(machine.memory)} free): {remedy}."
    )


def gigabytes(number: int) -> str:
    """Bytes as a text."""
    return f"{number / GIGA:,.2f} GB"


def _remedy(
    uses: Callable[[Workload], Callable[[int], Iterable[Use]]],
    workload: Workload,
    machine: Machine,
    remake: Remake,
) -> str:
    """The first change of settings that makes a batch of one fit, or the memory that would do."""
    smallest = peak(uses(workload)(1)).memory.total
    for words, settings in _changes(workload.settings):
        needed = peak(uses(remake(settings))(1)).memory.total
        if needed <= machine.budget:
            return f"use {words}, which needs {gigabytes(needed)}"
        smallest = min(smallest, needed)
    needed = int(smallest / machine.share_of_memory)
    return f"no setting makes it fit; take a device with {gigabytes(needed)} free"


def _changes(settings: RunSettings) -> Iterator[tuple[str, RunSettings]]:
    """Settings that need less memory, those that change least first."""
    models, attribution = settings.models, settings.attribution
    half = replace(settings, models=replace(models, dtype="bfloat16"))
    alone = replace(settings, skip=(*settings.skip, "controls"))
    small_chunk = replace(attribution, chunk_size=1)
    grouped = replace(small_chunk, grouped=True)
    yield "--attribution.chunk-size 1", replace(settings, attribution=small_chunk)
    yield "--skip controls", alone
    yield "--dtype bfloat16", half
    yield (
        "--dtype bfloat16 --attribution.chunk-size 1",
        replace(half, attribution=small_chunk),
    )
    yield (
        "--dtype bfloat16 --attribution.chunk-size 1 --attribution.grouped",
        replace(half, attribution=grouped),
    )
