"""Schedule of a planned run on several devices, as `mechshift.run.workers` hands it out.

A simulation, which nothing but its arguments decides:

1. Every worker loads the models: a machine reads them once, and all machines from one file system.
2. Stages follow each other. Within one, the work of a model on a task goes to the next device that
   is free, in order; scores and flow go in chunks. A piece takes the plan's time times a factor,
   and `HAND_OUT_SECONDS` to be handed out. The factor scatters around 1 by `SPREAD`, drawn with a
   fixed seed, so that no device ends with another by arithmetic alone.
3. A stage takes no less than what it reads and writes takes from that file system.

What devices do not compute in, they load, or wait: for the last piece of a stage, or for files.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, inf

import numpy as np
import polars as pl

from mechshift.errors import ConfigError
from mechshift.run.folders import FLOW, OTHERS, SCORES
from mechshift.run.planning.machine import GIGA, READ_BYTES
from mechshift.run.planning.plan import RunPlan, StagePlan, duration, gigabytes
from mechshift.run.stages import STAGES

IN_CHUNKS = (SCORES, OTHERS, FLOW)
"""Stages whose work on a task is cut into chunks of examples."""

SPREAD = 0.1
"""Standard deviation of a duration's logarithm: a guess."""

HAND_OUT_SECONDS = 0.01
"""From one piece to the next on a worker of a Ray cluster: 7 ms on a busy machine, 2 of them of the
processor (LOG.md)."""

NUM_DEVICES = (1, 2, 4, 8, 16)

MOST_DEVICES = 100_000
"""A typing error beyond."""


@dataclass(frozen=True, kw_only=True)
class FleetOptions:
    """On how many devices a run is planned for, besides one."""

    devices: int = 1
    """Devices of each machine, as many workers, each with its own copy of the models."""
    machines: int = 1
    """Machines of a cluster, which share a file system."""
    file_system_gb: float = 2.5
    """What all machines together read from it, or write [10^9 bytes/s]; a guess: 25 Gbit/s."""

    def __post_init__(self) -> None:
        if min(self.devices, self.machines) < 1 or self.num_workers > MOST_DEVICES:
            raise ConfigError(
                f"--devices and --machines must be at least 1, and {MOST_DEVICES:,} together at"
                f" most, not {self.devices:,} and {self.machines:,}."
            )
        if not 0 < self.file_system_gb < inf:
            raise ConfigError(
                f"--file-system-gb must be above 0 and finite, not {self.file_system_gb}."
            )

    @property
    def num_workers(self) -> int:
        return self.devices * self.machines

    @property
    def bandwidth(self) -> float:
        """Of the file system [bytes/s]; infinity: one machine has its own disk."""
        return inf if self.machines == 1 else self.file_system_gb * GIGA


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """One stage on all devices."""

    stage: str
    seconds: float
    working: float
    """What the devices compute in, added up [device seconds]."""
    moved_bytes: int
    """Read and written."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A run on several devices."""

    num_workers: int
    loading: float
    """Until the models are loaded [seconds]."""
    loaded_bytes: int
    """Weights that all machines read."""
    stages: tuple[StageTime, ...]

    @property
    def seconds(self) -> float:
        return self.loading + sum(stage.seconds for stage in self.stages)

    @property
    def working_share(self) -> float:
        """Of the devices' time, in which they compute."""
        return sum(stage.working for stage in self.stages) / self.num_workers / self.seconds

    @property
    def loading_share(self) -> float:
        return self.loading / self.seconds

    @property
    def moved_bytes(self) -> int:
        """Read and written, the weights among them."""
        return self.loaded_bytes + sum(stage.moved_bytes for stage in self.stages)


def simulate(plan: RunPlan, fleet: FleetOptions, *, examples: int, chunk_size: int) -> Schedule:
    """A run on so many devices, with the loading of the models.

    Args:
        plan: of the run on one.
        fleet: the devices.
        examples: on which edges are scored.
        chunk_size: examples in a chunk of scores.
    """
    scatter = np.random.default_rng(0)
    weights = max((peak.weights_bytes for peak in plan.memory), default=0)
    stages = []
    for name, group in groupby(plan.stages, key=lambda stage: stage.stage):
        of_models = list(group)
        pieces = list(_pieces(of_models, ceil(examples / chunk_size), scatter))
        moved = sum(one.work.disk_bytes + read_bytes(plan, one) for one in of_models)
        seconds = max(makespan(pieces, fleet.num_workers), moved / fleet.bandwidth)
        working = sum(pieces) - HAND_OUT_SECONDS * len(pieces)
        stages.append(StageTime(stage=name, seconds=seconds, working=working, moved_bytes=moved))
    loaded = weights * fleet.machines
    return Schedule(
        num_workers=fleet.num_workers,
        loading=max(weights / READ_BYTES, loaded / fleet.bandwidth),
        loaded_bytes=loaded,
        stages=tuple(stages),
    )


