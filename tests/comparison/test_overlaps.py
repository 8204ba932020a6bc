"""Overlap and agreement, ceilings, ratio and nulls: by hand, for models alike, and planted.

One example's scores are a row; a pool without noise repeats one row.
"""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import average_over_shards
from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.comparison import (
    ComparisonSettings,
    compare,
    overlap_curve,
    top_edges,
)
from mechshift.errors import ComparisonError, ConfigError
from mechshift.graph import Graph
from mechshift.statistics import Estimates
from mechshift.testing import Noise, planted_pair

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
NAMES = ("nodes", "weighted", "rank", "sign")


def row_of(**scores: float) -> np.ndarray:
    """Scores by edge name, written with `__` for `->`; zero elsewhere."""
    row = np.zeros(GRAPH.num_edges)
    for name, score in scores.items():
        row[GRAPH.edge_index(name.replace("__", "->"))] = score
    return row


def noiseless(row: np.ndarray) -> np.ndarray:
    return np.repeat(row[None], 12, axis=0)


def noisy(row: np.ndarray, seed: int, *, noise: float = 1.0, examples: int = 40) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(size=(examples, len(row)))
    return row + noise * draws


def all_equal(estimates: Estimates, expected: float) -> bool:
    numbers = np.concatenate([estimates.value, estimates.low, estimates.high])
    return bool(np.allclose(numbers, expected, rtol=0, atol=1e-12))


def test_overlap_by_hand(quick: ComparisonSettings) -> None:
    """Ranked: ARM m0->m1, m1->m2, m0->m2; MDM m1->m2, m2->logits, m0->m1, each beside a fourth."""
    arm = row_of(m0__m1=4, m1__m2=-3, m0__m2=2, input__m0=1)
    mdm = row_of(m1__m2=40, m2__logits=30, m0__m1=-20, input__m1=10)
    settings = replace(quick, circuit_size=4, sizes=(1, 2, 3))
    curve = overlap_curve(GRAPH, noiseless(arm), noiseless(mdm), settings)
    assert curve.sizes.tolist() == [1, 2, 3, 4]
    expected = [0, 1 / 3, 2 / 4, 2 / 6]
    for bound in (curve.edges.value, curve.edges.low, curve.edges.high):
        np.testing.assert_allclose(bound, expected)


def test_node_overlap_by_hand(quick: ComparisonSettings) -> None:
    """ARM's nodes m0, m1: 1/2 each. MDM's m1, m2: 1/2 each. Minima 1/2, maxima 3/2."""
    settings = replace(quick, circuit_size=1)
    arm, mdm = row_of(m0__m1=1), row_of(m1__m2=1)
    curve = overlap_curve(GRAPH, noiseless(arm), noiseless(mdm), settings)
    index = curve.index_of(1)
    assert index is not None
    np.testing.assert_allclose(curve.nodes.value[index], 1 / 3)


def test_identical_models_overlap_entirely_and_the_intervals_say_so(
    quick: ComparisonSettings,
) -> None:
    scores = noisy(np.random.default_rng(0).normal(size=GRAPH.num_edges), seed=1)
    curve = overlap_curve(GRAPH, scores, scores.copy(), replace(quick, sizes=(20, 40)))
    assert all_equal(curve.edges, 1)
    assert all_equal(curve.nodes, 1)
    assert all_equal(curve.ratio, 1)
    assert (curve.ceiling_arm.value < 1).any()


def test_overlap_does_not_depend_on_the_sign_or_scale_of_a_models_metric(
    quick: ComparisonSettings,
) -> None:
    scores = noisy(np.random.default_rng(0).normal(size=GRAPH.num_edges), seed=1)
    curve = overlap_curve(GRAPH, scores, -8 * scores, quick)
    assert all_equal(curve.edges, 1)
    assert all_equal(curve.nodes, 1)


