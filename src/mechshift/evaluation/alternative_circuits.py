"""Alternatives to a circuit: other edges, as many, on which a model keeps as much of its behaviour.

Different circuits of one model can be equally faithful (arXiv:2605.12671). So a low overlap between
the circuits of two models says something only against how low overlap can go inside one of them.
The floor of overlap is looked for in four steps:

1. Candidates. The first circuit has the K edges of largest |mean score|. For each factor of a
   ladder, |score| of these edges is multiplied by it and K edges are selected anew. Factor 1 gives
   the first circuit, 0 the K best edges outside it.
2. Loss of a candidate: how far its faithfulness lies below the first circuit's, or above both that
   and the full model's, whichever is more. Negative where it comes closer to the full model.
3. Order, on discovery examples alone: the candidates whose loss lies below the margin with all of
   its interval, from the largest overlap (Jaccard) with the first circuit to the smallest.
4. Confirmation, on held-out examples: in this order, up to the first candidate whose interval does
   not lie below the margin. The floor is the overlap of the last that was confirmed, or 1.

Held-out examples choose nothing: they are asked in an order that is fixed, and a failure ends it.
So the chance that a confirmed candidate loses the margin or more is at most (1 - level) / 2, as far
as intervals are sound, however many there are (fixed-sequence testing: Maurer, Hothorn and
Lehmacher 1995).

The floor is an upper bound of the lowest overlap there is, because circuits are looked for along
one ladder. What stands in for an edge only when that is ablated (self-repair) has a small score in
the full model; and a candidate may hold edges whose path to the logits it left out. Edges that
carry nothing count as others do: where K is larger than what a model uses, the floor is low.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from mechshift.circuits import Circuit, select_top_edges
from mechshift.errors import EvaluationError
from mechshift.evaluation.circuit_metrics import CircuitMetrics
from mechshift.graph import Graph
from mechshift.statistics import Estimates, percentile_estimates

PENALTY_FACTORS = (0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0)
"""The ladder. A factor f replaces the edges whose |score| is less than 1/f times that of what comes
in; on the embedded pair nothing below 0.1 was as faithful."""

EQUALLY_FAITHFUL = 0.05
"""Margin of faithfulness within which two circuits are equally faithful."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AlternativeRuns:
    """What a model scores on its first circuit and on candidates for alternatives to it."""

    factors: Float64[np.ndarray, " candidate"]
    """By which |score| of the first circuit's edges was multiplied, descending; the first is 1, the
    circuit itself."""
    edges: Int[np.ndarray, "candidate k"]
    """Of each candidate, in `Graph` order."""
    discovery: CircuitMetrics
    """On the examples on which the edges were scored; a circuit for each candidate."""
    held_out: CircuitMetrics
    """The same on held-out examples."""

    def __post_init__(self) -> None:
        assert len(self.factors) == len(self.edges) and self.factors[0] == 1.0

    @property
    def overlap(self) -> Float64[np.ndarray, " candidate"]:
        """Jaccard of each candidate's edges with the first circuit's."""
        shared = np.isin(self.edges, self.edges[0]).sum(axis=1)
        return shared / (2 * self.edges.shape[1] - shared)


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlapFloor:
    """How low overlap with a circuit goes among circuits that are equally faithful."""

    margin: float
    """Of faithfulness: a smaller loss is none."""
    factors: Float64[np.ndarray, " candidate"]
    """As in `AlternativeRuns`; the first candidate is the circuit itself."""
    overlap: Float64[np.ndarray, " candidate"]
    """Jaccard with the first circuit."""
    live_sizes: Int[np.ndarray, " candidate"]
    """Edges that are not dangling."""
    discovery: Estimates
    """Faithfulness on discovery examples; axis `candidate`, as below."""
    held_out: Estimates
    """Faithfulness on held-out examples."""
    discovery_loss: Estimates
    """How far it lies below the first circuit's, or above both that and 1."""
    held_out_loss: Estimates
    order: Int[np.ndarray, " tried"]
    """Candidates that are equally faithful on discovery examples, by overlap, descending."""
    num_confirmed: int
    """So many of these, from the first on, are so on held-out examples too."""

    @property
    def confirmed(self) -> Int[np.ndarray, " confirmed"]:
        """The candidates that are equally faithful."""
        return self.order[: self.num_confirmed]

    @property
    def lowest(self) -> int:
        """The confirmed candidate of lowest overlap; 0, the first circuit, where there is none."""
        return int(self.confirmed[-1]) if self.num_confirmed else 0

    @property
    def value(self) -> float:
        """The floor: 1 where nothing but the first circuit was found to be as faithful."""
        return float(self.overlap[self.lowest])


