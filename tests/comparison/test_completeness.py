import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, completeness
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
VALUES = np.ones((2, 2, GRAPH.num_edges))


def test_the_gap_by_hand(quick: ComparisonSettings, edge_scores) -> None:
    """Explained: 3 and 1 over both steps, 2 on average. Lost: 4 and 1, 2.5 on average."""
    scores = edge_scores(
        GRAPH,
        VALUES,
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
    found = completeness(edge_scores(GRAPH, VALUES, input_score=np.ones((2, 2))), quick)
    assert found.drop.value == 0
    assert found.relative_gap is None