def test_the_ceiling_of_noiseless_scores_is_one(quick: ComparisonSettings) -> None:
    arm, mdm = np.random.default_rng(2).normal(size=(2, GRAPH.num_edges))
    curve = overlap_curve(GRAPH, noiseless(arm), noiseless(mdm), quick)
    assert all_equal(curve.ceiling_arm, 1)
    assert all_equal(curve.ceiling_mdm, 1)
    np.testing.assert_allclose(curve.ratio.value, curve.edges.value)


def test_the_same_model_on_other_examples_reaches_its_ceiling(quick: ComparisonSettings) -> None:
    """Two pools of one model differ by noise alone: overlap below 1, ratio about 1."""
    truth = np.random.default_rng(3).normal(size=GRAPH.num_edges)
    settings = replace(quick, circuit_size=20, num_splits=100)
    curve = overlap_curve(
        GRAPH,
        noisy(truth, 4, noise=3, examples=200),
        noisy(truth, 5, noise=3, examples=200),
        settings,
    )
    index = curve.index_of(20)
    assert index is not None
    assert curve.edges.value[index] < 0.9
    ratio = curve.ratio.at(index)
    assert ratio is not None
    assert ratio.interval.contains(1.0)
    assert abs(ratio.value - 1) < 0.1


def test_different_models_stay_below_their_ceiling(quick: ComparisonSettings) -> None:
    truths = np.random.default_rng(6).normal(size=(2, GRAPH.num_edges))
    settings = replace(quick, circuit_size=20)
    curve = overlap_curve(GRAPH, noisy(truths[0], 7), noisy(truths[1], 8), settings)
    index = curve.index_of(20)
    assert index is not None
    ratio = curve.ratio.at(index)
    assert ratio is not None and ratio.interval.high < 0.8


def test_the_null_keeps_how_many_edges_each_group_has_in_the_circuit() -> None:
    groups = edge_groups(GRAPH)
    magnitudes = np.random.default_rng(9).random(GRAPH.num_edges)
    order = order_within(groups, np.random.default_rng(10))
    assert not np.array_equal(order, np.arange(len(order)))
    assert sorted(order) == list(range(len(order)))
    np.testing.assert_array_equal(groups[order], groups)
    for size in (5, 20, 60):
        before, after = (top_edges(GRAPH, m, size) for m in (magnitudes, magnitudes[order]))
        np.testing.assert_array_equal(
            np.bincount(groups[before], minlength=groups.max() + 1),
            np.bincount(groups[after], minlength=groups.max() + 1),
        )


def test_the_null_of_a_circuit_that_is_a_whole_group_is_one(quick: ComparisonSettings) -> None:
    groups = edge_groups(GRAPH)
    whole = groups == groups[GRAPH.edge_index("a0.h0->a1.h0<q>")]
    row = np.where(whole, 5.0, 0.1) + np.random.default_rng(11).random(GRAPH.num_edges)
    settings = replace(quick, circuit_size=int(whole.sum()), sizes=(int(whole.sum()),))
    curve = overlap_curve(GRAPH, noiseless(row), noiseless(row), settings)
    assert all_equal(curve.null, 1)


def test_the_null_of_one_edge_is_the_chance_to_meet_it_in_its_group(
    quick: ComparisonSettings,
) -> None:
    groups = edge_groups(GRAPH)
    group_size = int((groups == groups[GRAPH.edge_index("a0.h0->a1.h0<q>")]).sum())
    assert group_size == 4
    row = row_of(**{"a0.h0__a1.h0<q>": 1})
    settings = replace(quick, circuit_size=1, sizes=(1,), num_shuffles=800)
    curve = overlap_curve(GRAPH, noiseless(row), noiseless(row), settings)
    assert abs(curve.null.value[0] - 1 / group_size) < 0.06


def test_a_ceiling_of_zero_leaves_no_ratio_and_says_so(quick: ComparisonSettings) -> None:
    """Every example has an edge of its own, so no two halves agree on the strongest."""
    scores = np.zeros((12, GRAPH.num_edges))
    scores[np.arange(12), np.arange(12)] = np.arange(1, 13)
    settings = replace(quick, circuit_size=1, sizes=(1, 12))
    curve = overlap_curve(GRAPH, scores, scores.copy(), settings)
    assert curve.ratio.at(0) is None
    assert np.isnan(curve.ratio.value[0])
    assert curve.notes[-1] == (
        "Circuits of 1, 12 edges: a split-half ceiling is 0; no ratio to the ceiling."
    )


