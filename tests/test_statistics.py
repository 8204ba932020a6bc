from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from mechshift.errors import ConfigError, MechshiftError
from mechshift.statistics import (
    NUM_BLOCKS,
    Estimate,
    Estimates,
    Interval,
    bootstrap_weights,
    centred_estimate,
    centred_estimates,
    cluster_numbers,
    exchange_masks,
    holm,
    jackknife_variance,
    no_narrower_than_jackknife,
    num_clusters,
    percentile_estimates,
    percentile_interval,
    permutation_p,
    share_correct,
    simultaneous_reach,
    split_halves,
    spread_of_draws,
    weights_without_blocks,
)


def covered_share(intervals, truth):
    return np.mean([interval.contains(truth) for interval in intervals])


def test_what_can_be_detected_is_what_is_excluded_so_often() -> None:
    """Of normal estimates 1.96 + 0.84 standard errors off, 80 % have intervals that exclude 0."""
    level = 0.99
    estimate = Estimate(value=0.0, interval=Interval(low=-0.98, high=0.98, level=0.95))
    truth = estimate.detectable(level)
    assert truth == pytest.approx(0.5 * (2.5758 + 0.8416), rel=1e-3)
    drawn = np.random.default_rng(0).normal(truth, 0.5, size=4000)
    intervals = (
        replace(estimate, value=one, interval=Interval(low=one - 0.98, high=one + 0.98, level=0.95))
        for one in drawn.tolist()
    )
    share = np.mean([one.at_level(level).excludes(0.0) for one in intervals])
    assert share == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("num_examples", "num_drawn"), [(1, 1), (2, 1), (5, 3), (6, 3), (7, 4), (50, 47)]
)
def test_each_resample_draws_three_fewer_than_there_are_or_half_of_few(num_examples, num_drawn):
    weights = bootstrap_weights(num_examples, 500, seed=0)
    assert weights.shape == (500, num_examples)
    counts = weights * num_drawn
    np.testing.assert_allclose(counts, counts.round(), atol=1e-12)
    np.testing.assert_array_equal(counts.round().sum(axis=1), num_drawn)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_bootstrap_counts_have_the_moments_of_draws_with_replacement():
    counts = bootstrap_weights(10, 50_000, seed=1) * 7
    np.testing.assert_allclose(counts.mean(axis=0), 0.7, atol=0.03)
    np.testing.assert_allclose(counts.var(axis=0), 0.7 * (1 - 1 / 10), atol=0.03)
    # Drawing one example leaves fewer draws for another.
    assert np.cov(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-0.7 / 10, abs=0.03)


@pytest.mark.parametrize("num_clusters", [20, 60, 200])
def test_an_interval_reaches_as_far_as_students_t(num_clusters):
    """The mean of n numbers has the interval of the textbook, t s / sqrt(n) to either side."""
    values = np.random.default_rng(0).normal(size=num_clusters)
    means = bootstrap_weights(num_clusters, 40_000, seed=1) @ values
    low, high = np.percentile(means, [2.5, 97.5])
    error = values.std(ddof=1) / np.sqrt(num_clusters)
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, num_clusters - 1) * error, rel=0.02)


def test_intervals_over_few_clusters_hold_the_truth():
    """20 clusters, below which nothing is decided: 0.93 or more; 20 draws hold it in 0.915."""
    generator = np.random.default_rng(0)
    held = []
    for seed in range(2000):
        values = generator.normal(size=20)
        estimate = centred_estimate(values.mean(), bootstrap_weights(20, 300, seed) @ values)
        held.append(estimate.interval.contains(0.0))
    assert np.mean(held) > 0.93


def test_a_weighted_mean_is_the_mean_of_the_drawn_examples():
    weights = bootstrap_weights(5, 20, seed=2)
    values = np.arange(5.0)
    for row in weights:
        drawn = np.repeat(values, (row * 3).round().astype(int))
        assert row @ values == pytest.approx(drawn.mean())


def test_the_seed_decides_the_resamples():
    np.testing.assert_array_equal(bootstrap_weights(9, 5, seed=3), bootstrap_weights(9, 5, seed=3))
    assert (bootstrap_weights(9, 5, seed=3) != bootstrap_weights(9, 5, seed=4)).any()


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0)])
def test_a_bootstrap_of_nothing_is_refused(sizes):
    message = "a bootstrap needs at least one example and one resample, not"
    with pytest.raises(ConfigError, match=f"{message} {sizes[0]} and {sizes[1]}"):
        bootstrap_weights(*sizes, seed=0)


