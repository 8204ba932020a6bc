"""Planned passes and files are those that the real stages make, on the embedded pair."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from mechshift.ablation import AblationSettings, max_num_plans
from mechshift.comparison import ComparisonSettings
from mechshift.models import PAIRS, local_tokenizer, pair_shape
from mechshift.run import AttributionSettings, EvaluationSettings, PairOptions, RunSettings
from mechshift.run.planning.stages import PLANNED, score_bytes, wanted_stages
from mechshift.run.planning.workload import models_on_tasks, sampled_examples
from mechshift.run.settings import AlternativesSettings, SweepSettings
from mechshift.run.stage import Given, write_pieces
from mechshift.run.stages import STAGES
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig, load_tasks
from mechshift.testing.measuring import counted_passes

TASK, SIZE = "infilling", 8
FEW = {"num_resamples": 10}
SETTINGS = RunSettings(
    tasks=(TASK,),
    # Both models solve all of these, so that one round of candidates is enough; and none held out
    # is longer than all for discovery, on whose positions means are taken.
    pool=PoolConfig(num_examples=12, num_held_out=10, seed=4),
    attribution=AttributionSettings(ig_steps=1, batch_size=SIZE, chunk_size=7),
    evaluation=EvaluationSettings(
        fractions=(0.02,), num_random=1, rediscover=False, batch_size=SIZE
    ),
    comparison=ComparisonSettings(
        **FEW, num_splits=2, num_splits_per_resample=1, num_shuffles=10, num_exchanges=10
    ),
    semantics=SemanticsSettings(
        **FEW, ig_steps=1, num_neurons=2, num_contexts=2, num_sequences=20, batch_size=SIZE
    ),
    ablation=AblationSettings(
        **FEW,
        kinds=("layers",),
        replacements=("mean",),
        num_control_draws=1,
        decode=True,
        batch_size=SIZE,
    ),
    sweep=SweepSettings(batch_size=SIZE, chunk_size=7),
    alternatives=AlternativesSettings(factors=(0.5, 0.0), shares=(0.4,), batch_size=SIZE),
    also=("sweep", "alternatives"),
)
COUNTED = tuple(name for name in wanted_stages(SETTINGS) if name != "conclusions")
CONTROL = "arm-full"
"""Of the four: it reads as an MDM, with the ARM's weights."""


def make(settings, solved=1.0):
    entry, tasks = PAIRS["tiny"], load_tasks(settings.task_names())
    tokenizer = local_tokenizer(entry)
    examples = [(task, sampled_examples(task, tokenizer)) for task in tasks]
    models = models_on_tasks(settings, entry, pair_shape(entry), examples, tokenizer, solved=solved)
    return {model.name: model for model in models}


@pytest.fixture(scope="module")
def models():
    return make(SETTINGS)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Passes of each stage and model of a run with one control, and the run's folder."""
    run, counts = tmp_path_factory.mktemp("run"), {}
    pair = PairOptions().load("cpu", controls=True)
    pair = replace(pair, controls={CONTROL: pair.controls[CONTROL]})
    given = Given(run=run, pair=pair, tasks=load_tasks((TASK,)), settings=SETTINGS)
    for stage in STAGES:
        if stage.name in COUNTED:
            with ExitStack() as stack:
                counts[stage.name] = {
                    name: stack.enter_context(counted_passes(model))
                    for name, model in pair.members.items()
                }
                write_pieces(run, stage, stage.pieces(given), quiet=True)
    return counts, run


def planned(models, stage):
    return {
        name: PLANNED[stage].work(model, SIZE)
        for name, model in models.items()
        if PLANNED[stage].is_about(name) and name in ("arm", "mdm", CONTROL)
    }


@pytest.mark.parametrize("stage", COUNTED)
def test_every_stage_makes_the_planned_passes(models, counted, stage):
    counts, run = counted
    pools = [read_pool(run, TASK, split) for split in ("discovery", "held-out")]
    assert all(pool.arm_accuracy == pool.mdm_accuracy == 1.0 for pool in pools)
    found = {
        name: (work.forward_passes - too_many(run, stage, models[name]), work.backward_passes)
        for name, work in planned(models, stage).items()
        if work.forward_passes
    }
    assert found == {
        name: (c.forward, c.backward) for name, c in counts[stage].items() if c.forward
    }


def too_many(run, stage, model):
    """Passes for draws of an ablation's controls that were planned and do not exist."""
    if stage != "ablation":
        return 0
    plans = len(RunTask(run=run, task=TASK).ablations(model.kind).table.labels.names)
    missing = max_num_plans(model.graph, SETTINGS.ablation, with_circuit=True) - plans
    return missing * (len(model.held_out(SIZE)) + len(model.decoding(10, SIZE)))


@pytest.mark.parametrize("stage", ["scores", "flow", "sweep", "semantics"])
def test_the_files_of_a_stage_are_as_large_as_planned(models, counted, stage):
    _, run = counted
    for name, work in planned(models, stage).items():
        # Beside the scores of a sweep stands what was compared, which is not planned.
        folder, files = run / stage / TASK, "mdm/arrays.safetensors"
        if stage != "sweep":
            folder, files = folder / name, "arrays.safetensors"
        arrays = [path.stat().st_size for path in folder.rglob(files)]
        # Of semantics, roles and alignment are left out, which do not grow with examples.
        beside = 20_000 if stage == "semantics" else 0
        assert work.disk_bytes == pytest.approx(sum(arrays) - beside, rel=0.1)


