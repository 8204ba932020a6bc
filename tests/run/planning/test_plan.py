"""Whole plans: batch sizes that fit, and refusals that say what would."""

import json
import re
from dataclasses import replace

import pytest

from mechshift.errors import ConfigError
from mechshift.run import AttributionSettings, PairOptions, RunSettings
from mechshift.run.planning import (
    MachineOptions,
    memory_table,
    plan_run,
    stage_table,
    task_table,
)
from mechshift.run.planning.plan import duration
from mechshift.run.stages import STAGES
from mechshift.tasks import PoolConfig

H100 = MachineOptions(memory_gb=80.0, matmul_tflops=990.0)
DREAM = RunSettings(
    models=PairOptions(pair="dream-7b", dtype="bfloat16"),
    tasks=("ioi",),
    pool=PoolConfig(num_examples=200, num_held_out=100),
    skip=("controls",),
)
TINY = RunSettings(tasks=("ioi",), pool=PoolConfig(num_examples=40, num_held_out=20))


def cpu(memory_gb):
    return MachineOptions(device="cpu", memory_gb=memory_gb, matmul_tflops=0.1)


@pytest.fixture(scope="module")
def dream():
    return plan_run(DREAM, H100)


def test_a_7b_pair_is_planned_from_its_shape_alone(dream):
    assert dream.num_edges == 935_747
    on_device = [peak for peak in dream.memory if peak.memory == "device"]
    assert {peak.weights_bytes for peak in on_device} == {2 * 2 * 7_615_616_512}
    assert " ".join(peak.phase for peak in dream.memory) == (
        "decode gradients contract chunk flow read circuits ablate compare"
    )
    assert all(peak.total_bytes <= dream.machine.budget("device") for peak in on_device)
    assert {task.scores_bytes for task in dream.tasks} == {200 * 935_747 * 4}
    notes = " ".join(dream.notes)
    assert "tokens are estimated" in notes and "those of the published ARM" in notes


def test_what_a_device_does_not_hold_of_the_weights_is_brought_for_every_pass(dream):
    """Of each model 10 GB stay, and one readout is there at a time."""
    device = "cuda+offload=10"
    small = replace(H100, memory_gb=36.0)
    with pytest.raises(ConfigError, match="needs .* of the device's memory"):
        plan_run(DREAM, small)
    plan = plan_run(DREAM, replace(small, device=device))
    shape, size = plan.shapes.arm, 2 * 7_615_616_512
    on_device = 2 * 10 * 10**9 + 2 * shape.vocab_size * shape.d_model
    assert {peak.weights_bytes for peak in plan.memory if peak.memory == "device"} == {on_device}
    (slow,) = (one for one in plan.stages if (one.stage, one.model) == ("ablation", "mdm"))
    passes = slow.work.forward_passes + slow.work.backward_passes + slow.work.circuit_runs
    bringing = passes * (size - 10 * 10**9) / 25e9
    assert slow.seconds == pytest.approx(plan.machine.seconds(slow.work) + bringing)
    assert any("5.23 GB of the ARM's weights lie elsewhere" in note for note in plan.notes)
    assert not any("elsewhere" in note for note in dream.notes)


def test_the_chosen_batch_is_the_largest_power_of_two_that_fits():
    without_flow = replace(DREAM, skip=("controls", "flow"))
    plan = plan_run(without_flow, replace(H100, memory_gb=45.0))
    size = plan.batch_sizes["attribution"]
    assert 1 < size < 128 and size.bit_count() == 1
    (gradients,) = (peak for peak in plan.memory if peak.phase == "gradients")
    assert gradients.weights_bytes + 2 * gradients.made_bytes > plan.machine.budget("device")


