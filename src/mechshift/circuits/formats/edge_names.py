"""Names of edges: a million of them to edges, and back."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.circuit import Circuit, by_strength
from mechshift.circuits.scored_graph import ScoredGraph
from mechshift.errors import CircuitError
from mechshift.graph import Graph

CHUNK = 1 << 16
"""Edges named at a time: enough to be fast, and little beside the scores in memory."""


def named_scores(
    graph: Graph, edges: Int[np.ndarray, " k"], scores: Float[np.ndarray, " k"]
) -> Iterator[list[tuple[str, float]]]:
    """Name and score of each edge, in chunks; a score keeps every bit as a Python float."""
    source_names = graph.source_names
    ends = [f"->{name}" for name in graph.destination_names]
    for start in range(0, len(edges), CHUNK):
        chunk = edges[start : start + CHUNK]
        sources = graph.edge_source[chunk].tolist()
        destinations = graph.edge_destination[chunk].tolist()
        names = (source_names[s] + ends[d] for s, d in zip(sources, destinations, strict=True))
        yield list(zip(names, scores[start : start + CHUNK].tolist(), strict=True))


def scored_graph_named(
    graph: Graph, names: Sequence[str], scores: Float[np.ndarray, " k"]
) -> ScoredGraph:
    """Scores in graph order, from names in any order.

    Raises:
        CircuitError: a name is unknown, repeated or missing, or a score is not finite.
    """
    edges = _edges_named(graph, names)
    if len(edges) < graph.num_edges:
        present = np.append(np.sort(edges), graph.num_edges)
        first = np.argmax(present != np.arange(len(present)))
        raise CircuitError(
            f"{graph.num_edges - len(edges):,} of the graph's {graph.num_edges:,} edges are"
            f" missing, the first being '{graph.edge_name(first)}'; scores of a graph"
            " must name every edge."
        )
    _check_finite(names, scores)
    in_order = np.empty_like(scores)
    in_order[edges] = scores
    return ScoredGraph(graph=graph, scores=in_order)


def circuit_named(
    graph: Graph,
    names: Sequence[str],
    scores: Float[np.ndarray, " k"],
    *,
    kept: Bool[np.ndarray, " k"] | None = None,
) -> Circuit:
    """A circuit, strongest edge first, from names in any order.

    Args:
        graph: the graph that the names belong to.
        names: edges of the graph.
        scores: one for each name.
        kept: which of them make up the circuit; all by default. The others are checked too.

    Raises:
        CircuitError: a name is unknown or repeated, or a score is not finite.
    """
    edges = _edges_named(graph, names)
    _check_finite(names, scores)
    if kept is not None:
        edges, scores = edges[kept], scores[kept]
    order = by_strength(edges, scores)
    return Circuit(graph=graph, edges=edges[order], scores=scores[order])


def _edges_named(graph: Graph, names: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Index of each edge; one pass over the names, because there may be a million of them."""
    sources = {name: source for source, name in enumerate(graph.source_names)}
    places = zip(graph.edge_offset[:-1].tolist(), graph.num_parents.tolist(), strict=True)
    starts = dict(zip(graph.destination_names, places, strict=True))
    edges = np.fromiter(_found(names, sources, starts), dtype=np.int64, count=len(names))
    unknown = np.flatnonzero(edges < 0)
    if len(unknown):
        raise CircuitError(
            f"{len(unknown):,} of {len(names):,} edges do not exist in a graph of"
            f" {graph.num_layers} layers and {graph.num_heads} heads, the first being"
            f" {names[unknown[0]]!r:.60}; edges are written like 'a0.h1->m2' or 'input->a1.h0<q>'."
        )
    repeated = len(edges) - len(np.unique(edges))
    if repeated:
        raise CircuitError(f"{repeated:,} of {len(edges):,} edges occur twice.")
    return edges


def _found(
    names: Iterable[str], sources: dict[str, int], starts: dict[str, tuple[int, int]]
) -> Iterator[int]:
    """Edge of each name; -1 where there is none."""
    nowhere = (0, 0)
    for name in names:
        source_name, _, destination_name = name.partition("->")
        source = sources.get(source_name, -1)
        start, num_parents = starts.get(destination_name, nowhere)
        yield start + source if 0 <= source < num_parents else -1


def _check_finite(names: Sequence[str], scores: Float[np.ndarray, " k"]) -> None:
    (odd,) = np.nonzero(~np.isfinite(scores))
    if len(odd):
        raise CircuitError(
            f"{len(odd):,} of {len(scores):,} scores are not finite, the first being"
            f" {scores[odd[0]]} of {names[odd[0]]!r:.60}."
        )
