"""Selection of a circuit of a given size, and of the edges that can carry anything."""

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.circuit import Circuit, by_strength
from mechshift.circuits.nodes import destination_nodes
from mechshift.errors import CircuitError
from mechshift.graph import Graph


def select_top_edges(
    graph: Graph, scores: Float[np.ndarray, " edge"], k: int, *, signed: bool = False
) -> Circuit:
    """The `k` edges of largest |score|, or of largest score if `signed`.

    Equal scores go to the lower edge index. Exactly `k` edges are selected, dangling ones and
    those of score 0 among them, so that k = num_edges is the full model; `without_dangling` says
    how many can matter.

    Args:
        graph: the graph that the scores belong to.
        scores: one score per edge [metric units], positive where ablating the edge hurts.
        k: number of edges, from 0 to `graph.num_edges`.
        signed: rank by score instead of by |score|, which leaves edges that hurt the metric to
            the end (MIB's ranking for CPR).

    Raises:
        CircuitError: scores of another graph, NaN or infinity among them, or `k` out of range.
    """
    if len(scores) != graph.num_edges:
        raise CircuitError(
            f"{len(scores)} scores do not fit a graph of {graph.num_edges} edges; take both from"
            " the same model and the same grouping of k and v."
        )
    if not 0 <= k <= graph.num_edges:
        raise CircuitError(f"cannot select {k} of {graph.num_edges} edges.")
    if not np.isfinite(scores).all():
        raise CircuitError(f"{int((~np.isfinite(scores)).sum())} edge scores are not finite.")
    edges = _largest(scores if signed else np.abs(scores), k)
    edges = edges[by_strength(edges, scores[edges])]
    return Circuit(graph=graph, edges=edges, scores=scores[edges])


def _largest(rank: Float[np.ndarray, " edge"], k: int) -> Int[np.ndarray, " k"]:
    """The `k` edges of largest rank, of equal ones the lower index; in no order of rank.

    Sorting all edges of a large graph to keep a thousand would take longer than all else.
    """
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    last = np.partition(rank, len(rank) - k)[len(rank) - k]
    above, level = np.flatnonzero(rank > last), np.flatnonzero(rank == last)
    return np.concatenate([above, level[: k - len(above)]])


def without_dangling(circuit: Circuit) -> Circuit:
    """The edges that lie on a path from `input` to `logits` inside the circuit (`live_edges`)."""
    kept = live_edges(circuit)
    return Circuit(graph=circuit.graph, edges=circuit.edges[kept], scores=circuit.scores[kept])


def live_edges(circuit: Circuit) -> Bool[np.ndarray, " k"]:
    """Which of the circuit's edges lie on a path from `input` to `logits` inside it.

    Edges are dropped until none is left whose source (other than `input`) nothing feeds, or whose
    destination's node (other than `logits`) nothing reads. Where ablated edges carry corrupted
    values, the dropped ones do so whether or not they are in the circuit, so its metric does not
    change; where they carry constants, dropping is part of what running a circuit means (see
    `evaluation.constant_cache`). A head is fed through its q, k or v; a KV head of a grouped graph
    belongs to all query heads of its group.
    """
    graph = circuit.graph
    sources = graph.edge_source[circuit.edges]
    readers = destination_nodes(graph)[graph.edge_destination[circuit.edges]]
    kept = np.ones(circuit.num_edges, dtype=bool)
    while True:
        live = kept & _fed(graph, readers[kept])[sources]
        live &= _read(graph, sources[kept])[readers].any(axis=1)
        if np.array_equal(live, kept):
            return kept
        kept = live


def _fed(graph: Graph, readers: Int[np.ndarray, "k group"]) -> Bool[np.ndarray, " node"]:
    """Whether each node's output can differ from its corrupted value."""
    fed = np.zeros(graph.num_sources + 1, dtype=bool)
    fed[0] = True
    fed[readers] = True
    return fed


def _read(graph: Graph, sources: Int[np.ndarray, " k"]) -> Bool[np.ndarray, " node"]:
    """Whether anything in the circuit reads each node's output."""
    read = np.zeros(graph.num_sources + 1, dtype=bool)
    read[sources] = True
    read[-1] = True  # logits
    return read
