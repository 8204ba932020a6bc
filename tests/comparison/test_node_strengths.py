"""The null of node strengths: its level, its power, and what it keeps."""

import numpy as np
import pytest
from scipy.stats import binom

from mechshift.comparison import strength_null
from mechshift.comparison.node_strengths import _strengths
from mechshift.errors import ComparisonError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=6, num_heads=4, num_key_value_groups=4)
SIZE = 55
POOLS = 60


def two_models(seed: int, *, nodes: float, likeness: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose nodes are as strong in both models, with residuals of so high a correlation."""
    generator = np.random.default_rng(seed)
    source = nodes * generator.normal(size=GRAPH.num_sources)
    destination = nodes * generator.normal(size=GRAPH.num_destinations)
    strength = source[GRAPH.edge_source] + destination[GRAPH.edge_destination]
    one, other = generator.normal(size=(2, GRAPH.num_edges))
    other = likeness * one + np.sqrt(1 - likeness**2) * other
    return np.exp(strength + one), -np.exp(strength + other)


def rejected(*, nodes: float, likeness: float) -> int:
    pools = (two_models(seed, nodes=nodes, likeness=likeness) for seed in range(POOLS))
    found = (strength_null(GRAPH, *pool, SIZE, num_shuffles=39) for pool in pools)
    return sum(one.p <= 0.05 for one in found)


def test_strong_nodes_that_agree_are_no_shared_edges() -> None:
    """With and without strong nodes, it keeps its level."""
    for nodes in (0.0, 1.0):
        assert rejected(nodes=nodes, likeness=0.0) <= binom.ppf(0.999, POOLS, 0.05)


def test_shared_edges_are_found_beside_strong_nodes() -> None:
    assert rejected(nodes=1.0, likeness=0.6) >= 0.8 * POOLS


def test_strengths_are_those_of_least_squares() -> None:
    log = np.random.default_rng(0).normal(size=GRAPH.num_edges)
    columns = np.zeros((GRAPH.num_edges, GRAPH.num_sources + GRAPH.num_destinations))
    columns[np.arange(GRAPH.num_edges), GRAPH.edge_source] = 1
    columns[np.arange(GRAPH.num_edges), GRAPH.num_sources + GRAPH.edge_destination] = 1
    expected = columns @ np.linalg.lstsq(columns, log, rcond=None)[0]
    found = _strengths(log, GRAPH.edge_source, GRAPH.edge_destination)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_edges_without_a_score_stay_so_and_no_draw_reaches_a_model_with_itself() -> None:
    arm, _ = two_models(0, nodes=1.0, likeness=0.0)
    arm[::3] = 0.0
    found = strength_null(GRAPH, arm, arm, SIZE, num_shuffles=99, seed=1)
    assert found.p == pytest.approx(0.01)
    assert found.overlap is not None and 0.05 < found.overlap.value < 0.9
    again = strength_null(GRAPH, arm, arm, SIZE, num_shuffles=99, seed=1)
    assert again.overlap == found.overlap


def test_two_models_that_score_nothing_are_refused() -> None:
    nothing = np.zeros(GRAPH.num_edges)
    with pytest.raises(ComparisonError, match="exactly zero"):
        strength_null(GRAPH, nothing, nothing, SIZE, num_shuffles=2)
