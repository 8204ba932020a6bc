"""Alternatives to a circuit: other edges, as many, on which a model keeps as much of its behaviour.

Different circuits of one model can be equally faithful (arXiv:2605.12671). So a low overlap between
the circuits of two models says something only against how low overlap can go inside one of them.
The floor of overlap is looked for in four steps:

1. Candidates. The first circuit has the K edges of largest |mean score|. |score| of some of these
   is multiplied by a factor, and K edges are selected anew: for each factor of a ladder that of all
   of them (0 gives the K best edges outside); and, with factor 0, of whole sides of components, all
   that one writes or reads, those of least |score| first, up to each of some shares of the K edges.
   What a component's edges do they do together, so the second kind breaks fewer paths.
2. Loss of a candidate: how far its faithfulness lies below the first circuit's, or above both that
   and the full model's, whichever is more. Negative in between.
3. Order, on discovery examples alone: the candidates whose loss lies below the margin with all of
   its interval, from the largest overlap (Jaccard) with the first circuit to the smallest; without
   those that another equals or betters in both overlap and loss.
4. Confirmation, on held-out examples: in this order, up to the first candidate whose interval does
   not lie below the margin. The floor is the overlap of the last that was confirmed, or 1.

Held-out examples choose nothing: they are asked in an order that is fixed, and a failure ends it.
So the chance that a confirmed candidate loses the margin or more is at most (1 - level) / 2, as far
as intervals are sound, however many there are (fixed-sequence testing: Maurer, Hothorn and
Lehmacher 1995).

The floor is an upper bound of the lowest overlap there is, because few circuits are looked at. What
stands in for an edge only when that is ablated (self-repair) has a small score in the full model;
and a candidate may hold edges whose path to the logits it left out. Edges that
carry nothing count as others do: where K is larger than what a model uses, the floor is low.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from mechshift.circuits import Circuit, select_top_edges
from mechshift.circuits.nodes import destination_nodes
from mechshift.errors import EvaluationError
from mechshift.evaluation.circuit_metrics import CircuitMetrics
from mechshift.graph import Graph
from mechshift.statistics import Estimates, percentile_estimates

PENALTY_FACTORS = (0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""The ladder. A factor f replaces the edges whose |score| is less than 1/f times that of what comes
in; on the embedded pair nothing below 0.1 was as faithful."""

DROPPED_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the first circuit's edges that are dropped with whole sides of components."""

EQUALLY_FAITHFUL = 0.05
"""Margin of faithfulness within which two circuits are equally faithful."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AlternativeRuns:
    """Metrics of a model on its first circuit and on candidates for alternatives to it."""

    factors: Float64[np.ndarray, " candidate"]
    """By which |score| was multiplied; the first is 1, the circuit itself."""
    num_penalised: Int[np.ndarray, " candidate"]
    """Of how many of the first circuit's edges."""
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
    """Lowest overlap with a circuit that was found among circuits that are equally faithful."""

    margin: float
    """Of faithfulness: a smaller loss is none."""
    factors: Float64[np.ndarray, " candidate"]
    """As in `AlternativeRuns`, as is the next; the first candidate is the circuit itself."""
    num_penalised: Int[np.ndarray, " candidate"]
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


@dataclass(frozen=True, kw_only=True, eq=False)
class PenalisedCircuit:
    """A circuit that comes out where some edges of the first one count less."""

    factor: float
    """By which their |score| was multiplied."""
    num_penalised: int
    """How many they are."""
    circuit: Circuit
    """With the multiplied scores."""


def penalised_circuits(
    graph: Graph,
    scores: Float[np.ndarray, " edge"],
    size: int,
    *,
    factors: Sequence[float] = PENALTY_FACTORS,
    shares: Sequence[float] = DROPPED_SHARES,
) -> list[PenalisedCircuit]:
    """The first circuit, and as many other edges as come out under each penalty.

    A penalty that gives the edges of an earlier one is left out.

    Args:
        graph: the graph that the scores belong to.
        scores: mean score of each edge [metric units].
        size: edges of every circuit.
        factors: each in [0, 1], for all edges of the first circuit.
        shares: each in (0, 1]: of its edges, dropped with whole sides of components.

    Raises:
        CircuitError: see `select_top_edges`.
    """
    first = select_top_edges(graph, scores, size)
    penalties = [(1.0, first.mask)]
    penalties += [(factor, first.mask) for factor in sorted(set(factors), reverse=True)]
    penalties += [(0.0, mask) for mask in _weakest_sides(first, sorted(set(shares)))]
    found: dict[frozenset[int], PenalisedCircuit] = {}
    for factor, mask in penalties:
        circuit = select_top_edges(graph, np.where(mask, factor * scores, scores), size)
        found.setdefault(
            frozenset(circuit.edges.tolist()),
            PenalisedCircuit(factor=factor, num_penalised=int(mask.sum()), circuit=circuit),
        )
    return list(found.values())


def _weakest_sides(
    circuit: Circuit, shares: Sequence[float]
) -> Iterator[Bool[np.ndarray, " edge"]]:
    """For each share, the edges of the sides of components that are dropped first.

    A side is all edges of the circuit that a component writes, or all that it reads; a grouped k or
    v counts for the first head of its group. Sides go by the sum of their |score|, ascending, until
    their edges are the share of all or more.
    """
    graph, strength = circuit.graph, np.abs(circuit.scores).astype(np.float64)
    writers = graph.edge_source[circuit.edges]
    readers = destination_nodes(graph)[graph.edge_destination[circuit.edges], 0]
    # Readers are numbered behind all writers, `logits` among them.
    sides = np.stack([writers, readers + graph.num_sources + 1])
    total = np.bincount(sides.ravel(), weights=np.tile(strength, 2))
    ranks = np.argsort(np.argsort(total, kind="stable"))
    # An edge goes with whichever of its two sides is dropped first.
    dropped_at = ranks[sides].min(axis=0)
    last = np.sort(dropped_at)
    for share in shares:
        at = last[min(len(last), max(1, math.ceil(share * len(last)))) - 1]
        mask = np.zeros(graph.num_edges, dtype=bool)
        mask[circuit.edges[dropped_at <= at]] = True
        yield mask


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
    lost = np.maximum(discovery.loss.value, 0.0)  # to lose less than nothing is no better
    eligible = _not_bettered(eligible[eligible > 0], overlap, lost)
    order = eligible[np.argsort(-overlap[eligible], kind="stable")]
    failed = np.flatnonzero(held_out.loss.high[order] >= margin)
    return OverlapFloor(
        margin=margin,
        factors=runs.factors,
        num_penalised=runs.num_penalised,
        overlap=overlap,
        live_sizes=runs.held_out.live_sizes,
        discovery=discovery.faithfulness,
        held_out=held_out.faithfulness,
        discovery_loss=discovery.loss,
        held_out_loss=held_out.loss,
        order=order,
        num_confirmed=int(failed[0]) if len(failed) else len(order),
    )


def _not_bettered(
    candidates: Int[np.ndarray, " eligible"],
    overlap: Float[np.ndarray, " candidate"],
    loss: Float[np.ndarray, " candidate"],
) -> Int[np.ndarray, " kept"]:
    """Those of which no other has as small an overlap and as small a loss; of equals the first."""
    kept: list[int] = []
    for one in sorted(candidates.tolist(), key=lambda place: (overlap[place], loss[place])):
        # All before it overlap no more, so it has to lose less than each of them.
        if all(loss[one] < loss[other] for other in kept):
            kept.append(one)
    return np.array(kept, dtype=np.int64)


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