@pytest.mark.parametrize(("num_examples", "first"), [(2, 1), (5, 2), (8, 4)])
def test_the_first_half_holds_half_of_the_examples_rounded_down(num_examples, first):
    halves = split_halves(num_examples, 30, seed=0)
    assert halves.shape == (30, num_examples)
    np.testing.assert_array_equal(halves.sum(axis=1), first)


def test_every_example_is_as_often_in_the_first_half_as_any_other():
    halves = split_halves(5, 20_000, seed=0)
    np.testing.assert_allclose(halves.mean(axis=0), 2 / 5, atol=0.02)
    # Both of a pair: 2/5 * 1/4.
    assert (halves[:, 0] & halves[:, 1]).mean() == pytest.approx(1 / 10, abs=0.02)


def test_the_seed_decides_the_halves():
    np.testing.assert_array_equal(split_halves(8, 5, seed=3), split_halves(8, 5, seed=3))
    assert (split_halves(8, 5, seed=3) != split_halves(8, 5, seed=4)).any()


@pytest.mark.parametrize("sizes", [(1, 10), (10, 0)])
def test_halves_of_less_than_two_examples_are_refused(sizes):
    message = "split halves need at least two clusters of examples and one split, not"
    with pytest.raises(ConfigError, match=f"{message} {sizes[0]} and {sizes[1]}"):
        split_halves(*sizes, seed=0)


def test_a_percentile_interval_leaves_as_much_out_on_both_sides():
    samples = np.random.default_rng(0).permutation(np.arange(101.0))
    interval = percentile_interval(samples, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))
    assert interval.level == 0.9
    # Between two samples: 2.5 % of the way from 0 to 1.
    short = percentile_interval(np.array([0.0, 1.0]))
    assert (short.low, short.high) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "an interval needs at least one resample, and there is none"),
        (
            [1.0, np.nan, np.inf],
            "2 of 3 resampled values are not finite, so they have no interval",
        ),
    ],
)
def test_samples_without_an_interval_are_refused(samples, message):
    with pytest.raises(MechshiftError, match=message):
        percentile_interval(np.array(samples))
    with pytest.raises(MechshiftError, match=message):
        centred_estimate(0.0, np.array(samples))


def test_centring_moves_the_samples_so_that_their_mean_is_the_value():
    samples = np.arange(101.0)  # mean 50; the central 90 % is 5 to 95
    estimate = centred_estimate(10.0, samples, level=0.9)
    assert estimate.value == 10.0
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((-35.0, 55.0))


def test_a_centred_interval_stays_within_the_bounds_and_contains_its_value():
    samples = np.arange(101.0) / 100
    bounded = centred_estimate(0.1, samples, level=0.9, bounds=(0.0, 1.0))
    assert (bounded.interval.low, bounded.interval.high) == pytest.approx((0.0, 0.55))
    # Of these samples the lower 95 % lie below their mean: the interval is stretched to the value.
    skewed = np.array([0.0] * 99 + [100.0])
    lopsided = centred_estimate(5.0, skewed, level=0.9)
    assert (lopsided.interval.low, lopsided.interval.high) == pytest.approx((4.0, 5.0))


def test_estimates_of_an_array_are_those_of_its_entries():
    generator = np.random.default_rng(0)
    values, samples = generator.normal(size=3), generator.normal(size=(200, 3))
    several = centred_estimates(values, samples, level=0.8, bounds=(-1.0, 1.0))
    for index, value in enumerate(values):
        alone = centred_estimate(value, samples[:, index], level=0.8, bounds=(-1.0, 1.0))
        assert several.at(index) == alone


@pytest.mark.parametrize("undefined", ["value", "low", "high"])
def test_an_entry_without_a_value_or_an_interval_is_none(undefined):
    arrays = {name: np.array([0.0, 0.0]) for name in ("value", "low", "high")}
    arrays[undefined][0] = np.nan
    estimates = Estimates(level=0.9, **arrays)
    assert estimates.at(0) is None
    assert estimates.at(1) == Estimate(value=0.0, interval=Interval(low=0.0, high=0.0, level=0.9))


