"""How many canvases fit into a batch, and what would help where not even one does?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mechshift.errors import ConfigError
from mechshift.experiment.planning.machine import GIGA, Machine
from mechshift.experiment.planning.workload import Use, Workload
from mechshift.experiment.settings import RunSettings
from mechshift.experiment.stores import member_title

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


def check_host(workload: Workload, machine: Machine) -> None:
    """Refuse a host beside the device whose memory cannot hold a chunk's scores.

    Raises:
        ConfigError: with the size of a chunk that would fit.
    """
    if machine.shared or machine.host_memory is None:
        return  # where the host is the device, the stage's own peak counts the chunk
    room = int(machine.share_of_memory * machine.host_memory)
    for model in workload.models:
        needed = workload.chunk_bytes(model)
        if needed > room:
            fitting = room // workload.example_bytes(model)
            raise ConfigError(
                f"a chunk's scores of '{model.task}' by {member_title(model.model)} take"
                f" {gigabytes(needed)} of the host's memory, and {gigabytes(room)} may be filled:"
                f" {_smaller_chunk(fitting)}."
            )


def _smaller_chunk(fitting: int) -> str:
    if fitting:
        return f"use --attribution.chunk-size {fitting}"
    return "use fewer steps, --pool.num-steps, or a host with more memory"


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
