"""What the hand-made model of two circuits promises before anybody attributes it."""

import numpy as np
import pytest

from mechshift.circuits import Circuit
from mechshift.evaluation import evaluate_circuits
from mechshift.testing import two_circuits


def circuit_of(graph, names):
    known = [graph.edge_name(edge) for edge in range(graph.num_edges)]
    edges = np.sort([known.index(name) for name in names]).astype(np.int64)
    return Circuit(graph=graph, edges=edges, scores=np.ones(len(edges)))


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_each_circuit_answers_as_worked_out_by_hand(kind):
    made = two_circuits(kind, strengths=(31.0, 12.0))
    graph, (first, second) = made.model.graph(), made.circuits
    circuits = [circuit_of(graph, names) for names in (first, second, first + second)]
    found = evaluate_circuits(made.model, made.canvases, circuits, num_examples=8)
    metric = found.metric[..., 0]
    for row, heads in zip(metric, [(True, False), (False, True), (True, True)], strict=True):
        np.testing.assert_allclose(row, made.metric[heads], rtol=1e-5)
    np.testing.assert_allclose(found.full[:, 0], made.metric[True, True], rtol=1e-5)
    np.testing.assert_allclose(found.empty[:, 0], made.metric[False, False], atol=1e-6)


def test_one_of_two_strong_heads_is_enough_and_a_head_without_strength_does_nothing():
    both, alone, none = ((True, True), (True, False), (False, True))
    strong, single = two_circuits(), two_circuits(strengths=(31.0, 0.0))
    for row in range(8):
        assert 0.98 < strong.metric[alone][row] / strong.metric[both][row] < 1
        assert 0.98 < strong.metric[none][row] / strong.metric[both][row] < 1
        assert single.metric[none][row] == 0 and single.metric[alone] == single.metric[both]
