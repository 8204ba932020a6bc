"""The additive model keeps on a circuit what its edges contribute, and nothing else."""

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.errors import EvaluationError
from mechshift.graph import Graph
from mechshift.testing import additive_metrics, additive_runs

GRAPH = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)


def test_faithfulness_is_the_share_of_the_contributions_that_a_circuit_holds():
    contributions = np.tile(np.arange(1.0, GRAPH.num_edges + 1), (3, 1))
    circuits = [select_top_edges(GRAPH, contributions[0], size) for size in (2, GRAPH.num_edges)]
    curve = additive_metrics(circuits, contributions).curve()
    strongest = GRAPH.num_edges + GRAPH.num_edges - 1
    np.testing.assert_allclose(curve.faithfulness, [strongest / contributions[0].sum(), 1.0])


def test_circuits_are_chosen_on_each_models_scores_and_run_on_the_contributions():
    scores = {"arm": np.zeros((16, GRAPH.num_edges)), "mdm": np.zeros((16, GRAPH.num_edges))}
    scores["arm"][:, 0], scores["mdm"][:, 1] = 1.0, 1.0
    contributions = np.zeros((4, GRAPH.num_edges))
    contributions[:, :2] = 1.0, 3.0
    runs = additive_runs(GRAPH, scores, contributions, 1)
    assert runs.metrics["arm"].curve().faithfulness == pytest.approx([0.25])
    assert runs.metrics["mdm"].curve().faithfulness == pytest.approx([0.75])
    kept = runs.rediscovery.halves.metric.sum(axis=-1) / 4
    np.testing.assert_allclose(kept, 0.75)
    few = {kind: rows[:7] for kind, rows in scores.items()}
    with pytest.raises(EvaluationError, match="7 clusters cannot be dealt into 8"):
        additive_runs(GRAPH, few, contributions, 1)