def test_more_memory_never_takes_smaller_batches():
    sizes = [
        plan_run(DREAM, replace(H100, memory_gb=gb)).batch_sizes["attribution"]
        for gb in (48.0, 141.0)
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_time_is_operations_over_speed_and_halves_on_a_machine_twice_as_fast(dream):
    twice = plan_run(DREAM, replace(H100, matmul_tflops=2 * 990.0))
    for stage, faster in zip(dream.stages, twice.stages, strict=True):
        on_device, host = stage.seconds - stage.work.host_seconds, faster.work.host_seconds
        assert on_device == pytest.approx(2 * (faster.seconds - host))
        if stage.stage in ("comparison", "conclusions", "report"):
            assert stage.seconds == host > 0
    stage = next(stage for stage in dream.stages if stage.stage == "scores")
    float32 = stage.work.float32_flops / (0.4 * 990e12 / 16)
    assert stage.seconds == pytest.approx(stage.work.flops / (0.4 * 990e12) + float32)


def test_a_run_takes_the_disk_of_all_its_stages(dream):
    """Scores of the pool's examples, and of those that not both models solve, are most of it."""
    others = sum(one.work.disk_bytes for one in dream.stages if one.stage == "others")
    scores = sum(task.scores_bytes for task in dream.tasks) + others
    assert others > 0 and scores < dream.disk_bytes < 1.1 * scores


def test_weights_that_do_not_fit_are_refused_with_the_dtype_that_would():
    large = replace(DREAM, models=PairOptions(pair="dream-7b"))
    with pytest.raises(ConfigError, match=r"60\.92 GB of them.*: use --dtype bfloat16\.$"):
        plan_run(large, replace(H100, memory_gb=70.0))


def test_where_no_setting_helps_the_memory_is_named_and_is_enough():
    with pytest.raises(ConfigError, match="no setting makes it fit; take a device with") as refused:
        plan_run(DREAM, replace(H100, memory_gb=24.0))
    needed = float(re.search(r"device with ([\d.]+) GB free", str(refused.value))[1])
    assert 30 < needed < 60
    # The text rounds to hundredths; the attribution may need more than the stage that was refused.
    with pytest.raises(ConfigError) as refused_again:
        plan_run(DREAM, replace(H100, memory_gb=needed + 0.01))
    assert "decoding" in str(refused.value) and "decoding" not in str(refused_again.value)


def in_chunks(size, settings):
    return replace(settings, attribution=replace(settings.attribution, chunk_size=size))


def test_a_chunk_that_does_not_fit_beside_the_models_is_refused_with_a_smaller_one():
    settings = replace(
        in_chunks(4000, DREAM),
        models=PairOptions(pair="diffugpt-s"),
        pool=replace(DREAM.pool, num_examples=4000),
    )
    with pytest.raises(ConfigError, match="attribution of 'ioi'.*use --attribution.chunk-size"):
        plan_run(settings, cpu(1.6))


def test_a_chunk_that_the_host_cannot_hold_is_refused_with_one_that_it_can():
    shards = AttributionSettings(chunk_size=1500, examples_per_shard=50)
    settings = replace(DREAM, pool=replace(DREAM.pool, num_examples=1500), attribution=shards)
    options = replace(H100, host_memory_gb=4.5)
    message = "'ioi' by ARM needs 5.73 GB of the host's memory at least and 3.60 GB may be filled"
    with pytest.raises(ConfigError, match=message) as refused:
        plan_run(settings, options)
    fitting = int(re.search(r"--attribution.chunk-size (\d+)", str(refused.value))[1])
    assert plan_run(in_chunks(fitting, settings), options).tasks[0].chunk_bytes <= 0.8 * 4.5e9
    with pytest.raises(ConfigError, match="attribution of 'ioi'"):
        plan_run(in_chunks(2 * fitting, settings), options)


def in_shards(size):
    return replace(DREAM, attribution=AttributionSettings(examples_per_shard=size))


def test_a_comparison_that_the_host_cannot_hold_is_refused_with_shards_that_it_can():
    options = replace(H100, host_memory_gb=6.0)
    message = r"comparing scores of 'ioi' by MDM needs 5.92 GB of the host's memory at least and 4"
    with pytest.raises(ConfigError, match=message) as refused:
        plan_run(DREAM, options)
    fitting = int(re.search(r"--attribution.examples-per-shard (\d+)", str(refused.value))[1])
    (compared,) = (
        peak for peak in plan_run(in_shards(fitting), options).memory if peak.phase == "compare"
    )
    assert compared.total_bytes <= 0.8 * 6e9
    smaller = max(size for size in (1, 2, 4, 5) if size < fitting)
    with pytest.raises(ConfigError, match="comparing scores"):
        plan_run(in_shards(smaller), options)


def test_a_host_that_holds_nothing_is_refused_with_the_memory_that_would_do():
    with pytest.raises(ConfigError, match=r"comparing.*no setting makes it fit; take a host with"):
        plan_run(DREAM, replace(H100, host_memory_gb=1.0))
    # One example's scores take 3.7 MB.
    with pytest.raises(ConfigError, match=r"attribution.*; take a host with 0\.00 GB free"):
        plan_run(DREAM, replace(H100, host_memory_gb=0.001))


def test_a_shared_machine_must_hold_the_models_beside_the_comparison():
    settings = replace(
        DREAM,
        models=PairOptions(pair="diffugpt-s"),
        pool=replace(DREAM.pool, num_examples=20_000),
    )
    message = "comparing scores .* 1.00 GB of them for the weights .* use --attribution.examples"
    with pytest.raises(ConfigError, match=message):
        plan_run(settings, cpu(8.0))


def test_shards_that_a_run_would_refuse_are_not_planned():
    with pytest.raises(ConfigError, match="a pool of 200 examples cannot be scored in shards of 3"):
        plan_run(in_shards(3), H100)


def test_shards_take_so_many_times_less_disk(dream):
    plan = plan_run(in_shards(20), H100)
    saved = [task.scores_bytes / 20 for task in dream.tasks]
    assert [task.scores_bytes for task in plan.tasks] == saved


def test_the_options_name_a_batch_size_for_every_stage_that_has_one():
    plan = plan_run(replace(TINY, also=("sweep", "alternatives")), cpu(2.0))
    names = ("attribution", "semantics", "evaluation", "ablation", "sweep", "alternatives")
    assert re.findall(r"--(\w+)\.batch-size \d+", plan.options) == list(names)
    few = plan_run(replace(TINY, skip=("semantics", "ablation", "flow")), cpu(2.0))
    assert list(few.batch_sizes) == ["attribution", "evaluation"]


def test_a_stage_that_does_not_fit_can_be_skipped():
    settings = replace(
        DREAM,
        models=PairOptions(pair="diffugpt-s", dtype="bfloat16"),
        tasks=("countdown-3",),
        pool=PoolConfig(num_examples=20, num_held_out=20),
        attribution=AttributionSettings(method="exact", edges_per_pass=1, chunk_size=1),
    )
    with pytest.raises(ConfigError, match="flow of 'countdown-3' by ARM needs.*use --skip flow."):
        plan_run(settings, replace(H100, memory_gb=1.2))


def test_a_measured_batch_of_a_task_file_says_how_fast_the_machine_is(tmp_path):
    line = {
        "prompt": "When Mary and John went to the store, John gave a drink to",
        "corrupted_prompt": "When Mary and John went to the store, Mary gave a drink to",
        "target": " Mary",
        "distractor": " John",
    }
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    options, own = MachineOptions(device="cpu"), replace(in_chunks(10, TINY), tasks=(str(path),))
    plan = plan_run(own, replace(options, measure=True))
    assert plan.tasks[0].task == "own" and plan.tasks[0].target == 1
    seconds = float(re.search(r"one batch of scores took ([\d.]+) s", plan.machine.note)[1])
    assert 0 < seconds < 300
    guessed = plan_run(TINY, options)
    ratio = plan.machine.flops / guessed.machine.flops
    # Of a small model whole passes reach less than a large product, but not a hundredth of it.
    assert 0.01 < ratio < 3


def test_the_embedded_pair_fits_a_small_computer_with_its_own_tokenizer():
    plan = plan_run(TINY, cpu(2.0))
    assert (plan.batch_sizes["attribution"], plan.num_edges) == (128, 1108)
    assert not any("estimated" in note for note in plan.notes)


def test_a_share_of_solved_candidates_is_a_share():
    with pytest.raises(ConfigError, match=r"solved is a share in \(0, 1\], not 0"):
        plan_run(TINY, cpu(2.0), solved=0.0)


def test_tables_hold_the_numbers_of_the_plan(dream):
    stages = stage_table(dream)
    names = [stage.name for stage in STAGES if stage.is_wanted(DREAM)]
    assert stages["stage"].to_list() == [*names, "all"]
    assert stages["forward"][-1] == sum(stage.work.forward_passes for stage in dream.stages)
    memory = memory_table(dream)
    assert memory["phase"].to_list() == [peak.phase for peak in dream.memory]
    total = [peak.total_bytes / 1e9 for peak in dream.memory]
    assert memory["total GB"].to_list() == pytest.approx(total)
    assert (memory["weights GB"] + memory["made GB"]).to_list() == pytest.approx(total)
    tasks = task_table(dream)
    assert tasks["scores GB"][0] == pytest.approx(dream.tasks[0].scores_bytes / 1e9)
    assert tasks["model"].to_list() == ["ARM", "MDM"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.26, "4.3 s"), (61.0, "1:01 min"), (3599.6, "1:00 h")]
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text
