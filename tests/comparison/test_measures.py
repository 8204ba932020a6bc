"""Each kind of likeness by hand, against SciPy, and by its laws."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mechshift.circuits import node_scores as circuit_node_scores
from mechshift.circuits import select_top_edges
from mechshift.comparison import node_jaccard, node_names, node_scores
from mechshift.comparison.chosen_edges import Circuits, circuits_of
from mechshift.comparison.measures import (
    Measure,
    edge_measure,
    mask_jaccard,
    measures_beyond_edges,
)
from mechshift.errors import ComparisonError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
TWO_HEADS = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
GROUPED = Graph(num_layers=2, num_heads=2, num_key_value_groups=1)
NUM_EDGES = GRAPH.num_edges
MEASURES = {measure.name: measure for measure in (edge_measure(), *measures_beyond_edges(GRAPH))}


def circuits(*sets: np.ndarray, size: int) -> list[Circuits]:
    """Circuits of one size in several sets of rows, over the edges that any of them holds."""
    ((_, found),) = circuits_of(sets, (size,))
    return found


def of_edges(*scores: float) -> np.ndarray:
    """One row with these scores on the first edges."""
    return np.array([[*scores, *np.zeros(NUM_EDGES - len(scores))]])


def measured(name: str, first: np.ndarray, second: np.ndarray, size: int) -> float:
    return float(MEASURES[name].of(*circuits(first, second, size=size))[0])


def test_weighted_jaccard_by_hand() -> None:
    """Union of the top 2: edges 0, 1, 2. Shares 6, 3, 1 of 10 against 1, 1, 3 of 5."""
    first, second = of_edges(6, -3, 1, 0.5), of_edges(1, 0.5, -3)
    second[0, 1] = 1.0
    minima = 0.2 + 0.2 + 0.1
    maxima = 0.6 + 0.3 + 0.6
    union_of_two = measured("weighted", first, second, 2)
    assert union_of_two == pytest.approx(minima / maxima)


def test_sign_agreement_counts_common_edges_alone() -> None:
    """Common to the top 3: edges 0, 1. Edge 0 keeps its sign, edge 1 does not."""
    first, second = of_edges(5, -4, 3, 0, 1), of_edges(2, 4, 0, 3, 1)
    assert measured("sign", first, second, 3) == 0.5


def test_circuits_without_a_common_edge_have_no_sign_agreement() -> None:
    assert np.isnan(measured("sign", of_edges(1, 0), of_edges(0, 1), 1))


@pytest.mark.parametrize("size", [3, 8, NUM_EDGES])
def test_rank_agreement_is_spearmans_over_the_union(size: int) -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4, NUM_EDGES))
    first, second = circuits(*scores, size=size)
    found = MEASURES["rank"].of(first, second)
    union = first.members | second.members
    for row in range(4):
        values = (np.abs(rows[row, first.edges[union[row]]]) for rows in scores)
        assert found[row] == pytest.approx(spearmanr(*values).statistic)


@pytest.mark.parametrize("name", MEASURES)
def test_every_likeness_is_symmetric_bounded_and_one_for_equals(name: str) -> None:
    measure: Measure = MEASURES[name]
    one, other = np.random.default_rng(1).normal(size=(2, 50, NUM_EDGES))
    first, second = circuits(one, other, size=8)
    there, back = measure.of(first, second), measure.of(second, first)
    np.testing.assert_allclose(there, back)
    defined = there[np.isfinite(there)]
    assert (defined >= measure.lowest - 1e-12).all() and (defined <= 1 + 1e-12).all()
    np.testing.assert_allclose(measure.of(first, first), 1)


@pytest.mark.parametrize("name", MEASURES)
def test_no_likeness_depends_on_the_unit_of_the_metric(name: str) -> None:
    one, other = np.random.default_rng(2).normal(size=(2, 20, NUM_EDGES))
    as_is = MEASURES[name].of(*circuits(one, other, size=6))
    scaled = MEASURES[name].of(*circuits(one, 16 * other, size=6))
    np.testing.assert_allclose(as_is, scaled)


def test_a_rank_of_edges_that_are_all_equally_strong_is_undefined() -> None:
    assert np.isnan(measured("rank", of_edges(1, 1, 1), of_edges(3, 2, 1), 3))


def masks(*sets: set[int]) -> np.ndarray:
    return np.array([[edge in one for edge in range(6)] for one in sets])


def test_jaccard_is_shared_edges_over_all_edges() -> None:
    first = masks({1, 2, 3}, {5, 3, 2, 4}, {1, 2}, {1})
    second = masks({5, 3, 2, 4}, {1, 2, 3}, {2, 1}, {2})
    np.testing.assert_array_equal(mask_jaccard(first, second), [2 / 5, 2 / 5, 1, 0])


def test_jaccard_of_masks_is_jaccard_of_sets() -> None:
    first, second = np.random.default_rng(2).random((2, 30, 12)) < 0.4
    sets = (map(set, map(np.flatnonzero, pair)) for pair in zip(first, second, strict=True))
    expected = [len(one & two) / len(one | two) for one, two in sets]
    np.testing.assert_array_equal(mask_jaccard(first, second), expected)


def test_an_overlap_of_nothing_is_refused() -> None:
    nothing = np.zeros((1, 3), dtype=bool)
    with pytest.raises(
        ComparisonError, match="two empty edge sets is undefined: every edge score is exactly zero"
    ):
        mask_jaccard(nothing, nothing)


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


@pytest.mark.parametrize("graph", [TWO_HEADS, GROUPED])
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
