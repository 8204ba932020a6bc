import numpy as np
import pytest

from mechshift.errors import EvaluationError
from mechshift.evaluation import (
    MIB_FRACTIONS,
    FaithfulnessCurve,
    circuit_sizes,
    cmd,
    cpr,
    faithfulness,
)

FRACTIONS = np.array(MIB_FRACTIONS)


def curve_of(metric, *, full, empty, sizes=(1, 2), num_edges=10):
    return FaithfulnessCurve(
        sizes=np.array(sizes),
        num_edges=num_edges,
        metric=np.array(metric, dtype=float),
        full=np.array(full, dtype=float),
        empty=np.array(empty, dtype=float),
    )


def mib_curve(values):
    """One example on a graph of 1000 edges whose faithfulness at MIB's sizes is `values`."""
    metric = np.array(values, dtype=float)[:, None]
    return curve_of(metric, full=[1.0], empty=[0.0], sizes=circuit_sizes(1000), num_edges=1000)


# One number.


def test_faithfulness_is_a_ratio_of_means_not_a_mean_of_ratios():
    # Means: circuit 3, full 5, empty 1. The single examples' shares are 1/2 and 1/3.
    circuit, full, empty = np.array([5.0, 1.0]), np.array([9.0, 1.0]), np.array([1.0, 1.0])
    assert faithfulness(circuit, full, empty) == 0.5


@pytest.mark.parametrize(
    ("circuit", "share"),
    [(4.0, 1.0), (-2.0, 0.0), (2.5, 0.75), (7.0, 1.5), (-5.0, -0.5)],
)
def test_faithfulness_is_not_clipped(circuit, share):
    assert faithfulness(np.array([circuit]), np.array([4.0]), np.array([-2.0])) == share


def test_a_model_that_scores_below_its_empty_circuit_has_shares_too():
    assert faithfulness(np.array([-1.0]), np.array([-4.0]), np.array([0.0])) == 0.25


def test_float32_metrics_are_divided_in_double_precision():
    values = [np.array([x], dtype=np.float32) for x in (1.0, 3.0, 0.0)]
    assert faithfulness(*values) == pytest.approx(1 / 3, abs=1e-15)


@pytest.mark.parametrize("gap", [0.0, 9e-7, -9e-7])
def test_faithfulness_is_refused_where_full_and_empty_score_alike(gap):
    message = (
        r"undefined: the full model \(0.2500\) and the empty circuit \(0.2500\) score alike on 2"
        " examples. Choose another metric"
    )
    with pytest.raises(EvaluationError, match=message):
        faithfulness(np.array([1.0, 2.0]), np.array([0.25 + gap] * 2), np.array([0.5, 0.0]))


def test_a_small_gap_that_is_a_gap_is_not_refused():
    assert faithfulness(np.array([1e-6]), np.array([2e-6]), np.array([0.0])) == 0.5


# Areas.


def test_the_areas_of_a_perfect_circuit():
    assert cpr(FRACTIONS, np.ones(10)) == pytest.approx(0.999, abs=1e-15)
    assert cmd(FRACTIONS, np.ones(10)) == 0.0


def test_the_areas_of_a_circuit_that_is_empty_until_all_edges_are_in():
    values = np.array([0.0] * 9 + [1.0])
    # A triangle from 0.5 to 1.0; before it, all of the area below 1 is missing.
    assert cpr(FRACTIONS, values) == pytest.approx(0.25, abs=1e-15)
    assert cmd(FRACTIONS, values) == pytest.approx(0.499 + 0.25, abs=1e-15)


