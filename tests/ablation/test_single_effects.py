"""Mean drops and rank agreement, by hand and against node attribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mechshift.ablation import (
    AblationSettings,
    SingleAblations,
    ablate_single_components,
    compare_single_ablations,
    component_drops,
    rank_agreement,
)
from mechshift.attribution import node_attribution
from mechshift.errors import AblationError
from mechshift.graph import Graph
from mechshift.testing import random_language_model

SETTINGS = AblationSettings(num_resamples=200)
GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)


def test_nearly_linear_models_rank_components_as_attribution_does(canvases_of):
    """At gain 0.1, where one gradient is almost exact; resampling, which attribution estimates."""
    model = random_language_model("llama", "mdm", dtype=torch.float64, gain=0.1, num_layers=4)
    canvases = canvases_of(model, 12)
    single = ablate_single_components(model, canvases, metric="logit_diff", replacement="resample")
    scores = node_attribution(model, canvases, metric="logit_diff").values[..., 1:].sum(axis=1)
    assert rank_agreement(single, scores, SETTINGS).value > 0.95


def single_of(drop):
    return SingleAblations(
        graph=GRAPH,
        replacement="zero",
        metric_name="logit_diff",
        metric=-drop,
        clean_metric=np.zeros(len(drop)),
        clusters=np.arange(len(drop)),
    )


def test_agreement_is_spearmans_correlation_of_the_means_with_an_interval():
    drop, noise = np.random.default_rng(0).normal(size=(2, 30, 6))
    drop += np.arange(6)
    found = rank_agreement(single_of(drop), drop + 3 * noise, SETTINGS)
    expected = spearmanr(drop.mean(axis=0), (drop + 3 * noise).mean(axis=0)).statistic
    assert found.value == pytest.approx(expected)
    assert found.interval.low <= found.value <= found.interval.high
    same = rank_agreement(single_of(drop), 2 * drop, SETTINGS)
    assert same.value == same.interval.low == same.interval.high == pytest.approx(1.0)
    assert rank_agreement(single_of(drop), -drop, SETTINGS).value == pytest.approx(-1.0)


def test_held_out_examples_are_resampled_apart_from_those_that_were_scored():
    """Resampled together the same values always rank alike; resampled apart they do not."""
    drop = np.random.default_rng(0).normal(size=(30, 6))
    apart = rank_agreement(single_of(drop), drop, SETTINGS, scored=30)
    assert apart.value == pytest.approx(1.0)
    assert apart.interval.low < 0.9
    fewer = rank_agreement(single_of(drop), drop[:9], SETTINGS, scored=9)
    expected = spearmanr(drop.mean(axis=0), drop[:9].mean(axis=0)).statistic
    assert fewer.value == pytest.approx(expected)


def test_the_mean_drop_of_a_component_has_an_interval_as_wide_as_its_standard_error():
    drop = np.random.default_rng(0).normal(size=(50, 6)) * np.arange(6)
    found = component_drops(single_of(drop), AblationSettings(num_resamples=4000))
    np.testing.assert_allclose(found.value, drop.mean(axis=0))
    width = 2 * 1.96 * drop.std(axis=0) / np.sqrt(50)
    np.testing.assert_allclose(found.high - found.low, width, rtol=0.08)
    assert found.low[0] == found.high[0] == 0


def test_both_models_are_put_side_by_side():
    arm, mdm = np.random.default_rng(0).normal(size=(2, 20, 6))
    found = compare_single_ablations(single_of(arm), single_of(mdm), SETTINGS)
    np.testing.assert_allclose(found.arm.value, arm.mean(axis=0))
    np.testing.assert_allclose(found.mdm.value, mdm.mean(axis=0))
    assert found.names()[2] == "m0"


def test_what_cannot_be_compared_is_refused():
    drop = np.random.default_rng(0).normal(size=(12, 6))
    with pytest.raises(AblationError, match=r"of shape \(12, 6\) and attribution of shape \(9, "):
        rank_agreement(single_of(drop), drop[:9], SETTINGS)
    with pytest.raises(AblationError, match="equal for all components, so they have no ranks"):
        rank_agreement(single_of(drop), np.ones((12, 6)), SETTINGS)
    resampled = replace(single_of(drop), replacement="resample")
    with pytest.raises(AblationError, match="differ in their replacement, zero and resample; abl"):
        compare_single_ablations(single_of(drop), resampled, SETTINGS)
    with pytest.raises(AblationError, match="differ in their examples, 12 and 9"):
        compare_single_ablations(single_of(drop), single_of(drop[:9]), SETTINGS)