def test_a_circuit_without_heads_and_mlps_has_no_node_overlap_and_says_so(
    quick: ComparisonSettings,
) -> None:
    row = row_of(input__logits=2, m0__m1=1)
    curve = overlap_curve(
        GRAPH, noiseless(row), noiseless(row), replace(quick, circuit_size=1, sizes=(1, 2))
    )
    assert np.isnan(curve.nodes.value[0])
    assert curve.nodes.at(1) is not None
    assert "Circuits of 1 edges: a circuit holds no head and no MLP; no node overlap." in (
        curve.notes
    )


def test_sets_that_zeros_keep_small_are_noted(quick: ComparisonSettings) -> None:
    row = row_of(m0__m1=2, m1__m2=1)
    curve = overlap_curve(GRAPH, noiseless(row), noiseless(row), quick)
    assert [note.split(";")[0] for note in curve.notes if note.startswith("MDM")] == [
        "MDM: only 2 edges have a score other than zero"
    ]


def test_the_same_seed_gives_the_same_numbers(quick: ComparisonSettings) -> None:
    arm, mdm = np.random.default_rng(12).normal(size=(2, 12, GRAPH.num_edges))
    first, second = (overlap_curve(GRAPH, arm, mdm, quick) for _ in range(2))
    other = overlap_curve(GRAPH, arm, mdm, replace(quick, seed=1))
    for name in ("edges", "ratio", "null"):
        np.testing.assert_array_equal(getattr(first, name).low, getattr(second, name).low)
    assert not np.array_equal(first.null.value, other.null.value)


def test_what_cannot_be_compared_is_refused(quick: ComparisonSettings) -> None:
    scores = np.ones((12, GRAPH.num_edges))
    with pytest.raises(ComparisonError, match="too few to say how certain"):
        overlap_curve(GRAPH, scores[:3], scores[:3], quick)
    with pytest.raises(ConfigError, match="does not fit a graph of"):
        overlap_curve(GRAPH, scores, scores, replace(quick, circuit_size=10_000))
    balanced = np.where(np.arange(12)[:, None] % 2, 1.0, -1.0) * scores
    with pytest.raises(ComparisonError, match="every edge score is exactly zero"):
        overlap_curve(GRAPH, balanced, balanced, quick)


def test_shards_give_the_same_numbers_as_their_examples_and_say_what_they_are(
    quick: ComparisonSettings,
) -> None:
    pair = planted_pair("identical", num_examples=120, noise=Noise(own=2.0), seed=5)
    settings = replace(quick, circuit_size=10, num_resamples=200, num_splits=60)
    whole = compare("ioi", pair.arm, pair.mdm, settings)
    shards = [average_over_shards(one, 4) for one in (pair.arm, pair.mdm)]
    found = compare("ioi", *shards, settings)
    assert (found.unit, found.num_examples, found.examples_per_shard) == ("shard", 30, 4)
    assert (whole.unit, whole.num_examples, whole.examples_per_shard) == ("example", 120, 1)
    assert found.overlap.unit == found.agreement.unit == found.circuit_depth.unit == "shard"
    assert found.size_sweep.unit == found.half_sweep.unit == found.step_sweep.unit == "shard"
    for record in (found.overlap, found.agreement):
        assert record.notes[0].startswith("Scores came as means over shards of examples")
    assert not any("shards" in note for note in whole.overlap.notes)
    np.testing.assert_allclose(found.overlap.edges.value, whole.overlap.edges.value)
    np.testing.assert_allclose(found.arm_scores, whole.arm_scores)
    # Half of the shards is half of the examples, so ceilings are those of single examples.
    index = whole.overlap.index_of(10)
    assert found.overlap.ceiling_arm.value[index] == pytest.approx(
        whole.overlap.ceiling_arm.value[index], abs=0.06
    )
