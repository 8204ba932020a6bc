"""Whole plans: batch sizes that fit, and refusals that say what would."""

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
from mechshift.run.planning.tables import duration
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
    assert {use.memory.weights for use in dream.memory} == {2 * 2 * 7_615_616_512}
    assert [use.memory.phase for use in dream.memory] == [
        "decode",
        "gradients",
        "contract",
        "flow",
        "read",
        "circuits",
        "ablate",
    ]
    assert all(use.memory.total <= dream.machine.budget for use in dream.memory)
    notes = " ".join(dream.notes)
    assert "tokens are estimated" in notes and "those of the published ARM" in notes


def test_the_scores_of_a_7b_pair_are_four_bytes_for_each_example_and_edge(dream):
    assert {task.score_bytes for task in dream.tasks} == {200 * 935_747 * 4}


def test_the_chosen_batch_is_the_largest_power_of_two_that_fits():
    without_flow = replace(DREAM, skip=("controls", "flow"))
    plan = plan_run(without_flow, replace(H100, memory_gb=45.0))
    size = plan.attribution_batch_size
    assert 1 < size < 128 and size.bit_count() == 1
    gradients = next(use.memory for use in plan.memory if use.memory.phase == "gradients")
    per_canvas = (gradients.total - gradients.weights) / size
    assert gradients.weights + 2 * size * per_canvas > plan.machine.budget


