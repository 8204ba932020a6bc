"""Scores and circuits as GraphML, for Gephi, Cytoscape and networkx.

Nodes are `input`, `a0.h1`, `m0` and `logits`, with

- `label`: the name again, which Gephi shows;
- `kind`: input, head, mlp or logits;
- `layer`: -1 for `input`, the number of layers for `logits`;
- `head`: for heads only;
- `score`: sum of |score| over the node's edges (`circuits.node_scores`), not for `logits`.

Edges have `kind` (q, k, v, mlp or logits: the input of the target that is read) and `score`. A head
reads a source through q, k and v, so there can be three edges between two nodes.

Where k and v are grouped, their edges end at a node `a0.kv1` of kind `kv_head`, from which edges of
kind `group`, without a score, lead to the query heads that share it.

Every edge becomes a Python object in networkx: meant for circuits and small graphs. All edges of a
7B model are better kept as safetensors.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx
import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits.circuit import Circuit
from mechshift.circuits.formats.edge_names import circuit_named, named_scores, scored_graph_named
from mechshift.circuits.formats.files import reading, writing
from mechshift.circuits.formats.header import Content, graph_in, header
from mechshift.circuits.nodes import joined_nodes, node_scores
from mechshift.circuits.scored_graph import ScoredGraph
from mechshift.circuits.selection import select_top_edges
from mechshift.errors import CircuitError
from mechshift.graph import KEY, KIND_NAMES, VALUE, Graph

GROUP_KIND = "group"
"""Kind of the edges from a KV head to its query heads."""

SCORE_DTYPES = ("float16", "float32", "float64")


def write_graphml_scores(path: Path, scored: ScoredGraph) -> None:
    """Write the score of every edge; an earlier file is replaced.

    Raises:
        CircuitError: the disk refuses.
    """
    whole = select_top_edges(scored.graph, scored.scores, scored.graph.num_edges)
    _write(path, whole, "scores")


def write_graphml_circuit(path: Path, circuit: Circuit) -> None:
    """Write the edges of a circuit and the nodes that they join; an earlier file is replaced.

    Raises:
        CircuitError: the disk refuses.
    """
    _write(path, circuit, "circuit")


def read_graphml_scores(path: Path) -> ScoredGraph:
    """Read the score of every edge.

    Raises:
        CircuitError: unreadable, a circuit, or with unknown, missing or repeated edges or scores
            that are not finite.
    """
    with reading(path):
        graph, names, scores = _parsed(path, "scores")
        return scored_graph_named(graph, names, scores)


def read_graphml_circuit(path: Path) -> Circuit:
    """Read the edges of a circuit.

    Raises:
        CircuitError: as `read_graphml_scores`, except for missing edges.
    """
    with reading(path):
        graph, names, scores = _parsed(path, "circuit")
        return circuit_named(graph, names, scores)


def _write(path: Path, circuit: Circuit, content: Content) -> None:
    graph, order = circuit.graph, np.argsort(circuit.edges)
    drawing = nx.MultiDiGraph(**header(content, graph), score_dtype=circuit.scores.dtype.name)
    drawing.add_nodes_from(_nodes(circuit))
    edges, scores = circuit.edges[order], circuit.scores[order]
    for chunk in named_scores(graph, edges, scores):
        drawing.add_edges_from(_edge(graph, name, score) for name, score in chunk)
    drawing.add_edges_from(_group_edges(graph, edges))
    with writing(path) as partial:
        nx.write_graphml_xml(drawing, partial)


def _nodes(circuit: Circuit) -> Iterable[tuple[str, dict[str, Any]]]:
    """The nodes that the circuit's edges join, in graph order, KV heads last."""
    graph, scores = circuit.graph, node_scores(circuit)
    used = joined_nodes(graph, circuit.edges)
    for source in np.flatnonzero(used[:-1]):
        layer, head = int(graph.source_layer[source]), int(graph.source_head[source])
        kind = "input" if layer < 0 else "mlp" if head < 0 else "head"
        place = {"layer": layer} if head < 0 else {"layer": layer, "head": head}
        name = graph.source_name(source)
        yield name, {"label": name, "kind": kind, **place, "score": float(scores[source])}
    if used[-1]:
        yield "logits", {"label": "logits", "kind": "logits", "layer": graph.num_layers}
    for layer, head in _key_value_heads(graph, circuit.edges):
        name = f"a{layer}.kv{head}"
        yield name, {"label": name, "kind": "kv_head", "layer": layer, "head": head}


def _edge(graph: Graph, name: str, score: float) -> tuple[str, str, str, dict[str, Any]]:
    """Source, target, a key that no other edge of the file has, and attributes."""
    source, _, destination = name.partition("->")
    target, _, letter = destination.partition("<")
    kind = letter.removesuffix(">") or ("logits" if target == "logits" else "mlp")
    if _is_grouped(graph) and kind in ("k", "v"):
        target = target.replace(".h", ".kv")
    return source, target, name, {"kind": kind, "score": score}


def _group_edges(
    graph: Graph, edges: Int[np.ndarray, " k"]
) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    group_size = graph.num_heads // graph.num_key_value_groups
    for layer, group in _key_value_heads(graph, edges):
        for head in range(group * group_size, (group + 1) * group_size):
            ends = f"a{layer}.kv{group}", f"a{layer}.h{head}"
            yield *ends, "->".join(ends), {"kind": GROUP_KIND}


def _key_value_heads(graph: Graph, edges: Int[np.ndarray, " k"]) -> list[tuple[int, int]]:
    """Layer and number of the shared KV heads that edges end at; none without grouping."""
    if not _is_grouped(graph):
        return []
    destinations = np.unique(graph.edge_destination[edges])
    read = destinations[np.isin(graph.destination_kind[destinations], [KEY, VALUE])]
    layers, heads = graph.destination_layer[read].tolist(), graph.destination_head[read].tolist()
    return sorted(set(zip(layers, heads, strict=True)))


def _is_grouped(graph: Graph) -> bool:
    return graph.num_key_value_groups < graph.num_heads


def _parsed(path: Path, content: Content) -> tuple[Graph, list[str], Float[np.ndarray, " k"]]:
    """The graph, and name and score of each edge of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a part that networkx would leave out
            drawing = nx.read_graphml(path, edge_key_type=str, force_multigraph=True)
    except (ParseError, nx.NetworkXError, UserWarning, ValueError, LookupError) as error:
        raise CircuitError(f"is not GraphML ({str(error):.200}).") from error
    graph = graph_in(drawing.graph, content)
    dtype = drawing.graph.get("score_dtype")
    if dtype not in SCORE_DTYPES:
        raise CircuitError(f"score_dtype is {dtype!r}, not one of {', '.join(SCORE_DTYPES)}.")
    names, scores = [], []
    for source, target, edge in drawing.edges(data=True):
        kind, score = edge.get("kind"), edge.get("score")
        if kind == GROUP_KIND:
            continue
        if kind not in KIND_NAMES or not isinstance(score, float):
            raise CircuitError(
                f"an edge from '{source:.60}' to '{target:.60}' must have a number as score and one"
                f" of {', '.join(KIND_NAMES)} as kind, not {score!r:.60} and {kind!r:.60}."
            )
        names.append(_name(source, target, kind))
        scores.append(score)
    return graph, names, np.array(scores, dtype=np.float64).astype(dtype)


def _name(source: str, target: str, kind: str) -> str:
    """The edge's name from what it joins, so that tools may number edges as they like."""
    if kind not in ("q", "k", "v"):
        return f"{source}->{target}"
    return f"{source}->{target.replace('.kv', '.h')}<{kind}>"
