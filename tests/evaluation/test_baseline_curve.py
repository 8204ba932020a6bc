"""Baselines of several draws, with shares that can be worked out by hand."""

import numpy as np
import pytest

from mechshift.errors import EvaluationError
from mechshift.evaluation import (
    BaselineCurve,
    CircuitMetrics,
    FaithfulnessCurve,
    advantage,
    baseline_curve,
)

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


def test_a_baseline_is_the_mean_of_its_draws():
    baseline = BaselineCurve(draws=(curve_keeping(0.1, 0.4), curve_keeping(0.3, 0.8)))
    np.testing.assert_allclose(baseline.faithfulness, [0.2, 0.6])
    assert baseline.sizes.tolist() == [2, 5]


def test_one_draw_has_the_interval_of_a_circuit():
    metric = np.random.default_rng(0).normal(size=(2, 4))
    one = FaithfulnessCurve(
        sizes=np.array([2, 5]), num_edges=10, metric=metric, full=FULL, empty=np.zeros(4)
    )
    alone, drawn = one.interval(0.9, seed=3), BaselineCurve(draws=(one,)).interval(0.9, seed=3)
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(drawn, name), getattr(alone, name), rtol=1e-12)


def test_draws_that_differ_make_an_interval_even_where_examples_agree():
    """Two draws at 0.2 and 0.6: resampled means 0.2, 0.4 and 0.6 with chances 1/4, 1/2, 1/4."""
    baseline = BaselineCurve(draws=(curve_keeping(0.2, sizes=(2,)), curve_keeping(0.6, sizes=(2,))))
    values, counts = np.unique(
        baseline.resampled(num_resamples=400)[:, 0].round(12), return_counts=True
    )
    assert values.tolist() == [0.2, 0.4, 0.6]
    np.testing.assert_allclose(counts / 400, [0.25, 0.5, 0.25], atol=0.1)


def test_an_advantage_is_a_difference_on_the_same_resamples_of_examples():
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
    assert np.ptp(own.resampled()[:, 0]) > 0.3
    found = advantage(own, BaselineCurve(draws=(other,)), 5)
    for value in (found.value, found.interval.low, found.interval.high):
        assert value == pytest.approx(0.3, abs=1e-12)


def test_an_advantage_is_read_at_its_size_in_both_curves():
    baseline = BaselineCurve(draws=(curve_keeping(0.25, sizes=(5,)),))
    assert advantage(curve_keeping(0.5, 0.75), baseline, 5).value == pytest.approx(0.5)
    with pytest.raises(EvaluationError, match="no circuit of 2 edges was run, only of 5; evaluate"):
        advantage(curve_keeping(0.5, 0.75), baseline, 2)


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
    curve = baseline_curve(metrics)
    assert [draw.sizes.tolist() for draw in curve.draws] == [[2, 5]] * 3
    assert [draw.live_sizes.tolist() for draw in curve.draws] == [[1, 5], [2, 4], [0, 3]]
    np.testing.assert_array_equal(curve.draws[1].metric, [[4.0, 5.0], [6.0, 7.0]])
