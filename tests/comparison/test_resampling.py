import numpy as np
import pytest

from mechshift.comparison.resampling import (
    CHUNK_BYTES,
    check_scores,
    chunks,
    halves_of_resamples,
    mean_magnitudes,
    pool_magnitudes,
)
from mechshift.errors import ComparisonError
from mechshift.statistics import bootstrap_weights


def test_the_mean_comes_before_the_absolute_value() -> None:
    scores = np.array([[1.0, -2.0], [-1.0, -4.0]])
    np.testing.assert_array_equal(pool_magnitudes(scores), [[0, 3]])
    np.testing.assert_array_equal(mean_magnitudes(np.array([[0.75, 0.25]]), scores), [[0.5, 2.5]])


def test_the_pool_ranks_edges_of_the_same_scores_alike() -> None:
    """Equal in every example, so equal in the mean, to the last bit."""
    column = np.random.default_rng(0).normal(size=(101, 1)).astype(np.float32)
    means = pool_magnitudes(np.repeat(column, 37, axis=1))
    assert len(np.unique(means)) == 1


def test_chunks_cover_every_row_once_and_stay_within_the_memory() -> None:
    num_edges = CHUNK_BYTES // (8 * 3)
    rows = list(chunks(10, num_edges))
    assert [row for part in rows for row in range(10)[part]] == list(range(10))
    assert max(part.stop - part.start for part in rows) == 3


def test_a_resamples_halves_share_no_example() -> None:
    weights = bootstrap_weights(11, 50, seed=0)
    first = halves_of_resamples(weights, seed=1)
    distinct = np.count_nonzero(weights, axis=1)
    assert not (first & (weights == 0)).any()
    np.testing.assert_array_equal(first.sum(axis=1), distinct // 2)


@pytest.mark.parametrize(
    ("arm", "mdm", "message"),
    [
        (np.ones((12, 4)), np.ones((12, 5)), r"\(12, 4\) and the MDM's \(12, 5\)"),
        (np.ones((9, 4)), np.ones((9, 4)), "9 examples are too few"),
        (np.ones((12, 4)), np.full((12, 4), np.nan), "the MDM's edge scores hold NaN"),
        (np.zeros((12, 4)), np.ones((12, 4)), "every edge score of the ARM is exactly zero"),
    ],
)
def test_scores_that_allow_no_comparison_are_refused(
    arm: np.ndarray, mdm: np.ndarray, message: str
) -> None:
    with pytest.raises(ComparisonError, match=message):
        check_scores(arm, mdm)
