"""Circuits found anew on parts of the discovery examples: how much of a circuit is chance?

A circuit is chosen on a sample. Another sample would choose other edges, above all near the last
places, so whatever is said of a circuit has the noise of discovery beside that of the held-out
examples on which it is run. To measure it, circuits are chosen again:

1. Clusters of discovery examples are dealt into eight folds at random, the same for both models.
2. Without each fold: what rests on the circuit is jackknifed over these.
3. On each half of the folds: circuits that are twice as noisy, which show what noise costs.
4. On several halves, and on disjoint quarters, to count the edges that circuits of one model share:
   the model whose circuits share fewer is the noisier one. None of these is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits import Circuit, select_top_edges
from mechshift.evaluation.circuit_metrics import CircuitMetrics
from mechshift.graph import Graph
from mechshift.models import Kind
from mechshift.statistics import cluster_columns, deal_clusters

NUM_FOLDS = 8
"""Folds of discovery clusters; fewer clusters cannot be dealt."""

NUM_REDISCOVERED = 2 * NUM_FOLDS + 2
"""Circuits that each model runs for it: both models' without each fold, its own of each half."""

HALF, QUARTER = NUM_FOLDS // 2, NUM_FOLDS // 4


@dataclass(frozen=True, kw_only=True, eq=False)
class RediscoveredCircuits:
    """Circuits of one model and size, chosen on parts of the discovery examples."""

    without_fold: tuple[Circuit, ...]
    """Without each of the folds."""
    halves: tuple[Circuit, Circuit]
    """On the first and on the second half of the folds."""
    shared_by_halves: float
    """Edges over K that circuits of disjoint halves share, mean over four ways to halve."""
    shared_by_quarters: float
    """The same of disjoint quarters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rediscovery:
    """Metrics of one model on circuits that were found anew, on held-out examples."""

    without_fold: Mapping[Kind, CircuitMetrics]
    """By the owner of the circuits: one for each fold, chosen without it."""
    halves: CircuitMetrics
    """The model's own circuits, of the first and the second half of the folds."""
    shared_by_halves: Mapping[Kind, float]
    """By the owner of the circuits, as in `RediscoveredCircuits`; the next likewise."""
    shared_by_quarters: Mapping[Kind, float]
    num_clusters: int
    """Of discovery examples, or of their shards."""


def discovery_folds(clusters: Int[np.ndarray, " row"], seed: int) -> Int[np.ndarray, " row"] | None:
    """The fold of each row of scores, by its cluster; None where there are fewer than folds."""
    cluster, count = cluster_columns(clusters)
    if count < NUM_FOLDS:
        return None
    return deal_clusters(cluster, NUM_FOLDS, np.random.default_rng(seed))


def rediscovered_circuits(
    graph: Graph,
    sums: Float[np.ndarray, "fold edge"],
    counts: Int[np.ndarray, " fold"],
    size: int,
) -> RediscoveredCircuits:
    """Circuits of this size, chosen as the whole sample's is: by mean score.

    Args:
        graph: the graph that the scores belong to.
        sums: scores, summed over steps and over the rows of each of the folds [metric units].
        counts: rows in each fold.
        size: edges of each circuit.
    """

    def chosen(*folds: int) -> Circuit:
        rows = list(folds)
        return select_top_edges(graph, sums[rows].sum(axis=0) / counts[rows].sum(), size)

    around = [[*range(first, NUM_FOLDS), *range(first)] for first in range(HALF)]
    halves = [(chosen(*order[:HALF]), chosen(*order[HALF:])) for order in around]
    quarters = [
        (chosen(*order[:QUARTER]), chosen(*order[HALF : HALF + QUARTER])) for order in around
    ]
    return RediscoveredCircuits(
        without_fold=tuple(
            chosen(*(fold for fold in range(NUM_FOLDS) if fold != left))
            for left in range(NUM_FOLDS)
        ),
        halves=halves[0],
        shared_by_halves=_shared(halves),
        shared_by_quarters=_shared(quarters),
    )


def _shared(pairs: Sequence[tuple[Circuit, Circuit]]) -> float:
    """Edges in both circuits over K, mean over pairs."""
    shares = [len(np.intersect1d(one.edges, other.edges)) / one.num_edges for one, other in pairs]
    return float(np.mean(shares))