@pytest.mark.parametrize("num_trials", [1, 7, 200])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_an_interval_of_a_proportion_is_wilsons(num_trials, level):
    """Its bounds p solve (share - p)^2 = z^2 p (1 - p) / n; at 0 and 1 one of them is exact."""
    z = norm.ppf((1 + level) / 2)
    for num_successes in sorted({0, 1, num_trials // 3, num_trials - 1, num_trials}):
        found, share = (
            interval_of_share(num_successes, num_trials, level),
            num_successes / num_trials,
        )
        squares = [1 + z**2 / num_trials, -2 * share - z**2 / num_trials, share**2]
        expected = sorted(np.roots(squares).real)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
        assert num_successes > 0 or found.low == 0
        assert num_successes < num_trials or found.high == 1
        theirs = binomtest(num_successes, num_trials).proportion_ci(level, method="wilson")
        assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)


def interval_of_share(num_successes, num_trials, level=0.95):
    """Of examples that are each a cluster of their own."""
    return share_correct(np.arange(num_trials) < num_successes, num_trials, level).interval


def test_rows_become_estimates_where_every_row_is_defined():
    """Of three entries the second lacks a resample and the third the value."""
    rows = np.array([[0.5, 2.0, np.nan], [0.2, np.nan, 1.0], [0.4, 3.0, 1.0], [0.9, 1.0, 1.0]])
    found = Estimates.from_rows(rows, level=0.8, bounds=(0.0, 0.6))
    assert found.at(0) == centred_estimate(0.5, rows[1:, 0], level=0.8, bounds=(0.0, 0.6))
    np.testing.assert_array_equal(found.value, rows[0])
    assert np.isnan([found.low[1:], found.high[1:]]).all()
    alone = Estimates.from_rows(rows[:1], level=0.8)
    assert alone.value[0] == 0.5 and np.isnan([alone.low, alone.high]).all()


def test_estimates_are_stacked_and_picked_with_what_is_undefined():
    single = Estimate(value=1.0, interval=Interval(low=0.0, high=2.0, level=0.9))
    column = Estimates.stack([single, None], level=0.9)
    assert column.at(0) == single and column.at(1) is None
    both = Estimates.stack([column, column.sel(np.array([1, 0]))], level=0.9)
    assert both.value.shape == (2, 2) and both.level == 0.9
    assert both.at(0, 0) == both.at(1, 1) == single and both.at(0, 1) is None
    assert both.sel(..., 1).at(1) == single
    undefined = both.sel(0, 1)
    assert undefined.value.shape == () and np.isnan([undefined.low, undefined.high]).all()


def test_percentile_estimates_are_percentile_intervals_entry_by_entry():
    samples = np.random.default_rng(0).normal(size=(50, 3))
    found = percentile_estimates(np.zeros(3), samples, 0.9)
    for entry in range(3):
        alone = percentile_interval(samples[:, entry], 0.9)
        assert (found.low[entry], found.high[entry]) == (alone.low, alone.high)


@given(
    counts=st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    level=st.floats(0.01, 0.999),
)
def test_a_proportion_lies_inside_its_interval_which_lies_in_0_to_1(counts, level):
    num_successes, num_trials = counts
    interval = interval_of_share(num_successes, num_trials, level)
    assert 0.0 <= interval.low <= num_successes / num_trials <= interval.high <= 1.0
    mirrored = interval_of_share(num_trials - num_successes, num_trials, level)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, np.nan])
def test_a_level_that_is_no_share_is_refused(level):
    message = f"an interval's level lies between 0 and 1, such as 0.95, not {level}"
    makers = (
        lambda: Interval(low=0.0, high=1.0, level=level),
        lambda: percentile_interval(np.zeros(3), level),
        lambda: interval_of_share(1, 2, level),
    )
    for make in makers:
        with pytest.raises(ConfigError, match=message):
            make()


@pytest.mark.parametrize("ends", [(1.0, 0.0), (np.nan, 0.0), (0.0, np.nan)])
def test_an_interval_that_runs_backwards_or_nowhere_is_refused(ends):
    with pytest.raises(MechshiftError, match=f"an interval cannot run from {ends[0]} to {ends[1]}"):
        Interval(low=ends[0], high=ends[1], level=0.9)