def test_the_areas_of_a_circuit_that_exceeds_the_model():
    values = np.array([0.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    # Trapezoids: .001 x 1/2, .003 x 3/2, .005 x 2, .01 x 3/2, then .98 x 1.
    assert cpr(FRACTIONS, values) == pytest.approx(1.01, abs=1e-15)
    # Of |1 - f| = 1, 0, 1, 1, 0, ...: .001 x 1/2, .003 x 1/2, .005 x 1, .01 x 1/2.
    assert cmd(FRACTIONS, values) == pytest.approx(0.012, abs=1e-15)


def test_areas_of_many_curves_are_those_of_each():
    values = np.random.default_rng(0).normal(size=(2, 3, 10))
    for area in (cpr, cmd):
        alone = [[float(area(FRACTIONS, row)) for row in block] for block in values]
        np.testing.assert_allclose(area(FRACTIONS, values), alone, atol=1e-15)


# Sizes.


def test_the_sizes_of_the_published_graphs():
    # 32,491 edges: GPT-2 small. 935,747: Qwen2.5-7B, ungrouped.
    gpt2 = [32, 65, 162, 325, 650, 1625, 3249, 6498, 16246, 32491]
    assert circuit_sizes(32_491).tolist() == gpt2
    qwen = [936, 1871, 4679, 9357, 18715, 46787, 93575, 187149, 467874, 935747]
    assert circuit_sizes(935_747).tolist() == qwen


def test_a_small_graph_has_fewer_sizes_and_at_least_one_edge_in_each():
    # 46 edges: 0.046, 0.092, 0.23, 0.46, 0.92, 2.3, 4.6, 9.2, 23, 46.
    assert circuit_sizes(46).tolist() == [1, 2, 5, 9, 23, 46]
    assert circuit_sizes(1).tolist() == [1]


# The curve.


def test_the_curve_of_two_circuits_by_hand():
    # Means: full 5, empty 1; circuits 2 and 6.
    curve = curve_of([[1.0, 3.0], [4.0, 8.0]], full=[4.0, 6.0], empty=[0.0, 2.0], sizes=(2, 5))
    assert curve.fractions.tolist() == [0.2, 0.5]
    assert curve.faithfulness.tolist() == [0.25, 1.25]


def test_a_curve_and_the_single_number_agree():
    generator = np.random.default_rng(0)
    metric, full = generator.normal(size=(2, 7)), generator.normal(3.0, size=7)
    curve = curve_of(metric, full=full, empty=np.zeros(7))
    alone = [faithfulness(row, full, np.zeros(7)) for row in metric]
    np.testing.assert_allclose(curve.faithfulness, alone, rtol=1e-14)


def test_cpr_and_cmd_of_a_curve_use_mibs_sizes_only():
    values = np.array([0.0, 0.2, 0.3, 0.5, 0.4, 0.9, 1.1, 1.0, 1.0, 1.0])
    curve = mib_curve(values)
    assert curve.cpr == pytest.approx(float(np.trapezoid(values, FRACTIONS)), abs=1e-15)
    assert curve.cmd == pytest.approx(float(np.trapezoid(abs(1 - values), FRACTIONS)), abs=1e-15)
    with_more = curve_of(
        np.insert(curve.metric, 9, 77.0, axis=0),
        full=curve.full,
        empty=curve.empty,
        sizes=np.insert(curve.sizes, 9, 700),
        num_edges=1000,
    )
    assert (with_more.cpr, with_more.cmd) == (curve.cpr, curve.cmd)


@pytest.mark.parametrize("area", ["cpr", "cmd"])
def test_areas_without_one_of_mibs_sizes_are_refused(area):
    curve = curve_of(np.ones((2, 1)), full=[1.0], empty=[0.0], sizes=(1, 46), num_edges=46)
    with pytest.raises(EvaluationError, match=r"circuits of \[2, 5, 9, 23\] edges too"):
        getattr(curve, area)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 2)])
def test_sizes_that_do_not_ascend_are_refused(sizes):
    message = rf"circuit sizes \[{sizes[0]}, {sizes[1]}\] of a curve must ascend"
    with pytest.raises(EvaluationError, match=message):
        curve_of([[1.0], [2.0]], full=[2.0], empty=[0.0], sizes=sizes)


