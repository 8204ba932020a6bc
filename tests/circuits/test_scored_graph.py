import numpy as np
import pytest

from mechshift.circuits import ScoredGraph
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)


def test_scores_of_another_graph_are_refused():
    with pytest.raises(CircuitError, match="7 scores do not fit a graph of 8 edges"):
        ScoredGraph(graph=GRAPH, scores=np.zeros(7))


def test_scores_that_are_not_finite_are_refused():
    scores = np.array([0, np.nan, 1, 2, -np.inf, 3, 4, 5])
    with pytest.raises(CircuitError, match="2 edge scores are not finite"):
        ScoredGraph(graph=GRAPH, scores=scores)
