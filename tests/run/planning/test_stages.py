"""Planned passes and files are those that the real stages make, on the embedded pair."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
from safetensors.numpy import load_file

from mechshift.ablation import AblationSettings
from mechshift.ablation._standard_plans import max_num_plans
from mechshift.comparison import NARROW, ComparisonSettings, draws_over_all_edges
from mechshift.graph import Graph
from mechshift.models import PAIRS, local_tokenizer, pair_shape
from mechshift.run import AttributionSettings, EvaluationSettings, PairOptions, RunSettings
from mechshift.run.folders import KINDS, scores_folder
from mechshift.run.planning.costs import comparison_rows, comparison_work
from mechshift.run.planning.stages import make_workload
from mechshift.run.planning.workload import run_members, task_lengths
from mechshift.run.settings import AlternativesSettings, SweepSettings
from mechshift.run.stage import Given, write_pieces
from mechshift.run.stages import STAGES
from mechshift.run.store import read_ablations, read_pool, read_scores
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig, find_tasks
from mechshift.testing.measuring import counted_passes

TASK = "infilling"
FEW = {"num_resamples": 10}
SETTINGS = RunSettings(
    tasks=(TASK,),
    # Both models solve all of these, so that one round of candidates is enough; and none held out
    # is longer than all for discovery, on whose positions means are taken.
    pool=PoolConfig(num_examples=20, num_held_out=10),
    attribution=AttributionSettings(ig_steps=2, batch_size=4, chunk_size=6),
    evaluation=EvaluationSettings(fractions=(0.02,), num_random=1, batch_size=4),
    comparison=ComparisonSettings(
        **FEW, num_splits=2, num_splits_per_resample=1, num_shuffles=10, num_exchanges=10
    ),
    semantics=SemanticsSettings(**FEW, ig_steps=2, batch_size=4),
    ablation=AblationSettings(
        **FEW,
        kinds=("layers",),
        replacements=("zero", "mean"),
        num_control_draws=1,
        decode=True,
        batch_size=4,
    ),
    sweep=SweepSettings(batch_size=4, chunk_size=6),
    alternatives=AlternativesSettings(factors=(0.5, 0.0), shares=(0.4,), batch_size=4),
    also=("sweep", "alternatives"),
)
SIZES = dict.fromkeys((stage.name for stage in STAGES), 4)
COUNTED = tuple(
    stage.name for stage in STAGES if stage.is_wanted(SETTINGS) and stage.name != "report"
)


@pytest.fixture(scope="module")
def pair():
    return PairOptions().load("cpu", controls=True)


def make(settings):
    tasks, entry = find_tasks(settings.task_names()), PAIRS["tiny"]
    lengths = {task.name: task_lengths(task, local_tokenizer(entry), KINDS) for task in tasks}
    members = run_members(entry, settings.skip)
    return make_workload(settings, pair_shape(entry), members, tasks, lengths, host_is_device=True)


@pytest.fixture(scope="module")
def workload():
    return make(SETTINGS)


@pytest.fixture(scope="module")
def counted(pair, tmp_path_factory):
    """Passes of each stage and model of a whole run but its page, and the run's folder."""
    run, counts = tmp_path_factory.mktemp("run"), {}
    given = Given(run=run, pair=pair, tasks=find_tasks((TASK,)), settings=SETTINGS)
    for stage in STAGES:
        if stage.name in COUNTED:
            with ExitStack() as stack:
                counts[stage.name] = {
                    name: stack.enter_context(counted_passes(model))
                    for name, model in pair.members.items()
                }
                write_pieces(run, stage, stage.pieces(given), quiet=True)
    return counts, run


def planned(workload, stage, solved=1.0):
    costs = [cost for cost in workload.costs(SIZES, solved) if cost.stage == stage]
    return {cost.model: cost for cost in costs}


