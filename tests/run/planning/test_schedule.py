"""Schedules against ones that a hand can draw."""

import numpy as np
import pytest

from mechshift.run.planning import plan_run, schedule_table
from mechshift.run.planning.machine import MachineOptions
from mechshift.run.planning.schedule import elapsed_seconds, makespan
from mechshift.run.settings import PairOptions, RunSettings
from mechshift.tasks import PoolConfig

A_GPU = MachineOptions(device="cuda", memory_gb=80.0, matmul_tflops=990.0, float32_tflops=67.0)


@pytest.mark.parametrize(
    ("durations", "devices", "wanted"),
    [
        ([], 2, 0.0),
        ([3.0, 1.0, 1.0, 1.0], 1, 6.0),
        ([3.0, 1.0, 1.0, 1.0], 2, 3.0),  # 3 | 1 1 1
        ([1.0, 1.0, 1.0, 3.0], 2, 4.0),  # 1 1 | 1 3: the slowest comes last
        ([2.0, 2.0, 2.0], 8, 2.0),
    ],
)
def test_a_piece_goes_to_the_device_that_is_free_first(durations, devices, wanted):
    assert makespan(durations, devices) == wanted


def test_more_devices_are_never_slower_and_never_faster_than_their_number():
    settings = RunSettings(
        models=PairOptions(pair="dream-7b", dtype="bfloat16"),
        tasks=("ioi", "countdown-3"),
        pool=PoolConfig(num_examples=500),
    )
    plan = plan_run(settings, A_GPU)
    table = schedule_table(plan, examples=500, chunk_size=50)
    fast = table["times as fast"].to_numpy()
    assert fast[0] == 1 and np.all(np.diff(fast) >= 0)
    assert np.all(fast <= table["devices"].to_numpy())
    alone = elapsed_seconds(plan, 1, examples=500, chunk_size=50)
    loading = max(peak.weights_bytes for peak in plan.memory) / 1e9
    assert alone == pytest.approx(plan.seconds + loading, rel=0.1)  # durations scatter
    # Chunks are what lets many devices score one task: without them four members keep four busy.
    whole = elapsed_seconds(plan, 8, examples=500, chunk_size=500)
    assert elapsed_seconds(plan, 8, examples=500, chunk_size=50) < whole