def test_an_interval_contains_its_ends_and_an_estimate_excludes_what_lies_beyond():
    estimate = Estimate(value=0.5, interval=Interval(low=0.0, high=1.0, level=0.9))
    assert not estimate.excludes(0.0) and not estimate.excludes(1.0)
    assert estimate.excludes(-0.001) and estimate.excludes(1.001)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bootstrap_intervals_of_a_mean_cover_it_as_often_as_they_say(level):
    num_examples, truth = 60, 2.0
    generator = np.random.default_rng(0)
    plain, centred = [], []
    for seed in range(400):
        values = generator.normal(truth, 3.0, size=num_examples)
        samples = bootstrap_weights(num_examples, 250, seed) @ values
        plain.append(percentile_interval(samples, level))
        centred.append(centred_estimate(float(values.mean()), samples, level=level).interval)
    # The bootstrap of 60 examples is too narrow by about 1 %; the rest is three standard errors.
    tolerance = 0.015 + 3 * np.sqrt(level * (1 - level) / 400)
    assert covered_share(plain, truth) == pytest.approx(level, abs=tolerance)
    assert covered_share(centred, truth) == pytest.approx(level, abs=tolerance)


def test_resampling_two_models_alike_cancels_what_their_examples_share():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.0, 10.0, size=100)
    arm, mdm = difficulty + 1.0, difficulty + generator.normal(0.0, 0.1, size=100)
    weights = bootstrap_weights(100, 500, seed=0)
    paired = percentile_interval(weights @ arm - weights @ mdm)
    unpaired = percentile_interval(weights @ arm - bootstrap_weights(100, 500, seed=1) @ mdm)
    assert paired.high - paired.low < 0.1 < 1.0 < unpaired.high - unpaired.low
    assert paired.contains((arm - mdm).mean())


def test_an_exchange_swaps_each_example_half_of_the_time():
    swapped = exchange_masks(6, 20_000, seed=0)
    np.testing.assert_allclose(swapped.mean(axis=0), 0.5, atol=0.02)
    assert (swapped[:, 0] & swapped[:, 1]).mean() == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ConfigError, match="at least one example and one exchange, not 0 and 5"):
        exchange_masks(0, 5, seed=0)


def as_before(num_examples, seed):
    """What is drawn of examples one by one, as before there were clusters."""
    num_drawn = max(num_examples - 3, (num_examples + 1) // 2)
    generators = [np.random.default_rng(seed) for _ in range(3)]
    equal = np.full(num_examples, 1.0 / num_examples)
    order = np.tile(np.arange(num_examples), (20, 1))
    return (
        generators[0].multinomial(num_drawn, equal, size=20) / num_drawn,
        generators[1].permuted(order, axis=1) < num_examples // 2,
        generators[2].random((20, num_examples)) < 0.5,
    )


DRAWS = (bootstrap_weights, split_halves, exchange_masks)


@pytest.mark.parametrize("num_examples", [2, 13, 40])
def test_examples_that_share_no_cluster_are_drawn_as_they_were_before_clusters(num_examples):
    for draw, expected in zip(DRAWS, as_before(num_examples, seed=5), strict=True):
        for examples in (num_examples, np.arange(num_examples), 3 * np.arange(num_examples) + 7):
            assert draw(examples, 20, 5).tobytes() == expected.tobytes()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12).filter(lambda c: len(set(c)) > 1))
def test_whole_clusters_are_drawn_wherever_their_examples_stand(clusters):
    """Each cluster's draws are those of one example a cluster, in the order of their numbers."""
    examples = np.array(clusters)
    names, column = np.unique(examples, return_inverse=True)
    weights, *masks = (draw(examples, 20, 3) for draw in DRAWS)
    of_clusters, *masks_of_clusters = (draw(len(names), 20, 3) for draw in DRAWS)
    for mask, of_cluster in zip(masks, masks_of_clusters, strict=True):
        np.testing.assert_array_equal(mask, of_cluster[:, column])
    drawn = of_clusters[:, column]
    np.testing.assert_allclose(weights, drawn / drawn.sum(axis=1, keepdims=True))


@given(
    clusters=st.lists(st.integers(0, 6), min_size=3, max_size=12).filter(lambda c: len(set(c)) > 1),
    values=st.data(),
)
def test_doubling_every_example_within_its_cluster_changes_no_resampled_mean(clusters, values):
    examples = np.array(clusters)
    numbers = np.array(values.draw(st.lists(st.floats(-9, 9), min_size=12, max_size=12)))
    numbers = numbers[: len(examples)]
    once = bootstrap_weights(examples, 50, 1) @ numbers
    twice = bootstrap_weights(np.repeat(examples, 2), 50, 1) @ np.repeat(numbers, 2)
    np.testing.assert_allclose(once, twice, atol=1e-9)


def test_clusters_are_numbered_as_they_appear_and_examples_without_a_name_stand_alone():
    found = cluster_numbers(["b", "", "a", "b", ""])
    np.testing.assert_array_equal(found, [0, 1, 2, 0, 3])
    np.testing.assert_array_equal(found, cluster_numbers(["x", "", "y", "x", ""]))
    assert num_clusters(found) == 4 and num_clusters(9) == 9


