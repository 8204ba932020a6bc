"""Draws of a control pooled: by hand, against the variance in closed form, and by simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mechshift.ablation import AblationSettings, ablation_effects, compare_ablations
from mechshift.ablation.pooling import draw_weights, group_labels

NUM_EXAMPLES = 40
NUM_DRAWS = 20
SETTINGS = AblationSettings(num_resamples=4000)


@pytest.fixture
def table_from(table_of):
    """A function: drops of plan 0 and of its control's draws [plan, example] -> their table."""

    def make(drops, num_draws=NUM_DRAWS):
        clean = np.random.default_rng(9).normal(10.0, 1.0, drops.shape[1])
        correct = drops[:, None] < 1.0
        return table_of(
            (clean - drops)[:, None], correct, clean, draws=[0, *range(1, num_draws + 1)]
        )

    return make


def simulated_drops(generator, draws, examples, both, num_draws=NUM_DRAWS):
    """A plan without any drop and draws whose parts have these standard deviations, balanced."""
    drops = (
        draws * generator.normal(size=(num_draws, 1))
        + examples * generator.normal(size=(1, NUM_EXAMPLES))
        + both * generator.normal(size=(num_draws, NUM_EXAMPLES))
    )
    return np.concatenate([np.zeros((1, NUM_EXAMPLES)), drops])


def width(estimates, group):
    return float(estimates.high[group, 0] - estimates.low[group, 0])


def test_a_control_is_the_mean_over_its_draws_by_hand(table_from):
    per_plan = np.array([3.0, *[0.0, 0.5, 1.0, 1.5, 2.0] * 4])
    effects = ablation_effects(table_from(np.repeat(per_plan[:, None], NUM_EXAMPLES, 1)), SETTINGS)
    assert effects.labels.names == ("plan 0", "plan 0, same number")
    assert effects.labels.num_draws.tolist() == [1, 20]
    np.testing.assert_allclose(effects.metric_drop.value, [[3.0], [1.0]])
    np.testing.assert_allclose(effects.accuracy.value, [[0.0], [0.4]])
    np.testing.assert_allclose(effects.accuracy_drop.value, [[1.0], [0.6]])
    np.testing.assert_allclose(effects.metric_excess.value, [[np.nan], [2.0]])
    np.testing.assert_allclose(effects.accuracy_excess.value, [[np.nan], [0.4]])
    np.testing.assert_allclose(effects.plans.metric_drop[:, 0], per_plan)
    np.testing.assert_allclose(effects.removed.norm, [1.0, np.mean(range(2, 22))])


def test_resampled_draws_vary_as_the_t_interval_of_their_mean_says():
    """Five numbers without examples: s / sqrt(5), as exact for the variance as Student says."""
    values = np.array([0.3, -1.2, 2.0, 0.7, -0.4])
    settings = replace(SETTINGS, num_resamples=200_000)
    weights = draw_weights(len(values), settings)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    stretch = stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975)
    expected = stretch * values.std(ddof=1) / np.sqrt(5)
    assert (weights[1:] @ values).std() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("parts", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 2.0, 1.0)])
def test_the_interval_of_a_control_has_the_variance_of_both_levels_in_closed_form(
    parts, table_from
):
    """Row means, column means and what is left are uncorrelated under independent weights."""
    drops = simulated_drops(np.random.default_rng(4), *parts)
    control = drops[1:]
    of_draws = control.mean(axis=1) - control.mean()
    of_examples = control.mean(axis=0) - control.mean()
    left = control - control.mean() - of_draws[:, None] - of_examples
    # Variance of one weight times the sum of squares: the multinomial's, n of n and 19 of 20.
    stretch = (stats.t.ppf(0.975, 19) / stats.norm.ppf(0.975)) ** 2
    per_draw, per_example = stretch / (20 * 19), 1 / NUM_EXAMPLES**2
    variance = (
        per_draw * (of_draws**2).sum()
        + per_example * (of_examples**2).sum()
        + per_draw * per_example * (left**2).sum()
    )
    effects = ablation_effects(table_from(drops), SETTINGS)
    expected = 2 * 1.96 * np.sqrt(variance)
    # Normal quantiles hold to a tenth.
    assert width(effects.metric_drop, 1) == pytest.approx(expected, rel=0.1)
    # The plan itself never drops here, so its excess varies as its control does.
    assert width(effects.metric_excess, 1) == pytest.approx(width(effects.metric_drop, 1))


@pytest.mark.parametrize("parts", [(1.0, 0.0, 0.2), (0.3, 2.0, 0.5)])
def test_intervals_over_draws_and_examples_cover_the_truth_in_simulation(parts, table_from):
    """Draws decide; both do. Nominal 95 %, of 200 runs within three standard errors."""
    generator = np.random.default_rng(7)
    settings = AblationSettings(num_resamples=300)
    covered = 0
    for _ in range(200):
        drop = ablation_effects(table_from(simulated_drops(generator, *parts)), settings)
        covered += drop.metric_drop.low[1, 0] <= 0.0 <= drop.metric_drop.high[1, 0]
    assert abs(covered / 200 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)


