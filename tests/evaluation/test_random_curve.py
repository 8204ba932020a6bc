"""Random circuits of several draws, with shares that can be worked out by hand."""

import numpy as np
from scipy import stats

from mechshift.evaluation import CircuitMetrics, FaithfulnessCurve, RandomCurve, random_curve

FULL = np.array([4.0, 6.0, 5.0, 5.0])


def curve_keeping(*shares, sizes=(2, 5), full=FULL):
    """Every example keeps the same share of its metric; an empty circuit scores 0."""
    return FaithfulnessCurve(
        sizes=np.array(sizes),
        num_edges=10,
        metric=np.outer(shares, full),
        full=full,
        empty=np.zeros(len(full)),
    )


def test_the_curve_is_the_mean_of_its_draws():
    curve = RandomCurve(draws=(curve_keeping(0.1, 0.4), curve_keeping(0.3, 0.8)))
    np.testing.assert_allclose(curve.faithfulness, [0.2, 0.6])
    assert curve.sizes.tolist() == [2, 5]


def test_draws_that_agree_have_the_interval_of_a_circuit():
    metric = np.random.default_rng(0).normal(size=(2, 4))
    one = FaithfulnessCurve(
        sizes=np.array([2, 5]), num_edges=10, metric=metric, full=FULL, empty=np.zeros(4)
    )
    alone, drawn = one.interval(0.9, seed=3), RandomCurve(draws=(one,) * 20).interval(0.9, seed=3)
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(drawn, name), getattr(alone, name), rtol=1e-12)


def test_fewer_than_twenty_draws_have_a_mean_and_no_interval():
    draws = [curve_keeping(share, sizes=(5,)) for share in np.linspace(0.0, 0.38, 20)]
    few, enough = (RandomCurve(draws=tuple(draws[:count])) for count in (19, 20))
    assert not few.has_interval and enough.has_interval
    found = few.interval()
    np.testing.assert_allclose(found.value, [0.18])
    assert np.isnan(found.low).all() and np.isnan(found.high).all()
    # Examples agree, so the interval is that of a mean of twenty evenly spaced numbers.
    found = enough.interval(num_resamples=4000)
    spread = stats.t.ppf(0.975, 19) * np.std(np.linspace(0.0, 0.38, 20), ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(
        [found.low[0], found.high[0]], [0.19 - spread, 0.19 + spread], atol=0.004
    )


def test_draws_that_differ_vary_even_where_examples_agree():
    """Of draws at 0.2, 0.6 and 1 two are drawn again: means of every two, and of one twice."""
    curve = RandomCurve(draws=tuple(curve_keeping(kept, sizes=(2,)) for kept in (0.2, 0.6, 1.0)))
    values, counts = np.unique(
        curve.resampled(num_resamples=900)[:, 0].round(12), return_counts=True
    )
    assert values.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    np.testing.assert_allclose(counts / 900, np.array([1, 2, 3, 2, 1]) / 9, atol=0.06)


def test_draws_and_a_circuit_are_resampled_on_the_same_examples():
    """The metric varies tenfold over examples, the difference of shares not at all."""
    full = np.array([1.0, 10.0, 2.0, 7.0])
    noise = np.array([0.5, -3.0, 1.0, 2.0])
    own, other = (
        FaithfulnessCurve(
            sizes=np.array([5]),
            num_edges=10,
            metric=(share * full + noise)[None],
            full=full,
            empty=np.zeros(4),
        )
        for share in (0.9, 0.6)
    )
    drawn = own.resampled()
    assert np.ptp(drawn[:, 0]) > 0.3
    np.testing.assert_allclose(drawn - RandomCurve(draws=(other,)).resampled(), 0.3, atol=1e-12)


def test_metrics_of_draws_are_split_where_the_sizes_begin_anew():
    metric = np.arange(12.0).reshape(6, 2, 1)
    metrics = CircuitMetrics(
        sizes=np.array([2, 5, 2, 5, 2, 5]),
        live_sizes=np.array([1, 5, 2, 4, 0, 3]),
        num_edges=10,
        metric=metric,
        full=np.full((2, 1), 4.0),
        empty=np.zeros((2, 1)),
        num_steps=np.ones(2, dtype=int),
    )
    curve = random_curve(metrics)
    assert [draw.sizes.tolist() for draw in curve.draws] == [[2, 5]] * 3
    assert [draw.live_sizes.tolist() for draw in curve.draws] == [[1, 5], [2, 4], [0, 3]]
    np.testing.assert_array_equal(curve.draws[1].metric, [[4.0, 5.0], [6.0, 7.0]])
