"""How much does each node take part in a circuit?

A node's score is the sum of |score| over its in-circuit edges, those it writes and those it
reads (arXiv 2601.14758, section "component score"; known to us from a digest only). Under
grouped-query attention with grouped k and v, such a destination belongs to all heads of its group
in equal parts.

Node order: the sources of `Graph` (`input`, then per layer heads and MLP), then `logits`.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from mechshift.circuits import destination_nodes
from mechshift.graph import Graph


def node_names(graph: Graph) -> list[str]:
    """Names in node order."""
    return [*(graph.source_name(source) for source in range(graph.num_sources)), "logits"]


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
    incidence = node_incidence(graph)
    if edges is not None and len(edges) < graph.num_edges:
        incidence = incidence[edges]
    scores: Float[np.ndarray, "row node"] = magnitudes @ incidence
    return scores


@lru_cache(maxsize=4)
def node_incidence(graph: Graph) -> sparse.csr_array:
    """[edge, node]: the part of an edge's |score| that counts for a node; columns as `Graph`."""
    edges = np.arange(graph.num_edges)
    ones = np.ones(graph.num_edges)
    shape = (graph.num_edges, graph.num_destinations)
    reads = sparse.csr_array((ones, (edges, graph.edge_destination)), shape=shape)
    writes = sparse.csr_array(
        (ones, (edges, graph.edge_source)), shape=(graph.num_edges, graph.num_sources + 1)
    )
    return writes + reads @ sparse.csr_array(_destination_owners(graph))


def _destination_owners(graph: Graph) -> Float[np.ndarray, "destination node"]:
    """Which nodes a destination is an input of; every row sums to 1."""
    owners = np.zeros((graph.num_destinations, graph.num_sources + 1))
    nodes = destination_nodes(graph)
    # A destination of one node names it once for each head of a group; the parts add up to 1.
    np.add.at(owners, (np.arange(graph.num_destinations)[:, None], nodes), 1 / nodes.shape[1])
    return owners


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


def masked(
    magnitudes: Float[np.ndarray, "row edge"], mask: Bool[np.ndarray, "row edge"]
) -> Float[np.ndarray, "row edge"]:
    """|score| inside a circuit and 0 outside it."""
    return np.where(mask, magnitudes, 0)
