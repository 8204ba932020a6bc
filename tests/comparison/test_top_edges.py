"""Edge sets and their overlap, counted by hand and against the one selection of circuits."""

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.comparison import jaccard, top_edges
from mechshift.comparison.top_edges import held_edges, mask_jaccard
from mechshift.errors import ComparisonError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)


def test_jaccard_is_shared_edges_over_all_edges() -> None:
    assert jaccard(np.array([1, 2, 3]), np.array([5, 3, 2, 4])) == 2 / 5
    assert jaccard(np.array([5, 3, 2, 4]), np.array([1, 2, 3])) == 2 / 5
    assert jaccard(np.array([1, 2]), np.array([2, 1])) == 1
    assert jaccard(np.array([1]), np.array([2])) == 0


def test_top_edges_come_strongest_first_and_leave_out_zeros() -> None:
    scores = np.zeros(GRAPH.num_edges)
    scores[[4, 9, 20]] = [0.5, -2.0, 0.5]
    assert top_edges(GRAPH, scores, 2).tolist() == [9, 4]
    assert top_edges(GRAPH, scores, 10).tolist() == [9, 4, 20]


@pytest.mark.parametrize(
    "sizes", [[1, 2, 7, 20, GRAPH.num_edges - 1, GRAPH.num_edges], [7], [20, 3]]
)
def test_members_are_the_selected_circuit_less_its_zeros_also_among_ties(sizes: list[int]) -> None:
    """Small whole numbers: nearly every size cuts through a tie, and some scores are zero."""
    scores = np.random.default_rng(0).integers(-3, 4, (2, 20, GRAPH.num_edges)).astype(float)
    found = list(held_edges(list(np.abs(scores)), sizes))
    assert [held.size for held in found] == sorted(sizes, reverse=True)
    for held in found:
        everyone = set()
        for rows, members in zip(scores, held.members, strict=True):
            for row, mask in zip(rows, members, strict=True):
                selected = select_top_edges(GRAPH, row, held.size).mask
                circuit = set(held.edges[mask])
                assert circuit == set(np.flatnonzero(selected & (row != 0)))
                assert circuit == set(top_edges(GRAPH, row, held.size))
                everyone |= circuit
        assert held.edges.tolist() == sorted(everyone)


def test_the_circuit_is_the_selected_one_where_no_score_is_zero() -> None:
    scores = np.random.default_rng(1).normal(size=GRAPH.num_edges)
    for size in range(1, GRAPH.num_edges + 1):
        np.testing.assert_array_equal(
            top_edges(GRAPH, scores, size), select_top_edges(GRAPH, scores, size).edges
        )


def test_jaccard_of_masks_is_jaccard_of_sets() -> None:
    first, second = np.random.default_rng(2).random((2, 30, 12)) < 0.4
    expected = [
        jaccard(np.flatnonzero(one), np.flatnonzero(two))
        for one, two in zip(first, second, strict=True)
    ]
    np.testing.assert_array_equal(mask_jaccard(first, second), expected)


def test_an_overlap_of_nothing_is_refused() -> None:
    nothing = np.zeros((1, 3), dtype=bool)
    with pytest.raises(ComparisonError, match="every edge score is exactly zero"):
        mask_jaccard(nothing, nothing)
    with pytest.raises(ComparisonError, match="two empty edge sets is undefined"):
        jaccard(np.array([], dtype=int), np.array([], dtype=int))


@pytest.mark.parametrize("sizes", [[], [0], [3, 11]])
def test_sizes_outside_the_graph_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ComparisonError, match="do not all lie between 1 and 10 edges"):
        next(held_edges([np.ones((1, 10))], sizes))


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(ComparisonError, match="hold NaN or infinity and cannot be ranked"):
        next(held_edges([np.array([[1.0, np.nan]])], [1]))
