"""Nodes of a circuit's edges, and how much of the circuit's score each takes part in."""

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.circuit import Circuit
from mechshift.graph import KEY, LOGITS, MLP, VALUE, Graph


def destination_nodes(graph: Graph) -> Int[np.ndarray, "destination group"]:
    """The nodes, as source indices, whose inputs a destination is.

    A q destination is an input of one head, an MLP's of one MLP. With grouped k and v such a
    destination is an input of every query head of its group. The axis `group` has as many entries
    as a group has heads; where there is only one node it is repeated. `logits` is the node
    `graph.num_sources`.
    """
    group_size = graph.num_heads // graph.num_key_value_groups
    kind, layer = graph.destination_kind, graph.destination_layer
    grouped = np.isin(kind, [KEY, VALUE])[:, None]
    head = graph.destination_head[:, None]
    members = np.where(grouped, head * group_size + np.arange(group_size), head)
    members[kind == MLP] = graph.num_heads
    nodes = 1 + layer[:, None] * (graph.num_heads + 1) + members
    nodes[kind == LOGITS] = graph.num_sources
    return nodes


def joined_nodes(graph: Graph, edges: Int[np.ndarray, " k"]) -> Bool[np.ndarray, " node"]:
    """Whether each node writes to or reads from one of the edges; `logits` is the last node.

    An edge into a grouped k or v joins every head of the group.
    """
    joined = np.zeros(graph.num_sources + 1, dtype=bool)
    joined[graph.edge_source[edges]] = True
    joined[destination_nodes(graph)[graph.edge_destination[edges]]] = True
    return joined


def node_scores(circuit: Circuit) -> Float[np.ndarray, " source"]:
    """s(v): sum of |score| of the circuit's edges into and out of each node [metric units].

    Nodes are the graph's sources, in its order; `logits` is left out. With grouped k and v, an
    edge into a group counts in equal parts for the heads of the group.

    Source: arXiv 2601.14758's component score, known to us from a digest only.
    """
    graph, strength = circuit.graph, np.abs(circuit.scores).astype(np.float64)
    readers = destination_nodes(graph)[graph.edge_destination[circuit.edges]]
    shares = np.repeat(strength[:, None] / readers.shape[1], readers.shape[1], axis=1)
    num_nodes = graph.num_sources + 1
    read = np.bincount(readers.ravel(), weights=shares.ravel(), minlength=num_nodes)
    writers = graph.edge_source[circuit.edges]
    written = np.bincount(writers, weights=strength, minlength=num_nodes)
    return (read + written)[:-1].astype(np.float64)  # bincount of nothing counts in integers
