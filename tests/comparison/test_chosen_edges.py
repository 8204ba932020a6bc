"""Edges of the compared circuits, counted by hand and against the one selection of circuits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mechshift.circuits import select_top_edges
from mechshift.comparison import top_edges
from mechshift.comparison.chosen_edges import (
    Circuits,
    circuits_of,
    largest,
    rank_rows,
    strongest,
    strongest_first,
)
from mechshift.errors import ComparisonError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)


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
    found = list(circuits_of(list(scores), sizes))
    assert [size for size, _ in found] == sorted(sizes, reverse=True)
    for size, of_sets in found:
        everyone = set()
        for rows, circuits in zip(scores, of_sets, strict=True):
            for row, mask in zip(rows, circuits.members, strict=True):
                selected = select_top_edges(GRAPH, row, size).mask
                circuit = set(circuits.edges[mask])
                assert circuit == set(np.flatnonzero(selected & (row != 0)))
                assert circuit == set(top_edges(GRAPH, row, size))
                everyone |= circuit
        for rows, circuits in zip(scores, of_sets, strict=True):
            # Others are left out where that saves half of the columns or more.
            assert everyone <= set(circuits.edges)
            assert len(circuits.edges) <= max(2 * len(everyone), 1)
            assert (np.diff(circuits.edges) > 0).all()
            np.testing.assert_array_equal(circuits.scores, rows[:, circuits.edges])
            np.testing.assert_array_equal(circuits.magnitudes, np.abs(circuits.scores))


def test_the_circuit_is_the_selected_one_where_no_score_is_zero() -> None:
    scores = np.random.default_rng(1).normal(size=GRAPH.num_edges)
    for size in range(1, GRAPH.num_edges + 1):
        np.testing.assert_array_equal(
            top_edges(GRAPH, scores, size), select_top_edges(GRAPH, scores, size).edges
        )


@pytest.mark.parametrize("sizes", [[], [0], [3, 11]])
def test_sizes_outside_the_graph_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ComparisonError, match="do not all lie between 1 and 10 edges"):
        next(circuits_of([np.ones((1, 10))], sizes))


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(ComparisonError, match="hold NaN or infinity and cannot be ranked"):
        next(circuits_of([np.array([[1.0, np.nan]])], [1]))


def test_ranks_count_the_chosen_edges_alone() -> None:
    """|score| 5, 1, 4, 2 of which the first, third and fourth are chosen."""
    ((_, (circuits,)),) = circuits_of([np.array([[5.0, -1.0, -4.0, 2.0]])], [4])
    chosen = np.array([[True, False, True, True]])
    np.testing.assert_array_equal(circuits.ranks_within(chosen), [[3, 0, 2, 1]])


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_ranks_are_scipys_with_ties_averaged(seed: int, num_edges: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(-3, 4, size=(3, num_edges)).astype(float)
    chosen = generator.random(scores.shape) < 0.6
    circuits = Circuits(
        edges=np.arange(num_edges), scores=scores, magnitudes=np.abs(scores), members=chosen
    )
    ranks = circuits.ranks_within(chosen)
    for row in range(3):
        expected = rankdata(np.abs(scores[row, chosen[row]]))
        np.testing.assert_array_equal(ranks[row, chosen[row]], expected)
        np.testing.assert_array_equal(ranks[row, ~chosen[row]], 0)


@given(st.integers(0, 10_000), st.sampled_from([np.float32, np.float64]))
def test_edges_come_strongest_first_and_equal_ones_by_index(seed: int, dtype: type) -> None:
    magnitudes = np.random.default_rng(seed).integers(0, 5, size=(3, 17)).astype(dtype)
    expected = [
        sorted(range(17), key=lambda edge, row=row: (-row[edge], edge)) for row in magnitudes
    ]
    np.testing.assert_array_equal(strongest_first(magnitudes), expected)


@given(st.integers(0, 10_000), st.sets(st.integers(1, 20), min_size=1))
def test_a_shuffled_row_is_ranked_as_if_anew_also_among_ties(seed: int, sizes: set[int]) -> None:
    generator = np.random.default_rng(seed)
    row = generator.integers(-4, 5, size=(1, 20)).astype(float)
    columns = np.stack([generator.permutation(20) for _ in range(3)])
    shuffled = rank_rows(row, list(sizes)).shuffled(columns)
    anew = rank_rows(row[0][columns], list(sizes))
    np.testing.assert_array_equal(shuffled.ranks, anew.ranks)
    for (size, (one,)), (other_size, (other,)) in zip(
        circuits_of([shuffled], list(sizes)), circuits_of([anew], list(sizes)), strict=True
    ):
        assert size == other_size
        np.testing.assert_array_equal(one.edges, other.edges)
        np.testing.assert_array_equal(one.members, other.members)


def test_a_circuit_holds_the_strongest_edges_of_its_row() -> None:
    rows = np.array([[5.0, -1.0, -4.0, 2.0], [0.0, 1.0, 2.0, -3.0]])
    (two, (of_two,)), (one, (of_one,)) = circuits_of([rows], (1, 2))
    assert (one, two) == (1, 2)
    np.testing.assert_array_equal(of_one.edges, [0, 3])
    np.testing.assert_array_equal(of_one.members, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(of_one.scores, [[5, 2], [0, -3]])
    np.testing.assert_array_equal(of_two.edges, [0, 1, 2, 3])
    np.testing.assert_array_equal(of_two.members, [[1, 0, 1, 0], [0, 0, 1, 1]])


@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_strongest_edges_are_the_first_of_the_sorted_ones(seed: int, dtype: type) -> None:
    """With ties at the last place, zeros, and rows in which nothing is left to choose."""
    generator = np.random.default_rng(seed)
    magnitudes = generator.integers(0, 4, size=(6, 9)).astype(dtype)
    by_size = {}
    for size in range(1, 9):
        expected = np.zeros(magnitudes.shape, dtype=bool)
        np.put_along_axis(expected, strongest_first(magnitudes)[:, :size], True, axis=1)
        (found,) = strongest(magnitudes, [size])
        np.testing.assert_array_equal(found, expected & (magnitudes > 0))
        np.testing.assert_array_equal(largest(magnitudes, size), expected)
        by_size[size] = found
    several = dict(
        zip(sorted(by_size, reverse=True), strongest(magnitudes, [*by_size]), strict=True)
    )
    for size, found in by_size.items():
        np.testing.assert_array_equal(several[size], found)