def test_a_share_of_clustered_examples_is_worth_as_many_trials_as_its_clusters_are():
    """Alike in each of 10 clusters, 40 examples say what 10 do; in clusters of one, what 40 do."""
    one_a_cluster = np.arange(10) < 7
    correct = np.repeat(one_a_cluster, 4)
    expected = binomtest(7, 10).proportion_ci(method="wilson")
    found = share_correct(correct, np.repeat(np.arange(10), 4))
    assert found.value == 0.7
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    alone = binomtest(28, 40).proportion_ci(method="wilson")
    single = share_correct(correct, 40).interval
    assert (single.low, single.high) == pytest.approx((alone.low, alone.high))
    # Where all are right nothing varies, and only the clusters count.
    assert share_correct(np.ones(40, dtype=bool), np.repeat(np.arange(10), 4)).interval == (
        interval_of_share(10, 10)
    )


def test_a_p_value_counts_the_observed_value_in():
    draws = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(permutation_p(np.array([2.0, 6.0]), draws), [3 / 4, 1 / 4])
    np.testing.assert_allclose(permutation_p(np.array([2.0 + 1e-13, 5.0]), draws), [3 / 4, 1])


def test_undefined_draws_are_left_out_and_an_undefined_value_has_no_p():
    draws = np.array([[np.nan, 1.0, np.nan], [2.0, 1.0, np.nan], [0.0, 1.0, np.nan]])
    found = permutation_p(np.array([1.0, np.nan, 1.0]), draws)
    np.testing.assert_array_equal(found, [2 / 3, np.nan, np.nan])
    with pytest.raises(MechshiftError, match="a p-value needs at least one draw"):
        permutation_p(np.zeros(1), np.zeros((0, 1)))


def test_holm_by_hand():
    """Sorted .01, .02, .03, .04 times 4, 3, 2, 1, never falling: .04, .06, .06, .06."""
    np.testing.assert_allclose(holm(np.array([0.02, 0.04, 0.01, 0.03])), [0.06, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1.0, np.nan, 1.0])
    assert holm(np.array([])).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferronis(p):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, p * len(p)) + 1e-12).all()


def test_the_spread_of_draws_leaves_out_the_undefined():
    draws = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    found = spread_of_draws(draws, level=0.5)
    np.testing.assert_array_equal(found.value, [2, 4, np.nan])
    np.testing.assert_array_equal(found.low, [1.5, 4, np.nan])
    np.testing.assert_array_equal(found.high, [2.5, 4, np.nan])
    assert spread_of_draws(draws[:, 2:]).at(0) is None
    with pytest.raises(MechshiftError, match="a spread needs at least one draw"):
        spread_of_draws(draws[:0])


def test_an_undefined_resample_counts_as_one_beyond_either_end() -> None:
    """Of 100 resamples the level 0.9 leaves out 5 at each end; 2 are undefined, so 3 of the others.

    The values are 0 to 97, moved by 1.5 so that their mean is 50.
    """
    rows = np.concatenate([[50.0], np.arange(98.0), [np.nan, np.nan]])[:, None]
    found = Estimates.from_rows(rows, level=0.9).at(0)
    low, high = np.percentile(np.arange(98.0), [100 * 3 / 98, 100 * 95 / 98]) + 1.5
    assert found is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.interval.level == 0.9


@pytest.mark.parametrize(("num_undefined", "has_interval"), [(0, True), (4, True), (5, False)])
def test_as_many_undefined_resamples_as_one_end_leaves_out_leave_no_interval(
    num_undefined: int, has_interval: bool
) -> None:
    rows = np.concatenate([[0.0], np.linspace(-1, 1, 100)])
    rows[1 : 1 + num_undefined] = np.nan
    found = Estimates.from_rows(np.stack([rows, np.arange(101.0)], axis=1), level=0.9)
    assert (found.at(0) is not None) == has_interval
    assert found.value[0] == 0 and found.at(1) is not None


def curves(seed, num_points=8, num_examples=100):
    """A curve of means that move together, and its bootstrap; the truth is 0 everywhere."""
    generator = np.random.default_rng(seed)
    shared, own = generator.normal(size=(2, num_examples, num_points))
    examples = 0.6 * shared[:, :1] + own
    weights = bootstrap_weights(num_examples, 400, seed + 10_000)
    return np.concatenate([[examples.mean(axis=0)], weights @ examples])