def read_bytes(plan: RunPlan, stage: StagePlan) -> int:
    """Scores that a piece of a stage reads: those of its own model, and the other's of the pair."""
    reads = next(one.reads for one in STAGES if one.name == stage.stage)
    if SCORES not in reads:
        return 0
    other = "mdm" if stage.model == "arm" else "arm"
    return sum(
        one.scores_bytes
        for one in plan.tasks
        if one.task == stage.task and one.model in (stage.model, other)
    )


def _pieces(
    stage: Sequence[StagePlan], num_chunks: int, scatter: np.random.Generator
) -> Iterator[float]:
    """Seconds of everything that is handed out in one stage."""
    for of_model in stage:
        pieces = num_chunks if of_model.stage in IN_CHUNKS else 1
        for factor in scatter.lognormal(0.0, SPREAD, size=pieces):
            yield of_model.seconds / pieces * float(factor) + HAND_OUT_SECONDS


def makespan(durations: Sequence[float], num_devices: int) -> float:
    """When the last device is done, where each takes the next piece as soon as it is free."""
    free = [0.0] * num_devices
    for seconds in durations:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def schedule_table(
    plan: RunPlan, fleet: FleetOptions, *, examples: int, chunk_size: int
) -> pl.DataFrame:
    """Time on 1 to 16 devices of a machine, and on the fleet; shares of the devices' time."""
    counts = [FleetOptions(devices=number) for number in NUM_DEVICES]
    if fleet not in counts:
        counts.append(fleet)
    schedules = [simulate(plan, one, examples=examples, chunk_size=chunk_size) for one in counts]
    alone = schedules[0].seconds
    return pl.DataFrame(
        {
            "devices": [one.num_workers for one in schedules],
            "machines": [one.machines for one in counts],
            "time": [duration(one.seconds) for one in schedules],
            "times as fast": [alone / one.seconds for one in schedules],
            "busy": [f"{one.working_share:.0%}" for one in schedules],
            "loading": [f"{one.loading_share:.1%}" for one in schedules],
            "waiting": [f"{1 - one.working_share - one.loading_share:.0%}" for one in schedules],
        }
    )


def fleet_table(schedule: Schedule) -> pl.DataFrame:
    """Each stage on the fleet: time, the share in which devices compute, and bytes moved [10^9]."""
    return pl.DataFrame(
        {
            "stage": [one.stage for one in schedule.stages],
            "time": [duration(one.seconds) for one in schedule.stages],
            "busy": [
                f"{one.working / schedule.num_workers / one.seconds:.0%}" if one.seconds else ""
                for one in schedule.stages
            ],
            "moved GB": [f"{one.moved_bytes / GIGA:.2f}" for one in schedule.stages],
        }
    )


def fleet_line(plan: RunPlan, fleet: FleetOptions, schedule: Schedule) -> str:
    """What the fleet needs, and loses, in one sentence each."""
    host = max((peak.total_bytes for peak in plan.memory if peak.memory == "host"), default=0)
    device = max((peak.total_bytes for peak in plan.memory if peak.memory == "device"), default=0)
    waiting = 1 - schedule.working_share - schedule.loading_share
    way = "over the network" if fleet.machines > 1 else "from and to the disk"
    return (
        f"On {fleet.machines} x {fleet.devices} devices: about {duration(schedule.seconds)};"
        f" {gigabytes(device)} of each device and {gigabytes(host * fleet.devices)} of each"
        f" machine's memory; {gigabytes(schedule.moved_bytes)} {way},"
        f" {gigabytes(schedule.loaded_bytes)} of them weights. Of the devices' time"
        f" {schedule.working_share:.0%} is work, {schedule.loading_share:.1%} loading,"
        f" {waiting:.0%} waiting."
    )