@pytest.mark.parametrize("stage", COUNTED)
def test_every_stage_makes_the_planned_passes(workload, counted, stage):
    counts, run = counted
    pools = [read_pool(run, TASK, split) for split in ("discovery", "held-out")]
    assert all(pool.arm_accuracy == pool.mdm_accuracy == 1.0 for pool in pools)
    found = {
        name: (cost.forward_passes - too_many(run, stage, workload, name), cost.backward_passes)
        for name, cost in planned(workload, stage).items()
        if cost.forward_passes
    }
    assert found == {
        name: (c.forward, c.backward) for name, c in counts[stage].items() if c.forward
    }


def too_many(run, stage, workload, name):
    """Passes for draws of an ablation's controls that were planned and do not exist."""
    if stage != "ablation":
        return 0
    (model,) = (model for model in workload.pair if model.model == name)
    plans = len(read_ablations(run, TASK, model.kind).table.labels.names)
    missing = max_num_plans(model.graph, SETTINGS.ablation, with_circuit=True) - plans
    return missing * 2 * (len(model.held_out(4)) + len(model.decoding(10, 4)))


@pytest.mark.parametrize("stage", ["scores", "flow", "sweep", "semantics"])
def test_the_files_of_a_stage_are_as_large_as_planned(workload, counted, stage):
    _, run = counted
    for name, cost in planned(workload, stage).items():
        folder = run / stage / TASK / ("" if stage == "sweep" else name)
        arrays = [path.stat().st_size for path in folder.rglob("arrays.safetensors")]
        if stage == "sweep":  # beside the scores stands what was compared, which is not planned
            arrays = [path.stat().st_size for path in folder.rglob("mdm/arrays.safetensors")]
        # Of semantics, roles and alignment are left out, which do not grow with examples.
        within = 0.2 if stage == "semantics" else 0.1
        assert cost.disk_bytes == pytest.approx(sum(arrays), rel=within)


def test_the_plan_has_every_stage_of_a_run_in_its_order(workload):
    stages = dict.fromkeys(cost.stage for cost in workload.costs(SIZES, 1.0))
    assert list(stages) == [stage.name for stage in STAGES if stage.is_wanted(SETTINGS)]
    assert {"sweep", "alternatives", "report", "flow", "conclusions"} < set(stages)
    skipped = replace(SETTINGS, skip=("flow", "semantics", "ablation", "controls"), also=())
    left = dict.fromkeys(cost.stage for cost in make(skipped).costs(SIZES, 1.0))
    assert list(left) == ["pool", "scores", "faithfulness", "comparison", "conclusions", "report"]


def test_the_arrays_of_other_circuits_are_as_large_as_planned(workload, counted):
    """Without the file's header, which is a part of what so few examples take."""
    _, run = counted
    for name, cost in planned(workload, "alternatives").items():
        arrays = load_file(run / "alternatives" / TASK / name / "arrays.safetensors")
        nbytes = sum(array.nbytes for array in arrays.values())
        assert cost.disk_bytes == pytest.approx(nbytes, rel=0.05)


def test_other_circuits_are_run_on_both_splits_once_for_each_penalty_and_once_for_the_own(workload):
    model = workload.models[0]
    batches = len(model.discovery(4)) + len(model.held_out(4))
    found = planned(workload, "alternatives")
    assert list(found) == ["arm", "mdm"]
    assert found["arm"].circuit_runs == 4 * batches and found["arm"].forward_passes == 2 * batches
    mean = replace(SETTINGS, evaluation=replace(SETTINGS.evaluation, ablation="mean"))
    more = planned(make(mean), "alternatives")["arm"]
    assert more.forward_passes == 2 * batches + 2 * len(model.discovery(4))


def test_a_task_of_single_tokens_is_not_swept():
    single = make(replace(SETTINGS, tasks=("ioi",)))
    assert planned(single, "sweep")["mdm"].forward_passes == 0


