"""Measures of how alike two circuits are, one number a row for each sense.

- `edges`: Jaccard of the two edge sets.
- `nodes`: weighted Jaccard of head and MLP scores inside the circuits.
- `weighted`: weighted Jaccard of |score| over the union of the two circuits, each model's |score|
  divided by its sum there: sum of minima over sum of maxima.
- `rank`: Spearman's correlation of |score| over the union. The union is chosen by size in either
  model, so two unrelated models correlate negatively in it: read it against its null.
- `sign`: share of the edges in both circuits whose scores have the same sign.

With all edges in the circuit the last three compare the models edge by edge, without a choice of K.
None depends on the scale of a model's metric; all but `sign` ignore its orientation.

A node's score is the sum of |score| over its in-circuit edges, those it writes and those it reads
(arXiv 2601.14758, section "component score"; known to us from a digest only). Under grouped-query
attention with grouped k and v, such a destination belongs to all heads of its group in equal parts.
Node order: the sources of `Graph` (`input`, then per layer heads and MLP), then `logits`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from mechshift.circuits import destination_nodes
from mechshift.comparison.chosen_edges import Circuits, shares_of
from mechshift.errors import ComparisonError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A kind of likeness, at most 1."""

    name: str
    of: Callable[[Circuits, Circuits], Float[np.ndarray, " row"]]
    lowest: float
    """Smallest possible value."""

    undefined: str
    """When a row has no value (NaN)."""


def edge_measure() -> Measure:
    """Jaccard of the edge sets, which always exists."""
    return Measure(name="edges", of=_edges, lowest=0.0, undefined="both circuits are empty")


def node_measure(graph: Graph) -> Measure:
    """Weighted Jaccard of head and MLP scores."""

    def nodes(first: Circuits, second: Circuits) -> Float[np.ndarray, " row"]:
        one, two = (_node_sums(graph, end_sums(graph, found)) for found in (first, second))
        return node_jaccard(one, two)

    return Measure(
        name="nodes", of=nodes, lowest=0.0, undefined="a circuit holds no head and no MLP"
    )


def measures_beyond_edges(graph: Graph) -> tuple[Measure, ...]:
    """Node, weighted, rank and sign agreement."""
    return (
        node_measure(graph),
        Measure(name="weighted", of=_weighted, lowest=0.0, undefined="no edge has a score"),
        Measure(name="rank", of=_rank, lowest=-1.0, undefined="all edges are equally strong"),
        Measure(name="sign", of=_sign, lowest=0.0, undefined="the circuits share no edge"),
    )


def mask_jaccard(
    first: Bool[np.ndarray, "row edge"], second: Bool[np.ndarray, "row edge"]
) -> Float[np.ndarray, " row"]:
    """Shared edges over all edges of two edge sets, row by row, in [0, 1].

    Raises:
        ComparisonError: both sets of a row are empty.
    """
    shared = np.count_nonzero(first & second, axis=-1)
    union = np.count_nonzero(first | second, axis=-1)
    if not union.all():
        raise ComparisonError(
            "the overlap of two empty edge sets is undefined: every edge score is exactly zero."
        )
    return shared / union


def node_names(graph: Graph) -> list[str]:
    """Names in node order."""
    return [*graph.source_names, "logits"]


def node_scores(
    graph: Graph,
    magnitudes: Float[np.ndarray, "row edge"],
    edges: Int[np.ndarray, " edge"] | None = None,
) -> Float[np.ndarray, "row node"]:
    """Sum of |score| over each node's edges.

    Args:
        graph: the computation graph.
        magnitudes: |score| of each edge [any unit]; 0 outside the circuit.
        edges: which edges of the graph these are; all by default.
    """
    edges = np.arange(graph.num_edges) if edges is None else edges
    return _node_sums(graph, added_by_end(graph, edges, magnitudes))


def end_sums(graph: Graph, circuits: Circuits) -> Float[np.ndarray, "row end"]:
    """Sum of |score| inside the circuits by source, then by destination."""
    if graph not in circuits.sums:
        circuits.sums[graph] = added_by_end(graph, circuits.edges, circuits.inside)
    return circuits.sums[graph]


def added_by_end(
    graph: Graph, edges: Int[np.ndarray, " edge"], values: Float[np.ndarray, "row edge"]
) -> Float[np.ndarray, "row end"]:
    """Sums of the edges' values by source, then by destination, in float64."""
    ends = edge_ends(graph)
    if len(edges) != graph.num_edges:
        # As ends[edges], in a fraction of its time: each edge has two ends.
        own = ends.indices.reshape(-1, 2)[edges].ravel()
        ends = sparse.csr_array(
            (ends.data[: len(own)], own, ends.indptr[: len(edges) + 1]),
            shape=(len(edges), ends.shape[1]),
        )
    sums: Float[np.ndarray, "row end"] = values @ ends
    return sums


