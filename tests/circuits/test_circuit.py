import numpy as np
import pytest

from mechshift.circuits import Circuit
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)


def circuit(edges, scores):
    return Circuit(graph=GRAPH, edges=np.array(edges), scores=np.array(scores, dtype=float))


def test_a_circuit_knows_its_edges_by_mask_and_by_name():
    kept = circuit([4, 0], [-2.0, 1.0])
    assert kept.num_edges == 2
    assert np.flatnonzero(kept.mask).tolist() == [0, 4]
    assert kept.names() == ["a0.h0->m0", "input->a0.h0<q>"]


def test_a_circuit_may_be_empty():
    empty = Circuit(graph=GRAPH, edges=np.array([], dtype=int), scores=np.array([]))
    assert empty.num_edges == 0 and not empty.mask.any()


def test_edges_of_equal_strength_come_by_index_whatever_their_sign():
    assert circuit([1, 2, 0, 7], [-2.0, 2.0, 0.0, -0.0]).num_edges == 4


@pytest.mark.parametrize(
    ("edges", "scores", "message"),
    [
        ([0, 8], [2.0, 1.0], "1 edges lie outside a graph of 8 edges, the first being 8"),
        ([-1], [1.0], "the first being -1"),
        ([0, 1], [2.0, np.nan], "NaN or infinity"),
        ([0, 1], [-np.inf, 2.0], "NaN or infinity"),
        ([3, 3], [2.0, 1.0], "1 of a circuit's 2 edges occur twice"),
        ([0, 1], [1.0, -2.0], "by |score| descending"),
        ([1, 0], [2.0, -2.0], "ties by index"),
    ],
)
def test_edges_that_make_no_circuit_are_refused(edges, scores, message):
    with pytest.raises(CircuitError, match=message.replace("|", r"\|")):
        circuit(edges, scores)
