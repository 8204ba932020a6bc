"""Schedule of a planned run on several devices, as `mechshift.run.workers` hands it out.

Stages follow each other. Within one, the work of a model on a task goes to the next device that is
free, in order; scores and flow go in chunks. The durations are the plan's, each times a factor that
scatters around 1 by `SPREAD`, drawn with a fixed seed, so that no device ends with another by
arithmetic alone.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil

import numpy as np
import polars as pl

from mechshift.run.folders import FLOW, OTHERS, SCORES
from mechshift.run.planning.plan import RunPlan, StagePlan, duration
from mechshift.run.planning.stages import READ_BYTES

IN_CHUNKS = (SCORES, OTHERS, FLOW)
"""Stages whose work on a task is cut into chunks of examples."""

SPREAD = 0.1
"""Standard deviation of a duration's logarithm: a guess."""

NUM_DEVICES = (1, 2, 4, 8, 16)


def elapsed_seconds(plan: RunPlan, num_devices: int, *, examples: int, chunk_size: int) -> float:
    """How long a run takes on so many devices, with the loading of the models.

    Args:
        plan: of the run on one.
        num_devices: at least 1.
        examples: on which edges are scored.
        chunk_size: examples in a chunk of scores.
    """
    scatter = np.random.default_rng(0)
    loading = max((peak.weights_bytes for peak in plan.memory), default=0) / READ_BYTES
    stages = groupby(plan.stages, key=lambda stage: stage.stage)
    return loading + sum(
        makespan(list(_pieces(list(stage), ceil(examples / chunk_size), scatter)), num_devices)
        for _, stage in stages
    )


def _pieces(
    stage: Sequence[StagePlan], num_chunks: int, scatter: np.random.Generator
) -> Iterator[float]:
    """Seconds of everything that is handed out in one stage."""
    for of_model in stage:
        pieces = num_chunks if of_model.stage in IN_CHUNKS else 1
        for factor in scatter.lognormal(0.0, SPREAD, size=pieces):
            yield of_model.seconds / pieces * float(factor)


def makespan(durations: Sequence[float], num_devices: int) -> float:
    """When the last device is done, where each takes the next piece as soon as it is free."""
    free = [0.0] * num_devices
    for seconds in durations:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def schedule_table(plan: RunPlan, *, examples: int, chunk_size: int) -> pl.DataFrame:
    """Time on 1 to 16 devices, and the share of their time in which they work."""
    alone, *_ = seconds = [
        elapsed_seconds(plan, number, examples=examples, chunk_size=chunk_size)
        for number in NUM_DEVICES
    ]
    return pl.DataFrame(
        {
            "devices": NUM_DEVICES,
            "time": [duration(one) for one in seconds],
            "times as fast": [alone / one for one in seconds],
            "busy": [
                f"{alone / one / number:.0%}"
                for number, one in zip(NUM_DEVICES, seconds, strict=True)
            ],
        }
    )
