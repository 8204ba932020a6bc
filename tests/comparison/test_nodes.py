import numpy as np
import pytest

from mechshift.circuits import node_scores as circuit_node_scores
from mechshift.circuits import select_top_edges
from mechshift.comparison import node_jaccard, node_names, node_scores
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
GROUPED = Graph(num_layers=2, num_heads=2, num_key_value_groups=1)


def test_node_scores_by_hand_with_a_key_that_two_heads_share() -> None:
    graph = Graph(num_layers=1, num_heads=2, num_key_value_groups=1)
    magnitudes = np.zeros((1, graph.num_edges))
    for name, magnitude in {
        "input->a0.h0<q>": 1,
        "input->a0.h0<k>": 2,  # of both heads, half each
        "a0.h0->m0": 3,
        "m0->logits": 4,
    }.items():
        magnitudes[0, graph.edge_index(name)] = magnitude
    (scores,) = node_scores(graph, magnitudes)
    assert dict(zip(node_names(graph), scores.tolist(), strict=True)) == {
        "input": 1 + 2,
        "a0.h0": 1 + 1 + 3,
        "a0.h1": 1,
        "m0": 3 + 4,
        "logits": 4,
    }


@pytest.mark.parametrize("graph", [GRAPH, GROUPED])
def test_node_scores_are_those_of_the_circuit(graph: Graph) -> None:
    scores = np.random.default_rng(0).normal(size=graph.num_edges)
    circuit = select_top_edges(graph, scores, 15)
    magnitudes = np.where(circuit.mask, np.abs(scores), 0)[None]
    np.testing.assert_allclose(
        node_scores(graph, magnitudes)[0, :-1], circuit_node_scores(circuit), rtol=1e-12
    )


def test_node_overlap_by_hand() -> None:
    """Shares 1/4, 3/4, 0 and 1/4, 1/4, 1/2: minima sum to 1/2, maxima to 3/2."""
    first = np.array([[100.0, 1.0, 3.0, 0.0, 7.0]])
    second = np.array([[0.0, 2.0, 2.0, 4.0, 900.0]])
    np.testing.assert_allclose(node_jaccard(first, second), [1 / 3])
    np.testing.assert_allclose(node_jaccard(second, first), [1 / 3])


def test_node_overlap_ignores_the_scale_of_the_metric() -> None:
    scores = np.random.default_rng(1).random((5, 8))
    np.testing.assert_allclose(node_jaccard(scores, 250 * scores), np.ones(5))


def test_there_is_no_node_overlap_with_a_circuit_that_has_no_component() -> None:
    only_ends = np.array([[1.0, 0.0, 0.0, 1.0]])
    assert np.isnan(node_jaccard(only_ends, np.ones((1, 4)))).all()
