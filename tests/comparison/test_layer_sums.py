"""Sums by layer and the numbers of a shift, on profiles small enough to add up by hand."""

import numpy as np
import pytest

from mechshift.comparison.chosen_edges import circuits_of
from mechshift.comparison.layer_sums import (
    SHIFTS,
    cross_fitted_sums,
    layer_sums,
    shift_rows,
    wasserstein,
)
from mechshift.comparison.measures import end_sums
from mechshift.graph import Graph


def test_a_circuit_adds_up_by_writing_and_by_reading_layer() -> None:
    graph = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
    scores = np.zeros((1, graph.num_edges))
    for name, score in {
        "input->m0": 4.0,
        "m0->m1": -3.0,
        "m1->logits": 2.0,
        "m0->logits": 1,
    }.items():
        scores[0, graph.edge_index(name)] = score
    three, two = (
        layer_sums(graph, end_sums(graph, circuits))[0]
        for _, (circuits,) in circuits_of([scores], [3, 2])
    )
    np.testing.assert_array_equal(three, [[4, 3, 2], [4, 3, 2]])  # input, 0, 1; 0, 1, logits
    np.testing.assert_array_equal(two, [[4, 3, 0], [4, 3, 0]])


def test_a_half_is_added_up_with_the_edges_and_signs_of_the_other() -> None:
    """One half takes input->m0 (+) and m0->m1 (-), the other m0->m1 (+) and m1->logits (+)."""
    graph = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
    halves = np.zeros((2, 1, graph.num_edges))
    for name, scores in {
        "input->m0": (4.0, 1.0),
        "m0->m1": (-3.0, 6.0),
        "m1->logits": (1.0, 5.0),
    }.items():
        halves[:, 0, graph.edge_index(name)] = scores
    ((_, circuits),) = circuits_of(list(halves), [2])
    (sums,) = cross_fitted_sums(graph, *circuits)
    # input, 0, 1; then 0, 1, logits. One way 1, -6, 0; the other 0, -3, 1.
    np.testing.assert_array_equal(sums, [[0.5, -4.5, 0.5], [0.5, -4.5, 0.5]])


def test_the_numbers_of_a_shift_by_hand() -> None:
    """Shares 1/2, 1/2, 0 against 0, 1/2, 1/2: each half moves one layer up."""
    found = shift_rows(np.array([[2.0, 2.0, 0.0]]), np.array([[0.0, 1.0, 1.0]]))
    expected = {"early": -0.5, "middle": 0, "late": 0.5, "centre_of_mass": 1, "distance": 1}
    assert dict(zip(SHIFTS, found[0].tolist(), strict=True)) == pytest.approx(expected)


def test_the_distance_between_profiles_by_hand() -> None:
    """Half of the mass moves up two layers; then everything moves one."""
    one = np.array([[2.0, 0, 0], [0, 3.0, 0]])
    other = np.array([[4.0, 0, 4.0], [0, 0, 1.0]])
    np.testing.assert_allclose(wasserstein(one, other), [1, 1])
    np.testing.assert_allclose(wasserstein(other, one), [1, 1])
    assert np.isnan(wasserstein(one[:1], np.zeros((1, 3))))