def test_a_curve_without_examples_is_refused():
    with pytest.raises(EvaluationError, match="needs at least one example"):
        curve_of(np.zeros((2, 0)), full=[], empty=[])


def test_an_undefined_curve_is_refused_when_it_is_read():
    curve = curve_of([[1.0, 2.0], [3.0, 4.0]], full=[1.0, -1.0], empty=[-1.0, 1.0])
    with pytest.raises(EvaluationError, match="faithfulness is undefined"):
        _ = curve.faithfulness


# Intervals.


def test_resamples_of_three_examples_are_the_six_pairs_that_exist():
    # One example twice, or two of them: shares 2 / 4, 1 / 1, 0 / 5, and 3 / 5, 2 / 9, 1 / 6.
    curve = curve_of([[2.0, 1.0, 0.0]], full=[4.0, 1.0, 5.0], empty=[0.0] * 3, sizes=(1,))
    samples = curve.resampled(num_resamples=900)[:, 0]
    values, counts = np.unique(samples.round(9), return_counts=True)
    assert values == pytest.approx([0, 1 / 6, 2 / 9, 0.5, 0.6, 1], abs=1e-8)
    # Chances 1/9 and 2/9, give or take four standard errors.
    np.testing.assert_allclose(counts / 900, np.array([1, 2, 2, 1, 2, 1]) / 9, atol=0.06)


def test_equal_shares_leave_no_room_for_an_interval():
    full = np.array([1.0, 2.0, 5.0, 9.0])
    curve = curve_of([full / 4, full], full=full, empty=np.zeros(4))
    estimates = curve.interval()
    for bound in (estimates.value, estimates.low, estimates.high):
        np.testing.assert_allclose(bound, [0.25, 1.0], rtol=1e-12)


def test_resamples_depend_on_the_seed_alone():
    generator = np.random.default_rng(0)
    curve = curve_of(generator.normal(size=(2, 9)), full=np.full(9, 3.0), empty=np.zeros(9))
    first = curve.resampled(num_resamples=50, seed=1)
    assert first.shape == (50, 2)
    np.testing.assert_array_equal(curve.resampled(num_resamples=50, seed=1), first)
    assert (curve.resampled(num_resamples=50, seed=2) != first).any()


def test_the_interval_covers_the_true_share_as_often_as_it_says():
    """Pools drawn from a population whose faithfulness is 0.6 by construction."""
    generator = np.random.default_rng(0)
    hits = 0
    for pool in range(200):
        full = generator.normal(4.0, 1.0, size=80)
        empty = generator.normal(-1.0, 1.0, size=80)
        metric = 0.6 * full + 0.4 * empty + generator.normal(0.0, 1.5, size=80)
        curve = curve_of([metric], full=full, empty=empty, sizes=(1,))
        interval = curve.interval(0.9, num_resamples=200, seed=pool).at(0).interval
        hits += interval.contains(0.6)
    # 90 % of 200, give or take three standard errors.
    assert 167 <= hits <= 193


def test_a_wider_level_gives_a_wider_interval_around_the_same_value():
    generator = np.random.default_rng(0)
    curve = curve_of(generator.normal(size=(2, 20)), full=np.full(20, 3.0), empty=np.zeros(20))
    narrow, wide = curve.interval(0.5), curve.interval(0.99)
    np.testing.assert_array_equal(narrow.value, curve.faithfulness)
    np.testing.assert_array_equal(wide.value, curve.faithfulness)
    assert (wide.low < narrow.low).all() and (narrow.high < wide.high).all()
    assert (narrow.level, wide.level) == (0.5, 0.99)


def test_an_interval_is_refused_where_examples_cannot_tell_full_from_empty():
    curve = curve_of([[1.0, 1.0]], full=[5.0, -4.0], empty=[0.0, 0.0], sizes=(1,))
    assert curve.faithfulness.tolist() == [2.0]
    with pytest.raises(EvaluationError, match="on 2 examples .* is -4 to 5, which includes 0"):
        curve.interval()
