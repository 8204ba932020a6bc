"""Planned operations and passes against torch's counter on the real passes.

The counter does not see the CPU's fused attention kernel, so attention is compared with the kernel
that is made of matrix products. Its backward pass does not compute the scores again: twice the
forward products instead of 2.5 times.
"""

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechshift.attribution import (
    attribute,
    expert_attribution,
    path_points,
    position_flow,
)
from mechshift.circuits import Circuit
from mechshift.comparison import ComparisonSettings
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.denoising.spans import span_names
from mechshift.evaluation import evaluate_circuits
from mechshift.models import PAIRS, pair_shape
from mechshift.run import RunSettings
from mechshift.run.planning import costs
from mechshift.run.planning.workload import Lengths, ModelOnTask, make_batches
from mechshift.semantics import SemanticsSettings
from mechshift.semantics._attention_roles import task_role_shares
from mechshift.semantics._direct_logit_attribution import direct_logit_attribution
from mechshift.semantics._logit_lens import logit_lens
from mechshift.semantics.neurons import describe_neurons
from mechshift.semantics.recorded_run import clean_run
from mechshift.tasks import PoolConfig
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import MatrixFlops, counted_passes

NUM_ROWS, POSITIONS, TARGETS = 6, 8, 2
EXAMPLES = random_examples(NUM_ROWS, prefix_lengths=(7,), num_targets=TARGETS)
BATCH = make_batches([NUM_ROWS], POSITIONS, NUM_ROWS * TARGETS, TARGETS)


@pytest.fixture(params=["qwen2", "qwen3", "qwen3_moe", "gpt2"])
def model(request):
    model = random_language_model(request.param, "arm")
    if request.param == "qwen3_moe":
        # The same products, one expert after the other, which the counter can see.
        model.module.set_experts_implementation("eager")
    return model


@pytest.fixture
def canvases(model):
    return build_canvases(model, EXAMPLES, left_to_right([TARGETS] * NUM_ROWS))


def total(work):
    return work.flops + work.float32_flops


def fused_only(planned, num_points):
    """What a fused kernel computes again in backward passes, and the counted kernel does not."""
    shape = planned.shape
    attention = 4.0 * NUM_ROWS * POSITIONS**2 * shape.num_layers * shape.d_query
    return num_points * TARGETS * 0.5 * attention


def scored(model, canvases, metric="logit_diff", **options):
    with MatrixFlops() as counter, counted_passes(model) as count, sdpa_kernel(SDPBackend.MATH):
        attribute(model, canvases, metric=metric, **options)
    return counter.get_total_flops(), (count.forward, count.backward)


@pytest.mark.parametrize("grouped", [False, True])
def test_eap_ig_takes_exactly_the_planned_operations(model, canvases, grouped, on_task):
    planned = on_task(model, ig_steps=5, grouped=grouped)
    flops, _ = scored(model, canvases, method="eap-ig", ig_steps=5, grouped=grouped)
    assert flops == total(costs.scoring(planned, BATCH)) - fused_only(planned, num_points=5)


def test_gim_takes_exactly_the_planned_operations(model, canvases, on_task):
    """Its attention is made of plain products, so that nothing is hidden from the counter."""
    with MatrixFlops() as counter:
        attribute(model, canvases, metric="logit_diff", method="eap", gim=True)
    planned = on_task(model, method="eap", gim=True)
    assert counter.get_total_flops() == total(costs.scoring(planned, BATCH))


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("logit_diff", {"method": "eap-ig", "ig_steps": 3, "rule": "left"}),
        ("kl", {"method": "eap-ig", "ig_steps": 3, "rule": "left"}),
        ("logit_diff", {"method": "eap-ig", "ig_steps": 3, "rule": "right"}),
        ("logit_diff", {"method": "eap-ig", "ig_steps": 3, "rule": "midpoint"}),
        ("logit_diff", {"method": "eap"}),
        ("logit_diff", {"method": "eap", "gradient_at": "corrupted"}),
        ("logit_diff", {"method": "exact", "edges_per_pass": 4}),
    ],
)
def test_the_passes_of_every_method_and_rule_are_those_planned(metric, options, on_task):
    model = random_language_model("qwen2", num_layers=1)
    canvases = build_canvases(model, EXAMPLES, left_to_right([TARGETS] * NUM_ROWS))
    _, passes = scored(model, canvases, metric, **options)
    work = costs.scoring(on_task(model, metric, **options), BATCH)
    assert (work.forward_passes, work.backward_passes) == passes


def run_circuit(model, canvases, num_edges, seed):
    graph = model.graph()
    chosen = np.random.default_rng(seed).choice(graph.num_edges, num_edges, replace=False)
    circuit = Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        evaluate_circuits(model, canvases, [circuit], num_examples=NUM_ROWS)
    return counter.get_total_flops()


