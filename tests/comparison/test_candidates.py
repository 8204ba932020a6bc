"""Means over all candidates: solved by hand, and simulated with the share that is solved drawn."""

import numpy as np
import pytest

from mechshift.comparison import Blocks, Candidates, delete_a_block, worst_case
from mechshift.errors import ComparisonError
from mechshift.statistics import NUM_BLOCKS, Estimate, Interval

BLOCKS = Blocks(
    # Ten candidates in three blocks; both models solve six, of which four are scored, and two of
    # the other four are.
    tried=np.array([4, 3, 3]),
    solved=np.array([2, 3, 1]),
    common=np.array([0, 0, 1, 2]),
    others=np.array([0, 2]),
)
COMMON = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 2.0], [7.0, 2.0]])
OTHERS = np.array([[10.0, 1.0], [20.0, 3.0]])


def test_a_mean_over_all_candidates_weighs_both_kinds_by_how_many_there_are():
    weights = BLOCKS.weights("all")
    # 0.6 of the candidates are solved by both, a quarter of that for each of four; 0.4 are not.
    np.testing.assert_allclose(weights, [[0.15, 0.15, 0.15], [0.2, 0.2, 0.2]])
    sums = BLOCKS.sums(COMMON, OTHERS)
    np.testing.assert_array_equal(sums[0], [[4, 0], [5, 2], [7, 2]])
    np.testing.assert_array_equal(sums[1], [[10, 1], [0, 0], [20, 3]])
    rows = BLOCKS.rows(sums, "all")
    np.testing.assert_allclose(rows.mean(axis=0), 0.6 * COMMON.mean(0) + 0.4 * OTHERS.mean(0))
    np.testing.assert_allclose(BLOCKS.rows(sums, "common").mean(axis=0), COMMON.mean(axis=0))
    others = BLOCKS.rows(sums, "others")
    np.testing.assert_allclose(others, OTHERS)  # one row for each of the two blocks that hold one


def test_without_a_block_the_share_and_both_means_are_those_of_the_rest():
    """Without the first: 4 of 6 are solved by both, of which two are scored; one other is."""
    sums = BLOCKS.sums(COMMON, OTHERS)
    rows = BLOCKS.rows(sums, "all", without=0)
    assert rows.shape == (3, 2) and not rows[0].any()
    expected = 4 / 6 * np.array([6.0, 2.0]) + 2 / 6 * np.array([20.0, 3.0])
    np.testing.assert_allclose(rows.mean(axis=0), expected)
    # 4/6 for each of two, and 2/6 for one; where no other is scored its weight meets nothing.
    weights = BLOCKS.weights("all", without=0)
    np.testing.assert_allclose(weights, [[0, 1 / 3, 1 / 3], [0, 1 / 3, 1 / 3]])


def test_nothing_is_said_of_others_of_whom_none_is_scored():
    nobody = Blocks(
        tried=np.array([2, 2]),
        solved=np.array([1, 2]),
        common=np.array([0, 1, 1]),
        others=np.zeros(0, dtype=np.int64),
    )
    with pytest.raises(ComparisonError, match="no example of all candidates is scored"):
        nobody.weights("all")
    # The only candidate that not both solve lies in the first block: the rest is all common.
    np.testing.assert_allclose(nobody.weights("all", without=0), [[0, 0.5], [0, 0]])


def test_whole_clusters_are_dealt_and_scores_follow_their_candidates():
    clusters = np.repeat(np.arange(100, 140), 3)
    both = np.tile([True, True, False], 40)
    candidates = Candidates(
        both_correct=both,
        clusters=clusters,
        common=clusters[both][:50],
        others=clusters[~both][:10],
    )
    assert candidates.num_others == 40 and not candidates.all_scored
    blocks = candidates.dealt(seed=3)
    assert blocks.num_blocks == NUM_BLOCKS and sorted(set(blocks.tried.tolist())) == [3, 6]
    np.testing.assert_array_equal(blocks.solved * 3, blocks.tried * 2)
    # A cluster's two common examples, and its other one, are in one block.
    np.testing.assert_array_equal(blocks.common[0:20:2], blocks.common[1:20:2])
    np.testing.assert_array_equal(blocks.others, blocks.common[0:20:2])
    assert blocks.num_scored.sum(axis=1).tolist() == [50, 10]
    again = candidates.dealt(seed=3)
    np.testing.assert_array_equal(blocks.common, again.common)
    with pytest.raises(ComparisonError, match="in which there is no candidate"):
        Candidates(
            both_correct=both, clusters=clusters, common=np.array([7]), others=np.array([100])
        )


