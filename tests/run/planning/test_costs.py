"""Planned operations against torch's counter on the real passes.

The counter does not see the CPU's fused attention kernel, so attention is compared with the kernel
that is made of matrix products. Its backward pass does not compute the scores again: twice the
forward products instead of 2.5 times.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechshift.attribution import eap_ig, exact_edge_scores, position_flow
from mechshift.attribution._eap import eap
from mechshift.circuits import Circuit
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.denoising.spans import span_names
from mechshift.evaluation import evaluate_circuits
from mechshift.models import PAIRS, model_shape
from mechshift.run.planning.costs import (
    backward_flops,
    circuit_flops,
    contraction_flops,
    flow_work,
    forward_flops,
    forward_work,
    method_passes,
    neurons_work,
    path_passes,
    reading_work,
)
from mechshift.run.planning.workload import Batch
from mechshift.run.settings import AttributionSettings
from mechshift.semantics import SemanticsSettings
from mechshift.semantics._attention_roles import task_role_shares
from mechshift.semantics._direct_logit_attribution import direct_logit_attribution
from mechshift.semantics._logit_lens import logit_lens
from mechshift.semantics.neurons import describe_neurons
from mechshift.semantics.recorded_run import clean_run
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import MatrixFlops, counted_passes

NUM_ROWS, POSITIONS, TARGETS = 6, 8, 2
BATCH = Batch(rows=NUM_ROWS, positions=POSITIONS, slots=TARGETS, readouts=NUM_ROWS * TARGETS)


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gpt2"])
def model(request):
    return random_language_model(request.param, "arm")


@pytest.fixture
def canvases(model):
    examples = random_examples(NUM_ROWS, prefix_lengths=(7,), num_targets=TARGETS)
    return build_canvases(model, examples, left_to_right([TARGETS] * NUM_ROWS))


def attention_flops(shape):
    return 4.0 * NUM_ROWS * POSITIONS**2 * shape.num_layers * shape.d_query


@pytest.mark.parametrize("grouped", [False, True])
def test_eap_ig_takes_exactly_the_planned_operations(model, canvases, grouped):
    shape, graph = model_shape(model.module.config), model.graph(grouped=grouped)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        eap_ig(model, canvases, metric="logit_diff", ig_steps=5, grouped=grouped)
    # Rule `left`: 5 points, of which one is the corrupted end, and the clean end.
    forward, backward = 6, 5 * TARGETS
    planned = (
        forward * forward_flops(shape, BATCH).total
        + backward * backward_flops(shape, BATCH).total
        + contraction_flops(shape, graph, BATCH, num_points=5).total
    )
    fused_only = backward * 0.5 * attention_flops(shape)
    assert counter.get_total_flops() == planned - fused_only


def test_gim_takes_exactly_the_planned_operations(model, canvases):
    """Its attention is made of plain products, so that nothing is hidden from the counter."""
    shape, graph = model_shape(model.module.config), model.graph()
    with MatrixFlops() as counter:
        eap(model, canvases, metric="logit_diff", gim=True)
    planned = (
        2 * forward_flops(shape, BATCH).total
        + TARGETS * backward_flops(shape, BATCH, gim=True).total
        + contraction_flops(shape, graph, BATCH, num_points=1).total
    )
    assert counter.get_total_flops() == planned


def circuit_of(graph, num_edges, seed):
    chosen = np.random.default_rng(seed).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


def counted_evaluation(model, canvases, circuit):
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        evaluate_circuits(model, canvases, [circuit], num_examples=NUM_ROWS)
    return counter.get_total_flops()


def test_the_full_circuit_takes_exactly_the_planned_operations(model, canvases):
    shape, graph = model_shape(model.module.config), model.graph()
    planned = (
        2 * forward_flops(shape, BATCH).total
        + circuit_flops(shape, graph, BATCH, graph.num_edges).total
    )
    full = circuit_of(graph, graph.num_edges, seed=0)
    assert counted_evaluation(model, canvases, full) == planned


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_smaller_circuits_take_no_more_than_planned(model, canvases, share):
    shape, graph = model_shape(model.module.config), model.graph()
    num_edges = int(share * graph.num_edges)
    for seed in range(3):
        planned = (
            2 * forward_flops(shape, BATCH).total
            + circuit_flops(shape, graph, BATCH, num_edges).total
        )
        circuit = circuit_of(graph, num_edges, seed)
        assert 0.4 * planned < counted_evaluation(model, canvases, circuit) <= planned


def test_a_forward_pass_is_two_operations_for_each_weight_and_token():
    """By hand, for Llama 2 7B's published shape: 6.48 G weights in its layers."""
    shape = PAIRS["diffullama-7b"].published_shape
    weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    one = forward_flops(shape, Batch(rows=1, positions=1)).total
    assert one == 2 * weights + 4 * 32 * 4096
    read = forward_flops(shape, Batch(rows=1, positions=1, readouts=1)).total
    assert read - one == 2 * 4096 * 32000


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


def test_flow_takes_about_the_planned_operations(model, canvases):
    shape = model_shape(model.module.config)
    examples = random_examples(NUM_ROWS, prefix_lengths=(7,), num_targets=TARGETS)
    num_spans = len(span_names(examples))
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        position_flow(model, canvases, examples, metric="logit_diff", ig_steps=3)
    passes = path_passes("left", 3, "logit_diff")
    planned = flow_work(shape, passes, num_spans, BATCH)
    fused_only = passes.backward(TARGETS) * 0.5 * attention_flops(shape)
    assert counter.get_total_flops() == pytest.approx(planned.flops.total - fused_only, rel=0.05)


def test_semantics_takes_about_the_planned_operations(model, canvases):
    shape, settings = model_shape(model.module.config), SemanticsSettings(ig_steps=3)
    (batch,) = batch_canvases(model, canvases, NUM_ROWS)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        run = clean_run(model, batch)
        logit_lens(run, batch)
        direct_logit_attribution(run, batch)
        task_role_shares(run, batch)
    planned = reading_work(shape, BATCH, num_patterns=2).flops.total
    assert counter.get_total_flops() == pytest.approx(planned, rel=0.02)
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        describe_neurons(model, canvases, settings, metric="logit_diff")
    hidden = replace(BATCH, readouts=0)
    planned = neurons_work(shape, "logit_diff", 3, BATCH) + forward_work(shape, hidden)
    fused_only = 3 * TARGETS * 0.5 * attention_flops(shape)
    expected = planned.flops.total - fused_only
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)
