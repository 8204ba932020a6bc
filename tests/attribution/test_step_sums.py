"""Sums over steps and groups of examples, by hand; and that chunks, or groups, change nothing."""

import numpy as np
import pytest
import torch

from mechshift.attribution import (
    NUM_GROUPS,
    EdgeScores,
    concatenate_scores,
    eap,
    eap_ig,
    exact_edge_scores,
    step_groups,
    sum_over_steps,
)
from mechshift.comparison import (
    ComparisonSettings,
    circuit_shift,
    compare,
    step_profile,
    sweep_over_denoising_steps,
)
from mechshift.denoising import as_one_step, build_canvases, left_to_right
from mechshift.errors import AttributionError, ComparisonError
from mechshift.graph import Graph
from mechshift.testing import random_examples, random_language_model

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
NUM_STEPS = 3
TABLES = ("values", "num_steps", "clean_metric", "corrupted_metric", "input_score")


def scores_of(num_examples: int, seed: int) -> EdgeScores:
    """Every other example lacks the last step."""
    generator = np.random.default_rng(seed)
    num_steps = np.where(np.arange(num_examples) % 2, NUM_STEPS - 1, NUM_STEPS)
    has_step = np.arange(NUM_STEPS) < num_steps[:, None]
    strength = generator.standard_t(2, size=GRAPH.num_edges)
    values = strength * (1 + generator.normal(size=(num_examples, NUM_STEPS, GRAPH.num_edges)))
    metric = np.where(has_step, generator.normal(size=has_step.shape), 0)
    return EdgeScores(
        graph=GRAPH,
        values=(values * has_step[..., None]).astype(np.float32),
        num_steps=num_steps,
        clean_metric=metric,
        corrupted_metric=metric / 2,
        input_score=metric / 3,
    )


def test_groups_hold_whole_clusters_in_the_order_in_which_they_appear() -> None:
    clusters = np.array([7, 7, 3, 9, 3, 9])
    np.testing.assert_array_equal(step_groups(clusters), [0, 0, 1, 2, 1, 2])


def test_many_clusters_make_so_many_groups_and_no_more_of_about_one_size() -> None:
    clusters = np.random.default_rng(0).integers(0, 300, size=500)
    groups = step_groups(clusters)
    assert len(np.unique(groups)) == NUM_GROUPS
    for cluster in np.unique(clusters):
        assert len(np.unique(groups[clusters == cluster])) == 1
    sizes = np.bincount(groups)
    assert sizes.min() > 500 / NUM_GROUPS / 2
    assert sizes.max() < 500 / NUM_GROUPS * 2


def test_sums_are_those_of_a_loop_over_examples_and_steps() -> None:
    scores = scores_of(6, seed=1)
    groups = np.array([0, 0, 1, 2, 1, 2])
    summed = sum_over_steps(scores, groups)
    assert summed.values.shape == (6, 1, GRAPH.num_edges)
    np.testing.assert_allclose(summed.values[:, 0], scores.values.sum(axis=1), rtol=1e-6)
    for group in range(3):
        for step in range(NUM_STEPS):
            one, two = scores.values[groups == group, step].astype(np.float64)
            np.testing.assert_allclose(summed.step_sums[group, step], one + two, rtol=1e-12)
    np.testing.assert_allclose(summed.mean(), scores.mean(), rtol=1e-5)


def test_sums_of_chunks_that_share_groups_are_those_of_all_examples() -> None:
    groups = np.array([0, 1, 0, 2, 1, 2])
    whole = scores_of(6, seed=2)
    chunks = []
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        tables = {name: getattr(whole, name)[rows] for name in TABLES}
        chunks.append(sum_over_steps(EdgeScores(graph=GRAPH, **tables), groups[rows]))
    joined = concatenate_scores(chunks)
    expected = concatenate_scores([sum_over_steps(whole, groups)])
    np.testing.assert_array_equal(joined.values, expected.values)
    np.testing.assert_array_equal(joined.step_sums, expected.step_sums)
    np.testing.assert_array_equal(joined.step_groups, groups)
    assert joined.step_sums.dtype == np.float32


