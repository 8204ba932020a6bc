"""Circuits found anew: each on the examples that it should rest on, and no others."""

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.evaluation import NUM_FOLDS, discovery_folds, rediscovered_circuits
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def found_on(scores, folds, size):
    sums = np.stack([scores[folds == fold].sum(axis=0) for fold in range(NUM_FOLDS)])
    return rediscovered_circuits(GRAPH, sums, np.bincount(folds), size)


def test_clusters_are_dealt_whole_and_evenly_and_alike_for_one_seed():
    clusters = np.random.default_rng(0).integers(0, 20, size=90) * 7
    folds = discovery_folds(clusters, 3)
    assert folds is not None
    of_cluster = {number: set(folds[clusters == number]) for number in np.unique(clusters)}
    assert all(len(one) == 1 for one in of_cluster.values())
    counts = np.bincount([one.pop() for one in of_cluster.values()], minlength=NUM_FOLDS)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(folds, discovery_folds(clusters, 3))
    assert (folds != discovery_folds(clusters, 4)).any()


def test_fewer_clusters_than_folds_cannot_be_dealt():
    assert discovery_folds(np.arange(70) % 7, 0) is None
    assert discovery_folds(np.arange(80) % 8, 0) is not None


def test_circuits_are_those_of_the_mean_scores_of_the_folds_that_are_left():
    generator = np.random.default_rng(1)
    scores, clusters = generator.normal(size=(37, GRAPH.num_edges)), np.arange(37) // 2
    folds = discovery_folds(clusters, 0)
    assert folds is not None
    found = found_on(scores, folds, 10)
    for fold, circuit in enumerate(found.without_fold):
        expected = select_top_edges(GRAPH, scores[folds != fold].mean(axis=0), 10)
        np.testing.assert_array_equal(circuit.edges, expected.edges)
    for half, circuit in zip((folds < 4, folds >= 4), found.halves, strict=True):
        expected = select_top_edges(GRAPH, scores[half].mean(axis=0), 10)
        np.testing.assert_array_equal(circuit.edges, expected.edges)


def test_without_noise_all_circuits_share_their_edges_and_with_nothing_else_hardly_any():
    generator = np.random.default_rng(2)
    folds = discovery_folds(np.arange(80), 0)
    assert folds is not None
    effects = generator.normal(size=GRAPH.num_edges)
    still = found_on(np.tile(effects, (80, 1)), folds, 12)
    assert (still.shared_by_halves, still.shared_by_quarters) == (1.0, 1.0)
    alone = found_on(generator.normal(size=(80, GRAPH.num_edges)), folds, 12)
    # By chance, 12 of all edges share a tenth of 12 others.
    by_chance = 12 / GRAPH.num_edges
    assert alone.shared_by_halves == pytest.approx(by_chance, abs=0.12)
    assert alone.shared_by_quarters == pytest.approx(by_chance, abs=0.12)


def test_a_quarter_of_the_examples_agrees_as_a_half_does_at_half_the_variance():
    """What makes the two comparable: own quarters against the other's halves at twice the noise."""
    generator = np.random.default_rng(3)
    effects = np.exp(generator.normal(size=GRAPH.num_edges))
    shared = []
    for _ in range(40):
        noise = generator.normal(size=(2, 160, GRAPH.num_edges)) * [[[8.0]], [[8.0 * 2**0.5]]]
        folds = discovery_folds(np.arange(160), 0)
        assert folds is not None
        quiet, noisy = (found_on(effects + one, folds, 12) for one in noise)
        shared.append((quiet.shared_by_quarters, noisy.shared_by_halves, quiet.shared_by_halves))
    quarters, noisy_halves, halves = np.mean(shared, axis=0)
    assert quarters == pytest.approx(noisy_halves, abs=0.03)
    assert halves > quarters + 0.05