def test_circuits_take_no_more_than_planned_and_the_full_one_exactly(model, canvases, on_task):
    planned, num_edges = on_task(model), model.graph().num_edges
    work = costs.circuits(planned, BATCH, [num_edges])
    assert (work.circuit_runs, work.forward_passes) == (1, 2)
    assert run_circuit(model, canvases, num_edges, seed=0) == work.flops
    for seed, share in enumerate((0.1, 0.3, 0.7)):
        size = int(share * num_edges)
        most = costs.circuits(planned, BATCH, [size]).flops
        assert 0.4 * most < run_circuit(model, canvases, size, seed) <= most


def test_flow_takes_about_the_planned_operations(model, canvases, on_task):
    planned = on_task(model, num_spans=len(span_names(EXAMPLES)), ig_steps=3)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        position_flow(model, canvases, EXAMPLES, metric="logit_diff", ig_steps=3)
    expected = total(costs.tracing_flow(planned, BATCH)) - fused_only(planned, num_points=3)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.05)


def test_semantics_takes_about_the_planned_operations(model, canvases, on_task):
    planned, (batch,) = on_task(model), batch_canvases(model, canvases, NUM_ROWS)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        run = clean_run(model, batch)
        logit_lens(run, batch)
        direct_logit_attribution(run, batch)
        task_role_shares(run, batch)
    expected = total(costs.reading(planned, BATCH, num_patterns=2))
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        describe_neurons(model, canvases, SemanticsSettings(ig_steps=2), metric="logit_diff")
    chosen = costs.forward(planned, costs.without_readouts(BATCH))
    expected = total(costs.attributing_neurons(planned, BATCH)) + chosen.flops
    expected -= fused_only(planned, num_points=2)
    if not model.parts.num_neurons:
        expected = 0  # and the stage's plan leaves it out
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


def test_attributing_experts_takes_the_planned_passes_and_about_the_planned_operations(on_task):
    model = random_language_model("qwen3_moe", "arm")
    model.module.set_experts_implementation("eager")
    canvases = build_canvases(model, EXAMPLES, left_to_right([TARGETS] * NUM_ROWS))
    planned, points = on_task(model), path_points("left", 2)
    with MatrixFlops() as counter, counted_passes(model) as count, sdpa_kernel(SDPBackend.MATH):
        expert_attribution(model, canvases, metric="logit_diff", points=points)
    work = costs.attributing_experts(planned, BATCH)
    assert (count.forward, count.backward) == (work.forward_passes, work.backward_passes)
    expected = total(work) - fused_only(planned, num_points=2)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


def planned_pair(pair):
    """An MDM of known shape, with 500 examples for discovery."""
    shape = pair_shape(PAIRS[pair]).mdm
    return ModelOnTask(
        task="plain",
        name="mdm",
        kind="mdm",
        shape=shape,
        graph=shape.graph(),
        examples=(Lengths(10, 1, 0),),
        num_spans=5,
        metric="logit_diff",
        settings=RunSettings(pool=PoolConfig(num_examples=500)),
        weights=0,
    )


def test_a_forward_pass_is_two_operations_for_each_weight_and_token():
    """By hand, for Llama 2 7B's published shape: 6.48 G weights in its layers."""
    llama = planned_pair("diffullama-7b")
    weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    one = costs.forward(llama, make_batches([1], 1)).flops
    assert one == 2 * weights + 4 * 32 * 4096
    assert costs.forward(llama, make_batches([1], 1, 1)).flops - one == 2 * 4096 * 32000
    # The second call attends to 9 positions before its own.
    both = costs.forward(llama, make_batches([1, 1], 1, cached=[0, 9]))
    assert (both.forward_passes, both.flops) == (2, 2 * one + 9 * 4 * 32 * 4096)


def test_the_rows_of_a_comparison_are_counted_by_hand():
    settings = ComparisonSettings(
        num_resamples=3, num_splits=5, num_splits_per_resample=2, num_shuffles=7, num_exchanges=11
    )
    # Two models in resamples, both sides of exchanges from both models; two halves of both models;
    # and two halvings of 1 + 11 exchanges, which are added up unranked. Two halvings, too, of what
    # is left without each of 32 blocks.
    halves = 4 * (5 + 2 * (3 + 32))
    made, ranked = costs.compared_rows(settings)
    assert made == 2 * 3 + 4 * 11 + halves + 4 * 2 * 12
    assert ranked == 2 * (3 + 11) + halves


@pytest.mark.parametrize(
    ("pair", "whole", "seconds"),
    [
        ("tiny", True, 6.8),
        ("tiny", False, 1.7),
        ("smollm2", True, 81.5),
        ("smollm2", False, 26.8),
        ("dream-7b", True, 685.1),
    ],
)
def test_a_comparison_takes_about_the_time_that_was_measured(pair, whole, seconds):
    """Seconds of the processor that docs/benchmarks.md has of before: 500 examples of one step."""
    planned = costs.comparing(planned_pair(pair), 0, whole=whole).host_seconds
    assert planned == pytest.approx(seconds, rel=0.25)


def test_a_comparison_takes_longer_with_more_steps_and_times():
    model = planned_pair("dream-7b")
    once, steps, twice = (
        costs.comparing(model, num_steps, whole=True, times=times).host_seconds
        for num_steps, times in ((1, 1), (20, 1), (1, 2))
    )
    assert once < steps < 1.3 * once and twice == 2 * once
