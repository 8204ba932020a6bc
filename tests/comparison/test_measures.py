"""Each kind of likeness by hand, against SciPy, and by its laws."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mechshift.comparison.mean_rows import CircuitRows, MeanRows, circuits_of
from mechshift.comparison.measures import Measure, edge_measure, measures_beyond_edges
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
NUM_EDGES = GRAPH.num_edges
MEASURES = {measure.name: measure for measure in (edge_measure(), *measures_beyond_edges(GRAPH))}


def circuits(*sets: np.ndarray, size: int) -> list[CircuitRows]:
    """Circuits of one size in several sets of rows, over the edges that any of them holds."""
    ((_, found),) = circuits_of([MeanRows(scores=scores) for scores in sets], (size,))
    return found


def of_edges(*scores: float) -> np.ndarray:
    """One row with these scores on the first edges."""
    return np.array([[*scores, *np.zeros(NUM_EDGES - len(scores))]])


def measured(name: str, first: np.ndarray, second: np.ndarray, size: int) -> float:
    return float(MEASURES[name].of(*circuits(first, second, size=size))[0])


def test_weighted_jaccard_by_hand() -> None:
    """Union of the top 2: edges 0, 1, 2. Shares 6, 3, 1 of 10 against 1, 1, 3 of 5."""
    first, second = of_edges(6, -3, 1, 0.5), of_edges(1, 0.5, -3)
    second[0, 1] = 1.0
    minima = 0.2 + 0.2 + 0.1
    maxima = 0.6 + 0.3 + 0.6
    union_of_two = measured("weighted", first, second, 2)
    assert union_of_two == pytest.approx(minima / maxima)


def test_sign_agreement_counts_common_edges_alone() -> None:
    """Common to the top 3: edges 0, 1. Edge 0 keeps its sign, edge 1 does not."""
    first, second = of_edges(5, -4, 3, 0, 1), of_edges(2, 4, 0, 3, 1)
    assert measured("sign", first, second, 3) == 0.5


def test_circuits_without_a_common_edge_have_no_sign_agreement() -> None:
    assert np.isnan(measured("sign", of_edges(1, 0), of_edges(0, 1), 1))


@pytest.mark.parametrize("size", [3, 8, NUM_EDGES])
def test_rank_agreement_is_spearmans_over_the_union(size: int) -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4, NUM_EDGES))
    first, second = circuits(*scores, size=size)
    found = MEASURES["rank"].of(first, second)
    union = first.members | second.members
    for row in range(4):
        values = (np.abs(rows[row, first.edges[union[row]]]) for rows in scores)
        assert found[row] == pytest.approx(spearmanr(*values).statistic)


@pytest.mark.parametrize("name", MEASURES)
def test_every_likeness_is_symmetric_bounded_and_one_for_equals(name: str) -> None:
    measure: Measure = MEASURES[name]
    one, other = np.random.default_rng(1).normal(size=(2, 50, NUM_EDGES))
    first, second = circuits(one, other, size=8)
    there, back = measure.of(first, second), measure.of(second, first)
    np.testing.assert_allclose(there, back)
    defined = there[np.isfinite(there)]
    assert (defined >= measure.lowest - 1e-12).all() and (defined <= 1 + 1e-12).all()
    np.testing.assert_allclose(measure.of(first, first), 1)


@pytest.mark.parametrize("name", MEASURES)
def test_no_likeness_depends_on_the_unit_of_the_metric(name: str) -> None:
    one, other = np.random.default_rng(2).normal(size=(2, 20, NUM_EDGES))
    as_is = MEASURES[name].of(*circuits(one, other, size=6))
    scaled = MEASURES[name].of(*circuits(one, 16 * other, size=6))
    np.testing.assert_allclose(as_is, scaled)


def test_a_rank_of_edges_that_are_all_equally_strong_is_undefined() -> None:
    assert np.isnan(measured("rank", of_edges(1, 1, 1), of_edges(3, 2, 1), 3))
