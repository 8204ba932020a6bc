"""Drops and intervals on tables written by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from mechshift.ablation import (
    AblationComparison,
    AblationSettings,
    ablation_effects,
    compare_ablations,
)
from mechshift.errors import AblationError
from mechshift.flat_records import FlatRecord, from_flat, to_flat

SETTINGS = AblationSettings(num_resamples=400)
NUM_EXAMPLES = 40


@pytest.fixture
def table(table_of):
    """Two plans: one that halves the metric and spoils ten answers, one that does nothing."""
    clean = np.random.default_rng(0).normal(4.0, 1.0, NUM_EXAMPLES)
    correct = np.ones((2, 1, NUM_EXAMPLES), dtype=bool)
    correct[0, 0, :10] = False
    return table_of(np.stack([clean / 2, clean])[:, None], correct, clean)


def renamed_labels(table, *names):
    return replace(table.labels, names=names, of=names)


def test_drops_are_clean_minus_ablated_by_hand(table):
    effects = ablation_effects(table, SETTINGS)
    np.testing.assert_allclose(effects.accuracy.value, [[0.75], [1.0]])
    np.testing.assert_allclose(effects.accuracy_drop.value, [[0.25], [0.0]])
    np.testing.assert_allclose(effects.metric_drop.value, [[table.clean_metric.mean() / 2], [0]])
    np.testing.assert_allclose(effects.share_lost.value, [[0.5], [0.0]])
    assert effects.clean_accuracy.value == 1.0


def test_accuracy_has_wilsons_interval(table):
    effects = ablation_effects(table, SETTINGS)
    expected = binomtest(30, NUM_EXAMPLES).proportion_ci(0.95, method="wilson")
    assert effects.accuracy.low[0, 0] == pytest.approx(expected.low)
    assert effects.accuracy.high[0, 0] == pytest.approx(expected.high)


def test_a_drop_varies_as_the_standard_error_of_its_mean_says(table):
    effects = ablation_effects(table, replace(SETTINGS, num_resamples=4000))
    half_width = 1.96 * np.std(table.clean_metric / 2) / np.sqrt(NUM_EXAMPLES)
    drop = effects.metric_drop
    assert drop.high[0, 0] - drop.low[0, 0] == pytest.approx(2 * half_width, rel=0.06)
    # Every example loses the same share, so however they are drawn the share is the same.
    assert effects.share_lost.high[0, 0] == pytest.approx(effects.share_lost.low[0, 0])


def test_two_equal_models_do_not_differ_and_the_intervals_say_so(table):
    found = compare_ablations(table, table, SETTINGS)
    for difference in (
        found.accuracy_drop_difference,
        found.metric_drop_difference,
        found.share_lost_difference,
    ):
        for bound in (difference.value, difference.low, difference.high):
            np.testing.assert_array_equal(bound, 0.0)


def test_differences_are_paired_over_examples(table):
    """The MDM loses exactly 1 more on every example, whose own drops vary far more than that."""
    noisy = replace(table, metric=table.metric - np.linspace(-20, 20, NUM_EXAMPLES))
    mdm = replace(noisy, metric=noisy.metric - 1.0)
    found = compare_ablations(noisy, mdm, SETTINGS)
    assert found.arm.metric_drop.high[0, 0] - found.arm.metric_drop.low[0, 0] > 5
    difference = found.metric_drop_difference
    for bound in (difference.value, difference.low, difference.high):
        np.testing.assert_allclose(bound, 1.0)
    back = compare_ablations(mdm, noisy, SETTINGS).metric_drop_difference
    np.testing.assert_allclose(back.value, -difference.value)


def test_a_model_that_is_fragile_to_everything_loses_no_more_beyond_chance(table, table_of):
    """The plan and its control cost the ARM 0.5 and 0.05 of the metric, the MDM 0.9 and 0.45."""
    clean, draws = table.clean_metric, range(21)
    arm, mdm = (
        table_of(
            clean * (1 - np.array([plan, *[control] * 20])[:, None, None]),
            np.ones((21, 1, NUM_EXAMPLES), dtype=bool),
            clean,
            draws=draws,
        )
        for plan, control in ((0.5, 0.05), (0.9, 0.45))
    )
    found = compare_ablations(arm, mdm, SETTINGS)
    assert found.share_lost_difference.value[0, 0] == pytest.approx(0.4)
    interaction = found.share_excess_difference
    assert np.isnan(interaction.value[0, 0])
    assert interaction.value[1, 0] == pytest.approx(0, abs=1e-12)
    assert interaction.low[1, 0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.accuracy_excess_difference.value[1, 0], 0)


def test_only_plans_of_both_models_are_compared_and_the_others_are_named(table):
    renamed = replace(table, labels=renamed_labels(table, "plan 1", "plan 9"))
    found = compare_ablations(table, renamed, SETTINGS)
    assert found.arm.labels.names == found.mdm.labels.names == ("plan 1",)
    assert found.only_in_one == ("plan 0", "plan 9")
    np.testing.assert_allclose(found.arm.share_lost.value, [[0.0]])
    np.testing.assert_allclose(found.mdm.share_lost.value, [[0.5]])
    np.testing.assert_allclose(found.arm.removed.norm, [2.0])


def test_a_metric_that_is_zero_on_clean_prompts_has_no_share(table):
    zero = np.zeros(NUM_EXAMPLES)
    effects = ablation_effects(replace(table, clean_metric=zero), SETTINGS)
    assert np.isnan(effects.share_lost.value).all()
    assert np.isfinite(effects.metric_drop.low).all()


def test_a_comparison_survives_being_taken_apart(table):
    found = compare_ablations(table, table, SETTINGS)
    flat = to_flat(found)
    stored = FlatRecord(arrays=flat.arrays, scalars=json.loads(json.dumps(flat.scalars)))
    rebuilt = from_flat(AblationComparison, stored)
    assert rebuilt.arm.labels.names == found.arm.labels.names
    np.testing.assert_array_equal(rebuilt.mdm.accuracy.low, found.mdm.accuracy.low)
    assert rebuilt.arm.clean_accuracy == found.arm.clean_accuracy


def test_tables_that_cannot_be_compared_are_refused(table, table_of):
    with pytest.raises(AblationError, match="differ in their metric, logit_diff and kl; sweep"):
        compare_ablations(table, replace(table, metric_name="kl"), SETTINGS)
    other = replace(table, labels=renamed_labels(table, "a", "b"))
    with pytest.raises(AblationError, match=r"and the MDM's \['a', 'b'\] have no name in common"):
        compare_ablations(table, other, SETTINGS)
    few = table_of(np.ones((1, 1, 9)), np.ones((1, 1, 9), dtype=bool), np.ones(9))
    with pytest.raises(AblationError, match="differ in their examples, 40 and 9"):
        compare_ablations(table, few, SETTINGS)
    with pytest.raises(AblationError, match="9 examples are too few to say how certain a drop is"):
        ablation_effects(few, SETTINGS)
