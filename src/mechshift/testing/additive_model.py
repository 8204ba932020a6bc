"""A model whose metric adds up over its edges, so that what any circuit keeps is known.

An example's metric on a circuit is the sum of what each of its edges contributes; without any edge
it is 0. Circuits are chosen on discovery scores and run on held-out contributions by the functions
of a run, so that rules on faithfulness can be tried thousands of times where the truth is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits import Circuit, select_top_edges
from mechshift.errors import EvaluationError
from mechshift.evaluation import (
    NUM_FOLDS,
    CircuitMetrics,
    Rediscovery,
    discovery_folds,
    rediscovered_circuits,
)
from mechshift.graph import Graph
from mechshift.models import Kind
from mechshift.statistics import num_clusters


@dataclass(frozen=True, kw_only=True, eq=False)
class AdditiveRuns:
    """Metrics of the model on both owners' circuits, and on those found on parts."""

    metrics: Mapping[Kind, CircuitMetrics]
    """One circuit of each owner."""
    rediscovery: Rediscovery


def additive_metrics(
    circuits: Sequence[Circuit],
    contributions: Float[np.ndarray, "example edge"],
    clusters: Int[np.ndarray, " example"] | None = None,
) -> CircuitMetrics:
    """What an additive model scores on circuits, in one step.

    Args:
        circuits: of one graph.
        contributions: of each edge to an example's metric.
        clusters: number of each example's cluster; None: every example is its own.
    """
    sizes = np.array([circuit.num_edges for circuit in circuits])
    metric = np.stack([contributions[:, circuit.edges].sum(axis=1) for circuit in circuits])
    return CircuitMetrics(
        sizes=sizes,
        live_sizes=sizes,
        num_edges=contributions.shape[1],
        metric=metric[..., None],
        full=contributions.sum(axis=1, keepdims=True),
        empty=np.zeros((len(contributions), 1)),
        num_steps=np.ones(len(contributions), dtype=np.int64),
        clusters=clusters,
    )


def additive_runs(
    graph: Graph,
    scores: Mapping[Kind, Float[np.ndarray, "row edge"]],
    contributions: Float[np.ndarray, "example edge"],
    size: int,
    *,
    model: Kind = "mdm",
    clusters: Int[np.ndarray, " row"] | None = None,
    seed: int = 0,
) -> AdditiveRuns:
    """Choose both models' circuits and run them in one of the two.

    Args:
        graph: of both models.
        scores: discovery scores of the ARM and of the MDM.
        contributions: of each edge to the metric of held-out examples, in the model that is run.
        size: edges of each circuit.
        model: the one that is run.
        clusters: of the discovery rows; None: every row is its own.
        seed: of the folds.

    Raises:
        EvaluationError: the discovery rows are in fewer clusters than there are folds.
    """
    number = np.arange(len(scores["arm"])) if clusters is None else clusters
    folds = discovery_folds(number, seed)
    if folds is None:
        raise EvaluationError(f"{num_clusters(number)} clusters cannot be dealt into {NUM_FOLDS}.")
    found = {
        kind: rediscovered_circuits(
            graph,
            np.stack([of_kind[folds == fold].sum(axis=0) for fold in range(NUM_FOLDS)]),
            np.bincount(folds),
            size,
        )
        for kind, of_kind in scores.items()
    }
    return AdditiveRuns(
        metrics={
            kind: additive_metrics(
                [select_top_edges(graph, of_kind.mean(axis=0), size)], contributions
            )
            for kind, of_kind in scores.items()
        },
        rediscovery=Rediscovery(
            without_fold={
                kind: additive_metrics(one.without_fold, contributions)
                for kind, one in found.items()
            },
            halves=additive_metrics(found[model].halves, contributions),
            shared_by_halves={kind: one.shared_by_halves for kind, one in found.items()},
            shared_by_quarters={kind: one.shared_by_quarters for kind, one in found.items()},
            num_clusters=num_clusters(number),
        ),
    )
