import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mechshift.comparison.mean_rows import MeanRows, circuits_of


def test_ranks_count_the_chosen_edges_alone() -> None:
    """|score| 5, 1, 4, 2 of which the first, third and fourth are chosen."""
    rows = MeanRows(scores=np.array([[5.0, -1.0, -4.0, 2.0]]))
    chosen = np.array([[True, False, True, True]])
    np.testing.assert_array_equal(rows.ranks_within(chosen), [[3, 0, 2, 1]])


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_ranks_are_scipys_with_ties_averaged(seed: int, num_edges: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(-3, 4, size=(3, num_edges)).astype(float)
    chosen = generator.random(scores.shape) < 0.6
    ranks = MeanRows(scores=scores).ranks_within(chosen)
    for row in range(3):
        expected = rankdata(np.abs(scores[row, chosen[row]]))
        np.testing.assert_array_equal(ranks[row, chosen[row]], expected)
        np.testing.assert_array_equal(ranks[row, ~chosen[row]], 0)


def test_a_circuit_holds_the_strongest_edges_of_its_row() -> None:
    rows = MeanRows(scores=np.array([[5.0, -1.0, -4.0, 2.0], [0.0, 1.0, 2.0, -3.0]]))
    (two, (of_two,)), (one, (of_one,)) = circuits_of([rows], (1, 2))
    assert (one, two) == (1, 2)
    np.testing.assert_array_equal(of_one.edges, [0, 3])
    np.testing.assert_array_equal(of_one.members, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(of_one.rows.scores, [[5, 2], [0, -3]])
    np.testing.assert_array_equal(of_two.edges, [0, 2, 3])
    np.testing.assert_array_equal(of_two.members, [[1, 1, 0], [0, 1, 1]])