def test_a_sweep_scores_each_number_of_steps_but_the_own():
    """Targets of 11 tokens in 1, 2, 4, 8 and 11 steps, of which the pool has the last."""
    ten = PoolConfig(num_examples=10, num_held_out=10)
    workload = make(replace(SETTINGS, tasks=("countdown-small",), pool=ten))
    (mdm,) = (model for model in workload.models if model.model == "mdm")
    assert mdm.swept == (1, 2, 4, 8, 11)
    assert [steps for steps in mdm.swept if mdm.has_num_steps(steps)] == [11]
    # 10 examples in chunks of 6 and 4, each with S canvases, 4 in a batch.
    batches = sum(-(-6 * steps // 4) + steps for steps in (1, 2, 4, 8))
    assert planned(workload, "sweep")["mdm"].forward_passes == 3 * batches


def test_the_rows_of_a_comparison_are_counted_by_hand():
    settings = ComparisonSettings(
        num_resamples=3, num_splits=5, num_splits_per_resample=2, num_shuffles=7, num_exchanges=11
    )
    # Two models in resamples, both sides of exchanges from both models; two halves of both models;
    # and two halvings of 1 + 11 exchanges, which are added up unranked.
    halves = 4 * (5 + 2 * 3)
    rows = comparison_rows(settings)
    assert rows.made == 2 * 3 + 4 * 11 + halves + 4 * 2 * 12
    assert rows.ranked == 2 * (3 + 11) + halves


def test_a_large_graph_is_compared_on_fewer_draws_and_on_a_part_of_its_edges():
    settings, scored = ComparisonSettings(), 100
    large, small = (
        Graph(num_layers=layers, num_heads=8, num_key_value_groups=8) for layers in (28, 2)
    )
    rows, few = map(comparison_rows, (settings, draws_over_all_edges(large, settings)))
    assert few.made < rows.made / 4
    for graph, part in ((large, NARROW), (small, 1.0)):
        shift, whole = (
            comparison_work(settings, graph, scored, 0, whole=kind) for kind in (False, True)
        )
        pairs = 8 * scored**2 * graph.num_edges
        assert shift.flops == 2 * rows.made * scored * part * graph.num_edges + pairs
        if graph is large:
            assert whole.flops == shift.flops + 2 * few.made * scored * graph.num_edges
        else:  # the same rows, ranked for several sizes
            assert whole.flops == shift.flops
        assert whole.elements > shift.elements


def test_the_members_of_a_planned_run_are_those_that_are_loaded(pair):
    members = run_members(PAIRS["tiny"])
    assert [member.name for member in members] == list(pair.members)
    assert [member.kind for member in members] == [m.kind for m in pair.members.values()]
    storages = {
        next(model.module.parameters()).untyped_storage().data_ptr()
        for model in pair.members.values()
    }
    assert sum(member.loaded for member in members) == len(storages)
    alone = run_members(PAIRS["tiny"], ("controls",))
    assert [member.name for member in alone] == ["arm", "mdm"]
    unshifted = run_members(PAIRS["a2d-qwen3-0.6b-mdlm"])
    assert [member.name for member in unshifted] == ["arm", "mdm"]
    more = replace(PAIRS["tiny"], other_mdms=PAIRS["tiny"].other_mdms * 3)
    assert [(one.name, one.kind, one.loaded) for one in run_members(more)[-2:]] == [
        ("mdm-other-seed-2", "mdm", True),
        ("mdm-other-seed-3", "mdm", True),
    ]


def test_the_scores_of_a_run_are_as_large_as_planned(workload, counted):
    _, run = counted
    for model in workload.models:
        scores = read_scores(scores_folder(run, model.task, model.model))
        of_steps = 0 if scores.step_sums is None else scores.step_sums.nbytes
        assert model.score_bytes == scores.values.nbytes + of_steps


def test_harder_tasks_decode_more_rounds_up_to_the_limit(workload):
    passes = [
        planned(workload, "pool", solved)["arm"].forward_passes for solved in (1.0, 0.5, 0.3, 0.01)
    ]
    assert passes == [passes[0] * rounds for rounds in (1, 2, 4, 4)]


def test_mean_ablation_takes_one_more_pass_over_discovery_canvases(workload):
    mean = replace(SETTINGS, evaluation=replace(SETTINGS.evaluation, ablation="mean"))
    model = workload.models[0]
    with_it, without = (planned(one, "faithfulness")["arm"] for one in (make(mean), workload))
    assert with_it.forward_passes - without.forward_passes == len(model.discovery(4))
    assert with_it.circuit_runs == without.circuit_runs