def test_fewer_than_twenty_draws_have_a_mean_and_nothing_made_of_it_has_an_interval(table_from):
    drops = simulated_drops(np.random.default_rng(1), 1.0, 0.0, 0.5)
    enough = ablation_effects(table_from(drops), SETTINGS)
    few = ablation_effects(table_from(drops[:20], num_draws=19), SETTINGS)
    for name in ("accuracy", "accuracy_drop", "metric_drop", "share_lost", "metric_excess"):
        assert width(getattr(enough, name), 1) > 0
        found = getattr(few, name)
        assert np.isnan([found.low[1, 0], found.high[1, 0]]).all()
        assert np.isfinite(found.value[1, 0])
    np.testing.assert_allclose(few.metric_drop.value[1, 0], drops[1:20].mean())
    # The structure keeps its own, and so does what compares two models' structures.
    assert np.isfinite([few.metric_drop.low[0, 0], few.accuracy.low[0, 0]]).all()
    compared = compare_ablations(
        table_from(drops), table_from(drops[:20] + 1, num_draws=19), SETTINGS
    )
    assert np.isfinite(compared.metric_drop_difference.low[0, 0])
    assert np.isnan(compared.share_excess_difference.low[1, 0])
    assert np.isfinite(compared.share_excess_difference.value[1, 0])


def test_excess_is_paired_over_examples(table_from):
    """Examples differ far more than the plan from its control, which is 1 less on each."""
    examples = np.linspace(-20, 20, NUM_EXAMPLES)
    drops = np.stack([examples + 1.0, *[examples] * NUM_DRAWS])
    effects = ablation_effects(table_from(drops), SETTINGS)
    assert width(effects.metric_drop, 1) > 5
    excess = effects.metric_excess
    for bound in (excess.value, excess.low, excess.high):
        np.testing.assert_allclose(bound, [[np.nan], [1.0]])


def test_accuracy_of_structures_has_wilsons_interval_and_of_controls_that_of_its_drop(table_from):
    drops = np.zeros((1 + NUM_DRAWS, NUM_EXAMPLES))
    drops[0, :10] = 2.0
    drops[1:5, :10] = 2.0
    effects = ablation_effects(table_from(drops), SETTINGS)
    wilson = stats.binomtest(30, NUM_EXAMPLES).proportion_ci(0.95, method="wilson")
    assert effects.accuracy.low[0, 0] == pytest.approx(wilson.low)
    assert effects.accuracy.high[0, 0] == pytest.approx(wilson.high)
    assert effects.accuracy.value[1, 0] == pytest.approx(0.95)
    assert effects.accuracy.high[1, 0] <= 1.0
    assert effects.accuracy.low[1, 0] < 0.93
    np.testing.assert_allclose(effects.accuracy.low[1], 1 - effects.accuracy_drop.high[1])


def test_a_control_whose_plan_was_not_swept_has_no_excess(table_from):
    table = table_from(np.zeros((1 + NUM_DRAWS, NUM_EXAMPLES)))
    effects = ablation_effects(table.take(range(1, 1 + NUM_DRAWS)), SETTINGS)
    assert effects.labels.names == ("plan 0, same number",)
    assert np.isnan(effects.metric_excess.value).all()
    np.testing.assert_allclose(effects.metric_drop.value, 0.0, atol=1e-12)


def test_models_with_other_numbers_of_draws_are_compared_by_their_pooled_controls(table_from):
    drops = simulated_drops(np.random.default_rng(2), 1.0, 1.0, 0.5)
    arm, mdm = table_from(drops), table_from(1.0 + drops[:4], num_draws=3)
    found = compare_ablations(arm, mdm, SETTINGS)
    assert found.only_in_one == ()
    assert (found.arm.labels.num_draws[1], found.mdm.labels.num_draws[1]) == (20, 3)
    expected = (1.0 + drops[1:4]).mean() - drops[1:].mean()
    np.testing.assert_allclose(found.metric_drop_difference.value[1], expected)
    without = arm.take([0])
    assert compare_ablations(without, mdm, SETTINGS).only_in_one == ("plan 0, same number",)


def test_draws_shared_by_both_models_are_paired(table_from):
    drops = simulated_drops(np.random.default_rng(2), 1.0, 1.0, 0.5)
    found = compare_ablations(table_from(drops), table_from(drops + 1.0), SETTINGS)
    difference = found.metric_drop_difference
    assert width(found.arm.metric_drop, 1) > 1
    for bound in (difference.value, difference.low, difference.high):
        np.testing.assert_allclose(bound, 1.0)


def test_groups_name_their_draws_once_and_their_different_notes(table_from):
    labels = table_from(np.zeros((6, NUM_EXAMPLES)), num_draws=5).labels
    labels = replace(
        labels,
        notes=("of interest", "a", "b", "a", "b", "a"),
        num_heads=np.array([2, 1, 2, 3, 4, 5]),
    )
    groups = group_labels(labels)
    assert groups.notes == ("of interest", "a; b")
    assert groups.of == ("plan 0", "plan 0")
    np.testing.assert_allclose(groups.num_heads, [2.0, 3.0])
    assert labels.rows_by_group() == {"plan 0": [0], "plan 0, same number": [1, 2, 3, 4, 5]}
