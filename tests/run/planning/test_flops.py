"""Planned operations against torch's counter on the real passes.

The counter does not see the CPU's fused attention kernel, so attention is compared with the kernel
that is made of matrix products. Its backward pass does not compute the scores again: twice the
forward products instead of 2.5 times.
"""

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechshift.attribution import eap, eap_ig
from mechshift.circuits import Circuit
from mechshift.denoising import build_canvases, left_to_right
from mechshift.evaluation import evaluate_circuits
from mechshift.models import PAIRS, model_shape
from mechshift.run.planning.batches import Batch, Pass
from mechshift.run.planning.flops import (
    backward_flops,
    circuit_flops,
    contraction_flops,
    forward_flops,
)
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import MatrixFlops

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
        forward * forward_flops(shape, BATCH.forward).total
        + backward * backward_flops(shape, BATCH.forward).total
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
        2 * forward_flops(shape, BATCH.forward).total
        + TARGETS * backward_flops(shape, BATCH.forward, gim=True).total
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
        2 * forward_flops(shape, BATCH.forward).total
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
            2 * forward_flops(shape, BATCH.forward).total
            + circuit_flops(shape, graph, BATCH, num_edges).total
        )
        circuit = circuit_of(graph, num_edges, seed)
        assert 0.4 * planned < counted_evaluation(model, canvases, circuit) <= planned


def test_a_forward_pass_is_two_operations_for_each_weight_and_token():
    """By hand, for Llama 2 7B's published shape: 6.48 G weights in its layers."""
    shape = PAIRS["diffullama-7b"].published_shape
    weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    one = forward_flops(shape, Pass(rows=1, positions=1, keys=1, readouts=0)).total
    assert one == 2 * weights + 4 * 32 * 4096
    read = forward_flops(shape, Pass(rows=1, positions=1, keys=1, readouts=1)).total
    assert read - one == 2 * 4096 * 32000