def test_the_scores_of_a_run_are_as_large_as_planned(models, counted):
    _, run = counted
    for name in ("arm", "mdm", CONTROL):
        scores = RunTask(run=run, task=TASK).scores(name)
        of_steps = 0 if scores.step_sums is None else scores.step_sums.nbytes
        by_step = models[name].is_read_by_step
        assert by_step == (scores.step_sums is not None) == (name != CONTROL)
        num_steps = models[name].schedule.num_steps
        planned_bytes = score_bytes(models[name], num_steps, by_step=by_step)
        assert planned_bytes == scores.values.nbytes + of_steps


def test_every_stage_of_a_run_but_its_page_is_in_the_table_and_in_its_order():
    assert [*wanted_stages(SETTINGS), "report"] == [
        stage.name for stage in STAGES if stage.is_wanted(SETTINGS)
    ]
    assert {*PLANNED} == {stage.name for stage in STAGES} - {"report", "explanations"}
    skipped = replace(SETTINGS, skip=("flow", "semantics", "ablation", "controls"), also=())
    left = ["pool", "scores", "others", "faithfulness", "comparison", "conclusions"]
    assert list(wanted_stages(skipped)) == left


def test_other_circuits_are_run_on_both_splits_once_for_each_penalty_and_once_for_the_own(models):
    arm = models["arm"]
    batches = len(arm.discovery(SIZE)) + len(arm.held_out(SIZE))
    found = planned(models, "alternatives")
    assert list(found) == ["arm", "mdm"]
    assert found["arm"].circuit_runs == 4 * batches and found["arm"].forward_passes == 2 * batches


def test_mean_ablation_takes_more_passes_over_discovery_canvases(models):
    mean = make(replace(SETTINGS, evaluation=replace(SETTINGS.evaluation, ablation="mean")))
    batches = len(models["arm"].discovery(SIZE))
    for stage, times in (("faithfulness", 1), ("alternatives", 2)):
        more, less = (planned(one, stage)["arm"] for one in (mean, models))
        assert more.forward_passes - less.forward_passes == times * batches
        assert more.circuit_runs == less.circuit_runs


def test_a_sweep_scores_each_number_of_steps_but_the_own():
    """Targets of 11 tokens in 1, 2, 4, 8 and 11 steps, of which the pool has the last."""
    ten = PoolConfig(num_examples=10, num_held_out=10)
    sweep = SweepSettings(batch_size=4, chunk_size=6)
    settings = replace(SETTINGS, tasks=("countdown-small",), pool=ten, sweep=sweep)
    mdm = make(settings)["mdm"]
    # 10 examples in chunks of 6 and 4, each with S canvases, 4 in a batch; two passes for each.
    batches = sum(-(-6 * steps // 4) + steps for steps in (1, 2, 4, 8))
    assert PLANNED["sweep"].work(mdm, 4).forward_passes == 2 * batches
    # With one step all tokens of a canvas are read at once.
    assert PLANNED["sweep"].work(mdm, 4).peaks != PLANNED["scores"].work(mdm, 4).peaks
    single = make(replace(settings, tasks=("ioi",)))["mdm"]
    assert PLANNED["sweep"].work(single, 4).forward_passes == 0


def test_summed_steps_take_one_backward_pass_and_its_memory(models):
    summed = replace(SETTINGS.attribution, steps="summed")
    arm = make(replace(SETTINGS, attribution=summed))["arm"]
    less, more = (PLANNED["scores"].work(one, SIZE) for one in (arm, models["arm"]))
    assert less.backward_passes == less.forward_passes / 2 < more.backward_passes
    peaks = [{peak.phase: peak.made_bytes for peak in work.peaks} for work in (less, more)]
    assert peaks[0]["gradients"] < peaks[1]["gradients"] and peaks[0]["chunk"] < peaks[1]["chunk"]


def test_harder_tasks_decode_more_rounds_up_to_the_limit():
    passes = [
        planned(make(SETTINGS, solved), "pool")["arm"].forward_passes
        for solved in (1.0, 0.5, 0.3, 0.01)
    ]
    assert passes == [passes[0] * rounds for rounds in (1, 2, 4, 4)]


@pytest.mark.parametrize(("num_others", "kept"), [(0, 0), (8, 8), (50, SETTINGS.pool.num_examples)])
def test_candidates_that_not_both_solve_are_planned_as_so_many_examples_of_one_step(
    num_others, kept
):
    """Half are solved: of two rounds of candidates one is others."""
    summed = replace(SETTINGS, attribution=replace(SETTINGS.attribution, steps="summed"))
    pool = replace(SETTINGS.pool, num_others=num_others)
    found = planned(make(replace(SETTINGS, pool=pool), solved=0.5), "others")
    as_many = replace(summed, pool=replace(SETTINGS.pool, num_examples=max(kept, 2)))
    expected = planned(make(as_many), "scores")
    for name, work in found.items():
        if kept:
            scored = expected[name]
            assert (work.forward_passes, work.backward_passes) == (
                scored.forward_passes,
                scored.backward_passes,
            )
            assert work.disk_bytes == kept * (make(SETTINGS)[name].graph.num_edges * 4 + 3 * 8)
        else:
            assert work.forward_passes == work.disk_bytes == 0
