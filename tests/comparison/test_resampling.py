import numpy as np

from mechshift.comparison import resampling
from mechshift.comparison.resampling import (
    CHUNK_BYTES,
    chunks,
    exchanged,
    exchanged_halves,
    halved,
    halves_of_resamples,
    mean_scores,
    pieces,
    resampled,
)
from mechshift.comparison.sources import Source, pool_mean
from mechshift.statistics import bootstrap_weights


def test_scores_are_averaged_with_their_signs() -> None:
    scores = np.array([[1.0, -2.0], [-1.0, -4.0]])
    np.testing.assert_array_equal(pool_mean(scores), [[0, -3]])
    np.testing.assert_array_equal(mean_scores(np.array([[0.75, 0.25]]), scores), [[0.5, -2.5]])


def test_an_exchange_trades_the_marked_examples_and_brings_both_models_to_one_scale() -> None:
    """By hand: the ARM's mean is (3, 4) of norm 5, the MDM's (0, 10) of norm 10."""
    arm, mdm = np.array([[2.0, 8.0], [4.0, 0.0]]), np.array([[-6.0, 8.0], [6.0, 12.0]])
    swapped = np.array([[False, False], [True, True], [False, True]])
    sizes = [Source(scores=scores).size for scores in (arm, mdm)]
    first, second = (side.of([arm, mdm]) for side in exchanged(swapped, *sizes))
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


def test_each_half_is_exchanged_by_itself() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 6, 5))
    first = np.array([True, False, True, True, False, False])
    swapped = np.array([[True, True, False, False, True, False]])
    sources = [Source(scores=of, examples=half) for half in (first, ~first) for of in scores]
    drawn = exchanged_halves(swapped, first, [source.size for source in sources])
    one_kept, two_kept, one_traded, two_traded = (
        rows.of([source.take() for source in sources]) for rows in drawn
    )
    for kept, traded, half in ((one_kept, one_traded, first), (two_kept, two_traded, ~first)):
        sizes = [np.linalg.norm(of[half].sum(axis=0)) for of in scores]
        parts = [of[half] / size for of, size in zip(scores, sizes, strict=True)]
        trades = swapped[0, half]
        sides = [np.where(trades[:, None], *pair).sum(axis=0) for pair in (parts[::-1], parts)]
        np.testing.assert_allclose(kept[0], sides[0], rtol=1e-12)
        np.testing.assert_allclose(traded[0], sides[1], rtol=1e-12)


def test_pieces_are_all_rows_one_after_the_other_and_may_reach_into_the_next(monkeypatch) -> None:
    scores = np.random.default_rng(0).normal(size=(2, 6, 5))
    weights = bootstrap_weights(6, 8, seed=0)
    monkeypatch.setattr(resampling, "CHUNK_BYTES", 2 * 3 * 5 * 8)  # 3 rows of 2 sets
    alone = list(pieces(resampled(weights), list(scores)))
    assert [len(piece[0]) for piece in alone] == [3, 3, 2]
    for model in (0, 1):
        rows = np.concatenate([piece[model] for piece in alone])
        np.testing.assert_allclose(rows, weights @ scores[model], rtol=1e-12)
    drawn = resampled(np.concatenate([weights, weights[:1]]))
    reaching = list(pieces(drawn, list(scores), beyond=1))
    assert [len(piece[0]) for piece in reaching] == [4, 4, 3]
    np.testing.assert_array_equal(reaching[0][1][3], reaching[1][1][0])


def test_halves_are_those_of_the_arm_then_those_of_the_mdm() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4, 3))
    first = np.array([[True, False, True, False]])
    found = [rows.of(list(scores))[0] for rows in halved(np.ones((1, 4)), first)]
    expected = [of[half].mean(axis=0) for of in scores for half in (first[0], ~first[0])]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_chunks_cover_every_row_once_and_stay_within_the_memory() -> None:
    rows = list(chunks(10, CHUNK_BYTES // 3))
    assert [row for part in rows for row in range(10)[part]] == list(range(10))
    assert max(part.stop - part.start for part in rows) == 3


def test_a_resamples_halves_share_no_example() -> None:
    weights = bootstrap_weights(11, 50, seed=0)
    first = halves_of_resamples(weights, 11, seed=1)
    distinct = np.count_nonzero(weights, axis=1)
    assert not (first & (weights == 0)).any()
    np.testing.assert_array_equal(first.sum(axis=1), distinct // 2)