def test_more_memory_never_takes_smaller_batches():
    sizes = [
        plan_run(DREAM, replace(H100, memory_gb=gb)).attribution_batch_size
        for gb in (48.0, 80.0, 141.0)
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_time_is_operations_over_speed_and_halves_on_a_machine_twice_as_fast(dream):
    twice = plan_run(DREAM, replace(H100, matmul_tflops=2 * 990.0))
    for stage, faster in zip(dream.stages, twice.stages, strict=True):
        if stage.cost.flops.total:
            assert stage.seconds == pytest.approx(2 * faster.seconds)
    stage = next(stage for stage in dream.stages if stage.cost.stage == "scores")
    assert stage.seconds == pytest.approx(
        stage.cost.flops.model / (0.4 * 990e12) + stage.cost.flops.float32 / (0.4 * 990e12 / 16)
    )


def test_the_comparison_is_timed_by_the_edges_that_the_host_ranks(dream):
    (stage,) = (stage for stage in dream.stages if stage.cost.stage == "comparison")
    host = stage.cost.host
    assert host.elements > 935_747 * 20_000 and stage.cost.flops.total == 0
    faster = plan_run(DREAM, replace(H100, host_elements=1e9))
    (other,) = (stage for stage in faster.stages if stage.cost.stage == "comparison")
    assert stage.seconds - other.seconds == pytest.approx(host.elements * (1 / 4e7 - 1 / 1e9))


def test_a_run_takes_the_disk_of_all_its_stages(dream):
    scores = sum(task.score_bytes for task in dream.tasks)
    assert scores < dream.disk_bytes < 1.2 * scores


def test_weights_that_do_not_fit_are_refused_with_the_dtype_that_would():
    large = replace(DREAM, models=PairOptions(pair="dream-7b"))
    with pytest.raises(ConfigError, match=r"60\.92 GB of them.*use --dtype bfloat16, which needs"):
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


def test_a_chunk_that_does_not_fit_is_refused_with_a_smaller_one():
    settings = replace(
        DREAM,
        models=PairOptions(pair="diffugpt-s"),
        attribution=AttributionSettings(chunk_size=4000),
    )
    with pytest.raises(ConfigError, match="attribution of 'ioi'.*use --attribution.chunk-size 1"):
        plan_run(replace(settings, pool=replace(DREAM.pool, num_examples=4000)), cpu(1.6))


def test_a_chunk_that_the_host_cannot_hold_is_refused_with_one_that_it_can():
    settings = replace(
        DREAM,
        pool=replace(DREAM.pool, num_examples=1500),
        attribution=AttributionSettings(chunk_size=1500, examples_per_shard=50),
    )
    options = replace(H100, host_memory_gb=4.5)
    message = "scores of 'ioi' by ARM take 5.73 GB of the host's memory, and 3.60 GB may be filled"
    with pytest.raises(ConfigError, match=message) as refused:
        plan_run(settings, options)
    fitting = int(re.search(r"--attribution.chunk-size (\d+)", str(refused.value))[1])

    def chunked(size):
        return replace(settings, attribution=replace(settings.attribution, chunk_size=size))

    assert fitting % 50 == 0
    assert plan_run(chunked(fitting), options).tasks[0].chunk_bytes <= 0.8 * 4.5e9
    with pytest.raises(ConfigError, match="a chunk's scores"):
        plan_run(chunked(fitting + 1), options)


def test_more_examples_take_no_more_of_the_host_to_score():
    """Chunks are joined in a file; what grows is the comparison."""
    plans = {
        count: plan_run(
            replace(DREAM, pool=replace(DREAM.pool, num_examples=count)),
            replace(H100, host_memory_gb=50.0),
        )
        for count in (200, 2000)
    }
    assert plans[2000].tasks[0].score_bytes > 7e9
    assert {plan.tasks[0].chunk_bytes for plan in plans.values()} == {50 * 935_747 * 4}
    assert plans[2000].comparison_bytes > 5 * plans[200].comparison_bytes


def test_a_comparison_that_the_host_cannot_hold_is_refused_with_shards_that_it_can():
    options = replace(H100, host_memory_gb=6.0)
    message = r"comparing scores of 200 examples takes 5.92 GB of the host's memory, and 4.80 GB"
    with pytest.raises(ConfigError, match=message) as refused:
        plan_run(DREAM, options)
    fitting = int(re.search(r"--attribution.examples-per-shard (\d+)", str(refused.value))[1])
    plan = plan_run(replace(DREAM, attribution=in_shards(fitting)), options)
    assert plan.comparison_bytes <= 0.8 * 6e9
    smaller = max(size for size in (1, 2, 4, 5) if size < fitting)
    with pytest.raises(ConfigError, match="comparing scores"):
        plan_run(replace(DREAM, attribution=in_shards(smaller)), options)


def test_a_comparison_that_no_shards_make_fit_says_so():
    with pytest.raises(ConfigError, match="no size of shards makes it fit; take a host with more"):
        plan_run(DREAM, replace(H100, host_memory_gb=1.0))


def test_a_shared_machine_must_hold_the_models_beside_the_comparison():
    settings = replace(
        DREAM,
        models=PairOptions(pair="diffugpt-s"),
        pool=replace(DREAM.pool, num_examples=20_000),
    )
    with pytest.raises(ConfigError, match="comparing scores of 20000 examples takes .* use --attr"):
        plan_run(settings, cpu(8.0))


def in_shards(size):
    return AttributionSettings(examples_per_shard=size)


def test_shards_take_so_many_times_less_disk_and_memory(dream):
    plan = plan_run(replace(DREAM, attribution=in_shards(20)), H100)
    assert [task.score_bytes for task in plan.tasks] == [
        task.score_bytes / 20 for task in dream.tasks
    ]
    # A chunk of 50 is rounded up to 60, whose means are held beside them.
    assert plan.tasks[0].chunk_bytes == (60 + 3) * 935_747 * 4
    saved = dream.comparison_bytes - plan.comparison_bytes
    assert saved == 4 * (200 - 10) * 935_747 * 4  # what does not grow with examples stays
    assert "comparing scores of 10 shards of 20 examples each takes" in plan.notes[0]
    assert "comparing scores of 200 examples takes 5.92 GB" in dream.notes[0]


def test_shards_that_a_run_would_refuse_are_not_planned():
    with pytest.raises(ConfigError, match="a pool of 200 examples cannot be scored in shards of 3"):
        plan_run(replace(DREAM, attribution=in_shards(3)), H100)


def test_a_host_that_cannot_hold_one_example_is_refused():
    with pytest.raises(ConfigError, match="use fewer steps, --pool.num-steps, or a host with more"):
        plan_run(DREAM, replace(H100, host_memory_gb=0.001))


def test_the_options_name_a_batch_size_for_every_stage_that_has_one():
    plan = plan_run(replace(TINY, also=("sweep", "alternatives")), cpu(2.0))
    names = ("attribution", "semantics", "evaluation", "ablation", "sweep", "alternatives")
    assert re.findall(r"--(\w+)\.batch-size \d+", plan.options) == list(names)
    few = plan_run(replace(TINY, skip=("semantics", "ablation", "flow")), cpu(2.0))
    assert few.options.count("batch-size") == 2 and few.semantics_batch_size is None


def test_a_stage_that_does_not_fit_can_be_skipped():
    settings = replace(
        DREAM,
        tasks=("countdown-3",),
        pool=PoolConfig(num_examples=20, num_held_out=20),
        attribution=AttributionSettings(method="exact", edges_per_pass=1, chunk_size=1),
    )
    with pytest.raises(ConfigError, match="flow of 'countdown-3' by ARM needs.*use --skip flow."):
        plan_run(settings, replace(H100, memory_gb=42.9))


def test_a_measured_batch_says_how_fast_the_machine_is():
    options = MachineOptions(device="cpu")
    plan = plan_run(TINY, replace(options, measure=True))
    seconds = float(re.search(r"one batch of scores took ([\d.]+) s", plan.machine.note)[1])
    assert 0 < seconds < 300
    guessed = plan_run(TINY, options)
    ratio = plan.machine.flops / guessed.machine.flops
    # Of a small model whole passes reach less than a large product, but not a hundredth of it.
    assert 0.01 < ratio < 3


def test_the_embedded_pair_fits_a_small_computer_with_its_own_tokenizer():
    plan = plan_run(TINY, cpu(2.0))
    assert (plan.attribution_batch_size, plan.num_edges) == (128, 1108)
    assert not any("estimated" in note for note in plan.notes)


def test_a_share_of_solved_candidates_is_a_share():
    with pytest.raises(ConfigError, match=r"solved is a share in \(0, 1\], not 0"):
        plan_run(TINY, cpu(2.0), solved=0.0)


def test_tables_hold_the_numbers_of_the_plan(dream):
    stages = stage_table(dream)
    names = [stage.name for stage in STAGES if stage.is_wanted(DREAM)]
    assert stages["stage"].to_list() == [*names, "all"]
    assert stages["forward"][-1] == sum(stage.cost.forward_passes for stage in dream.stages)
    memory = memory_table(dream)
    for use in dream.memory:
        column = memory[use.memory.phase].to_list()
        assert column[-1] == pytest.approx(use.memory.total / 1e9)
        assert sum(column[:-1]) == pytest.approx(column[-1])
    assert task_table(dream)["scores [GB]"][0] == pytest.approx(dream.tasks[0].score_bytes / 1e9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.26, "4.3 s"), (61.0, "1 min 01 s"), (3599.6, "1 h 00 min")]
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text
