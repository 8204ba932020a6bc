import numpy as np

from mechshift.comparison.resampling import (
    CHUNK_BYTES,
    chunks,
    exchanged_means,
    halves_of_resamples,
    mean_scores,
    pool_mean,
)
from mechshift.statistics import bootstrap_weights


def test_scores_are_averaged_with_their_signs() -> None:
    scores = np.array([[1.0, -2.0], [-1.0, -4.0]])
    np.testing.assert_array_equal(pool_mean(scores), [[0, -3]])
    np.testing.assert_array_equal(mean_scores(np.array([[0.75, 0.25]]), scores), [[0.5, -2.5]])


def test_an_exchange_trades_the_marked_examples_and_brings_both_models_to_one_scale() -> None:
    """By hand: the ARM's mean is (3, 4) of norm 5, the MDM's (0, 10) of norm 10."""
    arm, mdm = np.array([[2.0, 8.0], [4.0, 0.0]]), np.array([[-6.0, 8.0], [6.0, 12.0]])
    swapped = np.array([[False, False], [True, True], [False, True]])
    first, second = exchanged_means(swapped, arm, mdm)
    np.testing.assert_allclose(first[0], [3 / 5, 4 / 5])
    np.testing.assert_allclose(second[0], [0, 1], atol=1e-15)
    np.testing.assert_allclose(first[1], second[0], atol=1e-15)
    np.testing.assert_allclose(second[1], first[0])
    np.testing.assert_allclose(first[2], [(2 / 5 + 6 / 10) / 2, (8 / 5 + 12 / 10) / 2])
    np.testing.assert_allclose(first.sum(axis=1) + second.sum(axis=1), 2.4)


def test_the_pool_ranks_edges_of_the_same_scores_alike() -> None:
    """Equal in every example, so equal in the mean, to the last bit."""
    column = np.random.default_rng(0).normal(size=(101, 1)).astype(np.float32)
    means = pool_mean(np.repeat(column, 37, axis=1))
    assert len(np.unique(means)) == 1


def test_chunks_cover_every_row_once_and_stay_within_the_memory() -> None:
    num_edges = CHUNK_BYTES // (8 * 3)
    rows = list(chunks(10, num_edges))
    assert [row for part in rows for row in range(10)[part]] == list(range(10))
    assert max(part.stop - part.start for part in rows) == 3


def test_a_resamples_halves_share_no_example() -> None:
    weights = bootstrap_weights(11, 50, seed=0)
    first = halves_of_resamples(weights, 11, seed=1)
    distinct = np.count_nonzero(weights, axis=1)
    assert not (first & (weights == 0)).any()
    np.testing.assert_array_equal(first.sum(axis=1), distinct // 2)
