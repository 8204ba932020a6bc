"""Schedules against ones that a hand can draw."""

import numpy as np
import pytest

from mechshift.errors import ConfigError
from mechshift.run.pair_options import PairOptions
from mechshift.run.planning import FleetOptions, plan_run, schedule_table, simulate
from mechshift.run.planning.machine import MachineOptions
from mechshift.run.planning.schedule import HAND_OUT_SECONDS, IN_CHUNKS, makespan, read_bytes
from mechshift.run.settings import RunSettings
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


@pytest.fixture(scope="module")
def plan():
    settings = RunSettings(
        models=PairOptions(pair="dream-7b", dtype="bfloat16"),
        tasks=("ioi", "countdown-3"),
        pool=PoolConfig(num_examples=500),
    )
    return plan_run(settings, A_GPU)


def on(plan, devices, machines=1, *, chunk_size=50, **options):
    fleet = FleetOptions(devices=devices, machines=machines, **options)
    return simulate(plan, fleet, examples=500, chunk_size=chunk_size)


def test_more_devices_are_never_slower_and_never_faster_than_their_number(plan):
    table = schedule_table(plan, FleetOptions(devices=64), examples=500, chunk_size=50)
    assert table["devices"].to_list() == [1, 2, 4, 8, 16, 64]
    fast = table["times as fast"].to_numpy()
    assert fast[0] == 1 and np.all(np.diff(fast) >= 0)
    assert np.all(fast <= table["devices"].to_numpy())
    loading = max(peak.weights_bytes for peak in plan.memory) / 1e9
    assert on(plan, 1).loading == loading
    assert on(plan, 1).seconds == pytest.approx(plan.seconds + loading, rel=0.1)  # they scatter
    # Chunks are what lets many devices score one task: without them four members keep four busy.
    assert on(plan, 8).seconds < on(plan, 8, chunk_size=500).seconds


def test_the_time_of_all_devices_is_work_loading_and_waiting(plan):
    alone, many = on(plan, 1), on(plan, 8)
    waiting = (1 - alone.working_share - alone.loading_share) * alone.seconds
    pieces = sum(10 if stage.stage in IN_CHUNKS else 1 for stage in plan.stages)
    assert waiting == pytest.approx(HAND_OUT_SECONDS * pieces), "one device waits for no other"
    work = sum(stage.working for stage in alone.stages)
    assert sum(stage.working for stage in many.stages) == pytest.approx(work), "the same work"
    assert many.working_share == pytest.approx(work / 8 / many.seconds)
    assert many.loading == alone.loading, "each reads what a machine has read once"


def test_machines_share_a_file_system(plan):
    """Of one so slow that nothing else counts, a run takes what is moved over its speed."""
    slow = on(plan, 1, 4, file_system_gb=1e-3)
    assert slow.loaded_bytes == 4 * max(peak.weights_bytes for peak in plan.memory)
    assert slow.seconds == pytest.approx(slow.moved_bytes / 1e6, rel=0.05)
    assert on(plan, 4).seconds < slow.seconds
    assert on(plan, 4).moved_bytes < slow.moved_bytes
    assert on(plan, 1, 4, file_system_gb=1e6).seconds == pytest.approx(on(plan, 4).seconds)


def test_a_stage_reads_the_scores_of_its_model_and_of_the_other(plan):
    stored = {(one.task, one.model): one.scores_bytes for one in plan.tasks}
    pair = stored["ioi", "arm"] + stored["ioi", "mdm"]
    read = {
        (one.stage, one.model): read_bytes(plan, one) for one in plan.stages if one.task == "ioi"
    }
    assert read["faithfulness", "arm"] == read["faithfulness", "mdm"] == pair
    assert read["comparison", "arm-full"] == stored["ioi", "arm-full"] + stored["ioi", "arm"]
    assert read["scores", "arm"] == read["pool", "arm"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "--devices and --machines must be at least 1.* not 0 and 1"),
        ({"devices": 1000, "machines": 1000}, "100,000 together at most, not 1,000 and 1,000"),
        ({"file_system_gb": 0.0}, "--file-system-gb must be above 0 and finite, not 0"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FleetOptions(**options)
