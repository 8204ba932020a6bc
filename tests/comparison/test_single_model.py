"""Steps of twelve examples, of which four have a second; and sums of scores by hand."""

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import (
    MIN_EXAMPLES,
    ComparisonSettings,
    completeness,
    step_profile,
)
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
SMALL = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
ONES = np.ones((2, 2, SMALL.num_edges))


@pytest.fixture
def ragged(edge_scores) -> EdgeScores:
    num_steps = np.repeat([2, 1], [4, 8])
    values = np.zeros((12, 2, GRAPH.num_edges))
    values[:, 0, GRAPH.edge_index("input->m0")] = -3
    values[:, 0, GRAPH.edge_index("m0->logits")] = 1
    values[:4, 1, GRAPH.edge_index("m0->m1")] = [1, 1, 3, 3]
    clean = np.zeros((12, 2))
    clean[:, 0] = np.arange(12)
    clean[:4, 1] = [1, 2, 3, 6]
    return edge_scores(
        GRAPH, values, num_steps=num_steps, clean_metric=clean, corrupted_metric=-clean
    )


def test_a_steps_means_run_over_the_examples_that_have_it(
    ragged: EdgeScores, quick: ComparisonSettings
) -> None:
    profile = step_profile(ragged, quick)
    assert profile.num_examples.tolist() == [12, 4]
    np.testing.assert_allclose(profile.clean_metric.value, [5.5, 3])
    np.testing.assert_allclose(profile.corrupted_metric.value, [-5.5, -3])
    np.testing.assert_allclose(profile.share, [[0.75, 0, 0.25], [0, 1, 0]])


def test_a_step_of_few_examples_has_no_interval(
    ragged: EdgeScores, quick: ComparisonSettings
) -> None:
    metric = step_profile(ragged, quick).clean_metric
    first = metric.at(0)
    assert first is not None and first.interval.low < 5.5 < first.interval.high
    assert 4 < MIN_EXAMPLES <= 12
    assert metric.at(1) is None


def test_a_step_at_which_nothing_is_scored_has_no_shares(
    quick: ComparisonSettings, edge_scores
) -> None:
    values = np.ones((12, 2, GRAPH.num_edges))
    values[:, 1] = 0
    share = step_profile(edge_scores(GRAPH, values), quick).share
    assert np.isfinite(share[0]).all()
    assert np.isnan(share[1]).all()


def test_the_gap_by_hand(quick: ComparisonSettings, edge_scores) -> None:
    """Explained: 3 and 1 over both steps, 2 on average. Lost: 4 and 1, 2.5 on average."""
    scores = edge_scores(
        SMALL,
        ONES,
        input_score=np.array([[1.0, 2.0], [1.0, 0.0]]),
        clean_metric=np.array([[3.0, 2.0], [2.0, 1.0]]),
        corrupted_metric=np.array([[1.0, 0.0], [1.0, 1.0]]),
    )
    found = completeness(scores, quick)
    assert found.attributed.value == 2
    assert found.drop.value == 2.5
    assert found.relative_gap == pytest.approx(-0.2)
    assert found.drop.interval.contains(2.5)


def test_a_corruption_without_effect_leaves_the_gap_undefined(
    quick: ComparisonSettings, edge_scores
) -> None:
    found = completeness(edge_scores(SMALL, ONES, input_score=np.ones((2, 2))), quick)
    assert found.drop.value == 0
    assert found.relative_gap is None