@lru_cache(maxsize=4)
def edge_ends(graph: Graph) -> sparse.csr_array:
    """[edge, end]: 1 at the edge's source and at its destination, which follow the sources."""
    ends = np.stack([graph.edge_source, graph.edge_destination + graph.num_sources], axis=1)
    return sparse.csr_array(
        (np.ones(ends.size), ends.ravel(), np.arange(0, ends.size + 1, 2)),
        shape=(graph.num_edges, graph.num_sources + graph.num_destinations),
    )


def _node_sums(graph: Graph, ends: Float[np.ndarray, "row end"]) -> Float[np.ndarray, "row node"]:
    """Of sums by end: what a node writes and what it reads."""
    writes, reads = np.split(ends, [graph.num_sources], axis=1)
    sums: Float[np.ndarray, "row node"] = reads @ _destination_owners(graph)
    sums[:, : graph.num_sources] += writes
    return sums


@lru_cache(maxsize=4)
def _destination_owners(graph: Graph) -> sparse.csr_array:
    """[destination, node]: which nodes it is an input of; every row sums to 1."""
    owners = np.zeros((graph.num_destinations, graph.num_sources + 1))
    nodes = destination_nodes(graph)
    # A destination of one node names it once for each head of a group; the parts add up to 1.
    np.add.at(owners, (np.arange(graph.num_destinations)[:, None], nodes), 1 / nodes.shape[1])
    return sparse.csr_array(owners)


def node_jaccard(
    first: Float[np.ndarray, "row node"], second: Float[np.ndarray, "row node"]
) -> Float[np.ndarray, " row"]:
    """Weighted Jaccard of the two models' node shares, heads and MLPs only, in [0, 1].

    Node scores are divided by their sum first, so the models' different metric scales do not
    matter; then sum of minima over sum of maxima. `input` and `logits` are left out: every
    circuit has them. NaN where a circuit holds no head and no MLP.
    """
    first, second = (_component_shares(scores) for scores in (first, second))
    shared = np.minimum(first, second).sum(axis=-1)
    union = np.maximum(first, second).sum(axis=-1)
    return shared / union


def _component_shares(scores: Float[np.ndarray, "row node"]) -> Float[np.ndarray, "row component"]:
    components = scores[:, 1:-1]
    total = components.sum(axis=-1, keepdims=True)
    return np.divide(components, total, out=np.full_like(components, np.nan), where=total > 0)


def _edges(first: Circuits, second: Circuits) -> Float[np.ndarray, " row"]:
    return mask_jaccard(first.members, second.members)


def _weighted(first: Circuits, second: Circuits) -> Float[np.ndarray, " row"]:
    union = first.members | second.members
    if union.all():
        one, two = first.shares, second.shares
    else:
        one, two = (
            shares_of(np.where(union, circuits.magnitudes, 0)) for circuits in (first, second)
        )
    shared: Float[np.ndarray, " row"] = np.minimum(one, two).sum(axis=1)
    return shared / (2 - shared)  # shares add up to 1, and minima and maxima to 2


def _rank(first: Circuits, second: Circuits) -> Float[np.ndarray, " row"]:
    union = first.members | second.members
    if union.all():
        one, two = first.centred_ranks, second.centred_ranks
    else:
        # The ranks of n edges have mean (n + 1) / 2, tied or not.
        middle = (union.sum(axis=1, keepdims=True) + 1) / 2
        one, two = (
            np.where(union, circuits.ranks_within(union) - middle, 0)
            for circuits in (first, second)
        )
    spread = np.sqrt(_products(one, one) * _products(two, two))
    return _ratio(_products(one, two), spread)


def _products(
    one: Float[np.ndarray, "row edge"], two: Float[np.ndarray, "row edge"]
) -> Float[np.ndarray, " row"]:
    """Scalar product of each row with its partner."""
    return np.asarray(np.einsum("re,re->r", one, two))


def _sign(first: Circuits, second: Circuits) -> Float[np.ndarray, " row"]:
    common = first.members & second.members
    alike = common & ((first.scores > 0) == (second.scores > 0))  # members are not zero
    return _ratio(alike.sum(axis=1).astype(np.float64), common.sum(axis=1).astype(np.float64))


def _ratio(
    part: Float[np.ndarray, "..."], whole: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """`part / whole`, NaN where the whole is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