def test_intervals_of_a_curve_hold_all_its_points_at_once_as_often_as_stated():
    """Each by itself misses some point of eight in a quarter of the curves."""
    num_curves, at_once, alone = 400, 0, 0
    for seed in range(num_curves):
        rows = curves(seed)
        estimates = Estimates.from_rows(rows)
        band = estimates.at_once(rows[1:])
        at_once += bool(((band.low <= 0) & (0 <= band.high)).all())
        alone += bool(((estimates.low <= 0) & (0 <= estimates.high)).all())
    assert at_once / num_curves >= 0.92  # three standard errors below 0.95
    assert alone / num_curves < 0.85


def test_a_single_point_at_once_is_a_point_by_itself():
    rows = curves(1, num_points=1)
    estimates = Estimates.from_rows(rows)
    band = estimates.at_once(rows[1:])
    np.testing.assert_allclose([band.low, band.high], [estimates.low, estimates.high], atol=0.02)
    assert (band.low <= estimates.low).all()


def test_points_that_are_one_number_cost_nothing_at_once():
    rows = np.repeat(curves(2, num_points=1), 5, axis=1)
    reach = [simultaneous_reach(rows[1:, :count], level=0.95) for count in (1, 5)]
    assert reach[0] == pytest.approx(reach[1])


def test_an_undefined_point_does_not_count_and_a_band_stays_in_its_range():
    rows = curves(3, num_points=3)
    rows[5, 1] = np.nan
    estimates = Estimates.from_rows(rows)
    band = estimates.at_once(rows[1:], bounds=(-0.1, 0.1))
    assert simultaneous_reach(rows[1:], level=0.95) == pytest.approx(
        simultaneous_reach(rows[1:][:, [0, 2]], level=0.95)
    )
    assert (band.low >= -0.1).all()
    assert (band.high <= 0.1).all()


@pytest.mark.parametrize("clusters", [np.arange(50), np.repeat(np.arange(7), 3)])
def test_each_cluster_is_left_out_once_and_whole(clusters: np.ndarray) -> None:
    weights = weights_without_blocks(clusters, seed=3)
    assert len(weights) == min(NUM_BLOCKS, len(np.unique(clusters)))
    np.testing.assert_array_equal((weights == 0).sum(axis=0), 1)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    for row in weights:
        out = clusters[row == 0]
        assert not np.isin(clusters[row > 0], out).any()
        assert len(np.unique(row[row > 0])) == 1


def test_nothing_can_be_left_out_of_a_single_cluster() -> None:
    weights = weights_without_blocks(np.zeros(4, dtype=int), seed=0)
    assert weights.shape == (0, 4)
    draws = np.array([1.0, 2.0])
    np.testing.assert_array_equal(no_narrower_than_jackknife(draws, np.empty(0), 4), draws)


def test_the_jackknife_of_a_mean_is_its_variance() -> None:
    values = np.random.default_rng(0).normal(size=30)
    without = weights_without_blocks(30, seed=0) @ values
    assert jackknife_variance(without) == pytest.approx(values.var(ddof=1) / 30)


def test_draws_are_spread_as_far_as_the_jackknife_and_no_less() -> None:
    generator = np.random.default_rng(1)
    draws = generator.normal(size=(200, 4)) * [1, 1, 0, 1] + 5
    draws[3, 3] = np.nan
    without = generator.normal(size=(20, 4)) * [3, 1e-3, 1, 3]
    found = no_narrower_than_jackknife(draws, without, 20)
    expected = 19 * without.var(axis=0)
    # Draws reach as far as Student's t: 17 of 20 clusters are drawn, where 19 make a variance.
    spread = np.nanvar(found, axis=0, ddof=1) * 17 / 19
    assert spread[[0, 3]] == pytest.approx(expected[[0, 3]])
    np.testing.assert_array_equal(found[:, 1:3], draws[:, 1:3])
    np.testing.assert_allclose(np.nanmean(found, axis=0), np.nanmean(draws, axis=0))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(draws))
    order = np.argsort(draws[:, 0])
    np.testing.assert_array_equal(order, np.argsort(found[:, 0]))


def test_what_is_undefined_without_some_block_stays_as_it_was() -> None:
    draws = np.random.default_rng(1).normal(size=(50, 1))
    without = np.array([[100.0], [np.nan], [-100.0]])
    np.testing.assert_array_equal(no_narrower_than_jackknife(draws, without, 3), draws)
