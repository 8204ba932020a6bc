"""Planned passes are those that the real stages make, on the embedded pair and its controls."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from mechshift.attribution import eap_ig, exact_edge_scores
from mechshift.attribution._eap import eap
from mechshift.denoising import build_canvases, left_to_right
from mechshift.models import PAIRS, local_tokenizer, pair_shape
from mechshift.run import (
    AttributionSettings,
    EvaluationSettings,
    PairOptions,
    RunSettings,
    evaluate_pair,
    make_pools,
    score_edges,
)
from mechshift.run.planning.lengths import task_lengths
from mechshift.run.planning.members import run_members
from mechshift.run.planning.methods import method_passes
from mechshift.run.planning.stages import attribution_cost, evaluation_cost, pool_cost
from mechshift.run.planning.workload import make_workload
from mechshift.run.store import KINDS, read_pool, read_scores, scores_folder
from mechshift.tasks import PoolConfig, find_tasks
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import counted_passes

SETTINGS = RunSettings(
    tasks=("infilling",),
    # Both models solve all of these, so that one round of candidates is enough.
    pool=PoolConfig(num_examples=4, num_held_out=3),
    attribution=AttributionSettings(ig_steps=2, batch_size=2, chunk_size=3),
    evaluation=EvaluationSettings(fractions=(0.02,), num_random=1, batch_size=2),
)


@pytest.fixture(scope="module")
def pair():
    return PairOptions().load("cpu", controls=True)


@pytest.fixture(scope="module")
def workload():
    tasks, entry = find_tasks(SETTINGS.task_names()), PAIRS["tiny"]
    lengths = {task.name: task_lengths(task, local_tokenizer(entry), KINDS) for task in tasks}
    members = run_members(entry, SETTINGS)
    return make_workload(SETTINGS, pair_shape(entry), members, tasks, lengths, host_is_device=True)


@pytest.fixture(scope="module")
def counted(pair, tmp_path_factory):
    """Passes of each stage and model, all tasks together, and the run they were counted in."""
    run, counts = tmp_path_factory.mktemp("run"), {}

    def count(stage, work):
        with ExitStack() as stack:
            counts[stage] = {
                name: stack.enter_context(counted_passes(model))
                for name, model in pair.members.items()
            }
            work()

    tasks = find_tasks(SETTINGS.task_names())
    pool_settings = (SETTINGS.models, tasks, SETTINGS.pool)
    count("pool", lambda: make_pools(run, pair, *pool_settings, quiet=True))
    count("attribution", lambda: score_edges(run, pair, SETTINGS.attribution, quiet=True))
    count("evaluation", lambda: evaluate_pair(run, pair, SETTINGS.evaluation, quiet=True))
    return counts, run


def planned(workload, stage):
    found = {}
    for cost in workload.costs(2, 2, solved=1.0):
        if cost.stage == stage:
            forward, backward = found.get(cost.model, (0, 0))
            found[cost.model] = (forward + cost.forward_passes, backward + cost.backward_passes)
    return found


@pytest.mark.parametrize("stage", ["pool", "attribution", "evaluation"])
def test_every_stage_makes_the_planned_passes(workload, counted, stage):
    counts, run = counted
    for task in SETTINGS.task_names():
        pools = [read_pool(run, task, split) for split in ("discovery", "held-out")]
        assert all(pool.arm_accuracy == pool.mdm_accuracy == 1.0 for pool in pools)
    real = {name: (c.forward, c.backward) for name, c in counts[stage].items() if c.forward}
    assert planned(workload, stage) == real
    assert {"arm", "mdm"} <= set(real)
    assert ("arm-full" in real) == (stage == "attribution")


def test_the_members_of_a_planned_run_are_those_that_are_loaded(pair):
    members = run_members(PAIRS["tiny"], SETTINGS)
    assert [member.name for member in members] == list(pair.members)
    assert [member.kind for member in members] == [m.kind for m in pair.members.values()]
    storages = {
        next(model.module.parameters()).untyped_storage().data_ptr()
        for model in pair.members.values()
    }
    assert sum(member.loaded for member in members) == len(storages)
    alone = run_members(PAIRS["tiny"], replace(SETTINGS, skip=("controls",)))
    assert [member.name for member in alone] == ["arm", "mdm"]
    unshifted = run_members(PAIRS["a2d-qwen3-0.6b-mdlm"], SETTINGS)
    assert [member.name for member in unshifted] == ["arm", "mdm"]


def test_the_scores_of_a_run_are_as_large_as_planned(workload, counted):
    _, run = counted
    for model in workload.models:
        values = read_scores(scores_folder(run, model.task, model.model)).values
        assert workload.score_bytes(model) == values.nbytes


def test_a_stage_costs_the_sum_of_its_batches(workload):
    model = workload.models[0]
    batches = model.discovery_batches(2, None)
    one_by_one = [attribution_cost(model, [batch]) for batch in batches]
    together = attribution_cost(model, batches)
    assert together.backward_passes == sum(cost.backward_passes for cost in one_by_one)
    assert together.flops.total == pytest.approx(sum(cost.flops.total for cost in one_by_one))


def test_harder_tasks_decode_more_rounds_up_to_the_limit(workload):
    model = workload.models[0]
    passes = [pool_cost(model, solved).forward_passes for solved in (1.0, 0.5, 0.3, 0.01)]
    assert passes == [passes[0] * rounds for rounds in (1, 2, 4, 4)]


def test_measuring_sources_adds_passes_over_discovery_canvases(workload):
    model = workload.models[0]
    held_out, discovery = model.held_out_batches(2), model.discovery_batches(2, None)
    without = evaluation_cost(model, held_out, [10])
    with_it = evaluation_cost(model, held_out, [10], measuring=2 * discovery)
    assert with_it.forward_passes - without.forward_passes == 2 * len(discovery)
    assert with_it.circuit_runs == without.circuit_runs == len(held_out)


@pytest.mark.parametrize("metric", ["logit_diff", "kl"])
@pytest.mark.parametrize("rule", ["left", "right", "midpoint"])
def test_the_passes_of_eap_ig_are_counted_for_every_rule(rule, metric):
    settings = AttributionSettings(ig_steps=3, rule=rule)
    check_passes(settings, metric, partial(eap_ig, metric=metric, ig_steps=3, rule=rule))


def test_the_passes_of_eap_are_counted():
    settings = AttributionSettings(method="eap")
    check_passes(
        settings, "logit_diff", lambda model, canvases: eap(model, canvases, metric="logit_diff")
    )


def test_the_passes_of_exact_patching_are_counted():
    settings = AttributionSettings(method="exact")
    check_passes(
        settings,
        "logit_diff",
        lambda model, canvases: exact_edge_scores(model, canvases, metric="logit_diff"),
    )


def check_passes(settings, metric, work):
    model = random_language_model("qwen2", num_layers=1)
    examples = random_examples(4, prefix_lengths=(5,), num_targets=2)
    canvases = build_canvases(model, examples, left_to_right([2] * 4))
    with counted_passes(model) as count:
        work(model, canvases)
    passes = method_passes(settings, metric, model.graph())
    assert count.forward == passes.forward + passes.intervened
    assert count.backward == passes.backward(num_slots=2)