def penalised_circuits(
    graph: Graph,
    scores: Float[np.ndarray, " edge"],
    size: int,
    factors: Sequence[float] = PENALTY_FACTORS,
) -> Mapping[float, Circuit]:
    """Factor -> the circuit that it gives: the first circuit's edges count so many times less.

    1 comes first, then the given factors, descending. A factor that gives the edges of an earlier
    one is left out. A circuit has the multiplied scores.

    Args:
        graph: the graph that the scores belong to.
        scores: mean score of each edge [metric units].
        size: edges of every circuit.
        factors: each in [0, 1].

    Raises:
        CircuitError: see `select_top_edges`.
    """
    first = select_top_edges(graph, scores, size)
    found, known = {1.0: first}, {frozenset(first.edges.tolist())}
    for factor in sorted(set(factors), reverse=True):
        assert 0 <= factor <= 1
        circuit = select_top_edges(graph, np.where(first.mask, factor * scores, scores), size)
        edges = frozenset(circuit.edges.tolist())
        if edges not in known:
            known.add(edges)
            found[factor] = circuit
    return found


def overlap_floor(
    runs: AlternativeRuns,
    *,
    margin: float = EQUALLY_FAITHFUL,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> OverlapFloor:
    """How low overlap goes at equal faithfulness; see the module.

    Intervals resample whole clusters of examples, the same for all circuits.

    Raises:
        EvaluationError: faithfulness is undefined, or the first circuit keeps so little that an
            empty one may be as faithful.
    """
    assert 0 < margin < 1
    sampling = {"num_resamples": num_resamples, "seed": seed}
    discovery = _measure(runs.discovery, level, **sampling)
    held_out = _measure(runs.held_out, level, **sampling)
    for found in (discovery, held_out):
        _check_first(found.faithfulness, margin)
    overlap = runs.overlap
    eligible = np.flatnonzero(discovery.loss.high < margin)
    eligible = eligible[eligible > 0]
    # Where overlaps are equal, the larger factor comes first: the ladder's own order.
    order = eligible[np.argsort(-overlap[eligible], kind="stable")]
    failed = np.flatnonzero(held_out.loss.high[order] >= margin)
    return OverlapFloor(
        margin=margin,
        factors=runs.factors,
        overlap=overlap,
        live_sizes=runs.held_out.live_sizes,
        discovery=discovery.faithfulness,
        held_out=held_out.faithfulness,
        discovery_loss=discovery.loss,
        held_out_loss=held_out.loss,
        order=order,
        num_confirmed=int(failed[0]) if len(failed) else len(order),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """All candidates on the examples of one split; axis `candidate`."""

    faithfulness: Estimates
    loss: Estimates


def _measure(metrics: CircuitMetrics, level: float, *, num_resamples: int, seed: int) -> _Measured:
    places = range(len(metrics.sizes))
    curves = [metrics.subset(slice(place, place + 1)).curve() for place in places]
    value = np.concatenate([curve.faithfulness for curve in curves])
    draws = np.concatenate(
        [curve.resampled(num_resamples=num_resamples, seed=seed) for curve in curves], axis=1
    )
    return _Measured(
        faithfulness=percentile_estimates(value, draws, level),
        loss=percentile_estimates(_loss(value), _loss(draws), level),
    )


def _loss(faithfulness: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Of every candidate against the first one; the last axis is `candidate`."""
    first = faithfulness[..., :1]
    return np.maximum(first - faithfulness, faithfulness - np.maximum(first, 1.0))


def _check_first(faithfulness: Estimates, margin: float) -> None:
    """Refuse a first circuit beside which one that keeps nothing would be equally faithful."""
    value, low = float(faithfulness.value[0]), float(faithfulness.low[0])
    if low <= margin:
        raise EvaluationError(
            f"the circuit itself keeps {value:.2f} of the behaviour, its interval reaching down to"
            f" {low:.2f}, so that within {margin:g} of it lies what keeps nothing. Use a larger"
            " circuit size or more examples."
        )