def test_the_interval_is_that_of_a_jackknife_by_hand():
    """The mean of 0, 2, 4 has the standard error 2 / sqrt(3), as values without one say."""
    found = delete_a_block(2.0, np.array([3.0, 2.0, 1.0]), 0.95)
    assert found is not None and found.value == 2.0
    assert found.interval.high - 2.0 == pytest.approx(4.302653 * 2 / 3**0.5)  # t of 2, a table
    assert delete_a_block(2.0, np.array([3.0, np.nan, 1.0]), 0.95) is None
    assert delete_a_block(2.0, np.array([2.0]), 0.95) is None


def test_bounds_are_what_the_others_could_make_of_a_share_at_worst():
    common = Estimate(value=0.3, interval=Interval(low=0.2, high=0.4, level=0.95))
    share = Estimate(value=0.9, interval=Interval(low=0.8, high=0.95, level=0.95))
    bounds = worst_case(common, share, -1.0, 1.0)
    assert (bounds.low, bounds.high) == pytest.approx((0.8 * 0.2 - 0.2, 0.8 * 0.4 + 0.2))
    sure = Estimate(value=1.0, interval=Interval(low=1.0, high=1.0, level=0.95))
    assert worst_case(common, sure, -1.0, 1.0) == common.interval


def simulated(generator, *, whole_share):
    """A mean over candidates in clusters of two; what is solved scores 1 more, and others -1.

    Args:
        generator: of everything.
        whole_share: whether the interval counts the share that is solved as known.
    """
    clusters = np.repeat(np.arange(150), 2)
    both = np.repeat(generator.random(150) < 0.5, 2)
    score = np.where(both, 1.0, -1.0) + np.repeat(generator.normal(size=150), 2) * 0.5
    score += generator.normal(size=300) * 0.5
    common = np.flatnonzero(both)[:100]
    others = generator.permutation(np.flatnonzero(~both))[:50]
    candidates = Candidates(
        both_correct=both, clusters=clusters, common=clusters[common], others=clusters[others]
    )
    blocks = candidates.dealt(seed=0)
    if whole_share:
        share = np.full(blocks.num_blocks, 1000)
        blocks = Blocks(
            tried=share,
            solved=np.round(share * both.mean()).astype(np.int64),
            common=blocks.common,
            others=blocks.others,
        )
    sums = blocks.sums(score[common, None], score[others, None])

    def mean(without=None):
        return float(blocks.weights("all", without).ravel() @ sums.reshape(-1))

    found = delete_a_block(mean(), np.array([mean(b) for b in range(blocks.num_blocks)]), 0.95)
    assert found is not None
    return found


def test_the_interval_holds_the_mean_over_all_candidates_the_share_of_the_solved_drawn_too():
    """0 is the truth; with the share taken as known, its interval would be far too narrow."""
    generator = np.random.default_rng(0)
    found = [simulated(generator, whole_share=False) for _ in range(400)]
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 3 * values.std() / 400**0.5
    held = np.mean([not one.excludes(0.0) for one in found])
    assert 0.92 <= held <= 0.98  # 0.95, and three standard deviations of 400
    errors = [(one.interval.high - one.value) / 2.0395 for one in found]  # t of 31, a table
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(values.std(), rel=0.12)
    narrow = [simulated(generator, whole_share=True) for _ in range(200)]
    assert np.mean([not one.excludes(0.0) for one in narrow]) < 0.9