def test_where_every_example_is_a_group_steps_are_compared_as_they_were() -> None:
    """A mean and a sum rank edges alike, and shares do not see the scale."""
    settings = ComparisonSettings(
        num_resamples=40, num_splits=5, num_splits_per_resample=1, num_shuffles=5, num_exchanges=20
    )
    pair = [scores_of(22, seed) for seed in (3, 4)]
    groups = step_groups(np.arange(22))
    summed = [concatenate_scores([sum_over_steps(one, groups)]) for one in pair]
    for before, after in zip(pair, summed, strict=True):
        was, now = (step_profile(one, settings) for one in (before, after))
        np.testing.assert_array_equal(now.num_examples, was.num_examples)
        for name in ("share", "share_low", "share_high"):
            np.testing.assert_allclose(getattr(now, name), getattr(was, name), rtol=1e-5)
    was, now = (sweep_over_denoising_steps(*two, settings) for two in (pair, summed))
    np.testing.assert_array_equal(now.num_examples, was.num_examples)
    for side in ("source", "destination"):
        for name in ("early_share", "centre_of_mass", "distance", "noise_distance"):
            one, two = (getattr(getattr(sweep, side), name) for sweep in (was, now))
            for end in ("value", "low", "high"):
                np.testing.assert_allclose(getattr(two, end), getattr(one, end), atol=1e-5)


def test_a_step_of_few_examples_has_no_interval_however_many_groups_there_are() -> None:
    scores = scores_of(8, seed=5)
    summed = concatenate_scores([sum_over_steps(scores, step_groups(np.arange(8)))])
    profile = step_profile(summed, ComparisonSettings(num_resamples=20))
    assert np.isnan(profile.share_low).all()
    assert np.isfinite(profile.share).all()


def test_where_no_step_is_read_the_sum_alone_is_kept_and_says_so_when_one_is_asked_for() -> None:
    pair = [scores_of(12, seed) for seed in (3, 4)]
    arm, mdm = (sum_over_steps(one, None) for one in pair)
    for one, each in zip((arm, mdm), pair, strict=True):
        grouped = sum_over_steps(each, step_groups(np.arange(12)))
        np.testing.assert_array_equal(one.values, grouped.values)
        np.testing.assert_array_equal(one.clean_metric, each.clean_metric)
        assert one.step_sums is None and one.step_groups is None
    settings = ComparisonSettings(
        num_resamples=20, num_splits=2, num_splits_per_resample=1, num_shuffles=2, num_exchanges=9
    )
    shifts = [circuit_shift("t", *two, settings) for two in ((arm, mdm), (pair[0], mdm))]
    np.testing.assert_allclose(shifts[0].by_weight.draws, shifts[1].by_weight.draws, rtol=1e-5)
    with pytest.raises(ComparisonError, match=r"with 3 denoising steps the sum alone was kept"):
        compare("t", arm, mdm, settings)


def test_summed_scores_are_not_summed_again() -> None:
    for groups in (np.arange(4), None):
        summed = sum_over_steps(scores_of(4, seed=6), groups)
        with pytest.raises(AttributionError, match="already"):
            sum_over_steps(summed, np.arange(4))


@pytest.mark.parametrize("method", [eap, eap_ig, exact_edge_scores])
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_scored_as_one_step_is_the_sum_of_the_scores_of_every_step(kind, method) -> None:
    model = random_language_model("llama", kind, dtype=torch.float64)
    lengths = (1, 3, 2)
    examples = [
        random_examples(1, kind=kind, num_targets=length, seed=length)[0] for length in lengths
    ]
    canvases = build_canvases(model, examples, left_to_right(lengths))
    every = method(model, canvases, metric="logit_diff", batch_size=2)
    summed = method(model, list(map(as_one_step, canvases)), metric="logit_diff", batch_size=2)
    assert every.values.shape[1] == 3
    assert summed.num_steps.tolist() == [1, 1, 1]
    for name in ("values", "clean_metric", "corrupted_metric", "input_score"):
        of_steps = getattr(every, name).sum(axis=1)
        np.testing.assert_allclose(getattr(summed, name)[:, 0], of_steps, rtol=1e-9, atol=1e-12)


def test_an_arm_whose_steps_count_as_one_takes_one_backward_pass_a_point(monkeypatch) -> None:
    model = random_language_model("llama", "arm")
    canvases = build_canvases(model, random_examples(1, num_targets=3), left_to_right([3]))
    passes = []
    backward = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **given: passes.append(1) or backward(*args, **given)
    )
    counts = []
    for asked in (canvases, list(map(as_one_step, canvases))):
        passes.clear()
        eap_ig(model, asked, metric="logit_diff", ig_steps=2)
        counts.append(len(passes))
    assert counts == [2 * 3, 2]


def test_steps_of_scores_of_two_kinds_are_not_compared() -> None:
    every = scores_of(12, seed=7)
    summed = concatenate_scores([sum_over_steps(every, step_groups(np.arange(12)))])
    with pytest.raises(ComparisonError, match=r"the same --attribution\.steps"):
        sweep_over_denoising_steps(every, summed, ComparisonSettings(num_resamples=10))
