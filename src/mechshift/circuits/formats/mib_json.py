"""Scores and circuits as JSON of MIB's circuit track, which is that of EAP-IG.

    {"cfg": {"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": false, "d_model": 768},
     "nodes": {"input": {"in_graph": true}, "a0.h0": {"in_graph": false}, ..., "logits": ...},
     "edges": {"input->a0.h0<q>": {"score": 0.25, "in_graph": true}, ...}}

1. A file of scores (MIB's `importances.json`) lists every edge; none is in the graph, because
   nobody has selected yet, and MIB selects by itself.
2. A file of a circuit lists the circuit's edges, all in the graph. EAP-IG leaves an edge that is
   not listed out of its graph, with score 0, which is not a score that anybody measured.
3. Read from either, or from a file of EAP-IG: the scores of every edge, or the edges in the graph.
   Nodes are checked, but edges alone decide; EAP-IG does the same when it prunes.
4. Until late 2024 EAP-IG wrote a node as a plain true or false, and an edge that it had not scored
   with the score null. Both are read. An edge outside the graph needs no score; where no edge in
   the graph has one, membership is all that the file states, and each counts 1.

JSON knows one kind of number: scores are read as float64, and those that were float32 have exactly
their old values.

Sources: `Graph.to_json` and `from_json` of github.com/hannamw/EAP-IG, `src/eap/graph.py` at commit
4fad6c6 and, for the older form, 48c37e5; MIB-circuit-track reads its files with the same functions
(arXiv:2504.13151).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from msgspec import Struct

from mechshift.circuits.circuit import Circuit
from mechshift.circuits.formats.edge_names import circuit_named, named_scores, scored_graph_named
from mechshift.circuits.formats.files import reading, writing
from mechshift.circuits.nodes import joined_nodes
from mechshift.circuits.scored_graph import ScoredGraph
from mechshift.errors import CircuitError
from mechshift.graph import Graph
from mechshift.input_files import parse_json


def write_mib_scores(path: Path, scored: ScoredGraph, *, d_model: int) -> None:
    """Write the score of every edge, as MIB's `importances.json`.

    Args:
        path: an earlier file is replaced.
        scored: a graph with one k and one v destination per query head.
        d_model: width of the residual stream; EAP-IG cannot load a file without it.

    Raises:
        CircuitError: k and v are grouped, or the disk refuses.
    """
    no_edges = np.empty(0, dtype=np.int64)
    head = _head(scored.graph, no_edges, d_model)
    _write(path, head, scored, np.arange(scored.graph.num_edges))


def write_mib_circuit(path: Path, circuit: Circuit, *, d_model: int) -> None:
    """Write the edges of a circuit, as one of MIB's files with membership and scores.

    Arguments and errors as in `write_mib_scores`.
    """
    _write(path, _head(circuit.graph, circuit.edges, d_model), circuit, circuit.edges)


def read_mib_scores(path: Path) -> ScoredGraph:
    """Read the score of every edge, whether or not it is in the graph.

    Raises:
        CircuitError: unreadable, of nodes or neurons, or with unknown, missing or repeated edges
            or scores that are not finite.
    """
    with reading(path):
        graph, edges = _parsed(path)
        _check_scored(edges)
        return scored_graph_named(graph, list(edges), _scores(edges))


def read_mib_circuit(path: Path) -> Circuit:
    """Read the edges that are in the graph; other edges may be listed or not.

    Raises:
        CircuitError: as `read_mib_scores`, except for missing edges; and where edges are listed
            but none is in the graph.
    """
    with reading(path):
        graph, listed = _parsed(path)
        edges = _with_scores(listed)
        kept = np.array([edge.in_graph for edge in edges.values()], dtype=bool)
        if edges and not kept.any():
            raise CircuitError(
                f"none of its {len(edges):,} edges is in the graph, so it holds scores and no"
                " circuit; read it with read_mib_scores and select edges."
            )
        return circuit_named(graph, list(edges), _scores(edges), kept=kept)


def _head(graph: Graph, edges: Int[np.ndarray, " k"], d_model: int) -> dict[str, Any]:
    """`cfg` and `nodes` of a file whose graph has these edges."""
    if graph.num_key_value_groups != graph.num_heads:
        raise CircuitError(
            f"MIB's format has one k and one v input per query head, and this graph has"
            f" {graph.num_key_value_groups} for {graph.num_heads} heads; score the model again"
            " without grouping k and v, or write GraphML or safetensors."
        )
    if d_model < 1:
        raise CircuitError(f"d_model is the width of the residual stream, not {d_model}.")
    used = joined_nodes(graph, edges)
    used[-1] = True  # EAP-IG's logits are in every graph
    return {
        "cfg": {
            "n_layers": graph.num_layers,
            "n_heads": graph.num_heads,
            "parallel_attn_mlp": False,
            "d_model": d_model,
        },
        "nodes": {
            name: {"in_graph": flag}
            for name, flag in zip(_node_names(graph), used.tolist(), strict=True)
        },
    }


def _write(
    path: Path,
    head: Mapping[str, Any],
    content: ScoredGraph | Circuit,
    edges: Int[np.ndarray, " k"],
) -> None:
    end = f', "in_graph": {json.dumps(isinstance(content, Circuit))}}}'
    with writing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        # Edges become text piece by piece: a dict for each would dwarf the scores in memory.
        file.write(json.dumps(head)[:-1] + ', "edges": {')
        separator = ""
        for chunk in named_scores(content.graph, edges, content.scores):
            pieces = [f'"{name}": {{"score": {score!r}{end}' for name, score in chunk]
            file.write(separator + ", ".join(pieces))
            separator = ", "
        file.write("}}\n")


class _Config(Struct):
    """Parts of `cfg` that are read."""

    n_layers: int
    n_heads: int
    parallel_attn_mlp: bool = False


class _Node(Struct, forbid_unknown_fields=True):
    """A node; one with scores is of a file of nodes or neurons."""

    in_graph: bool


class _Edge(Struct, forbid_unknown_fields=True):
    score: int | float | None
    in_graph: bool


class _File(Struct):
    cfg: _Config
    nodes: dict[str, bool | _Node]
    edges: dict[str, _Edge]


def _parsed(path: Path) -> tuple[Graph, dict[str, _Edge]]:
    """The graph, and per edge name a score and whether it is in the graph."""
    content: _File = parse_json(
        path.read_bytes(),
        _File,
        where="",
        error=CircuitError,
        advice="it must be a circuit of MIB or EAP-IG, with scores of edges and not of nodes",
    )
    graph = _graph(content.cfg)
    known = set(_node_names(graph))
    for name in content.nodes:
        if name not in known:
            raise CircuitError(
                f"no node {name!r:.60} in a graph of {graph.num_layers} layers and"
                f" {graph.num_heads} heads."
            )
    return graph, content.edges


def _graph(cfg: _Config) -> Graph:
    if cfg.parallel_attn_mlp:
        raise CircuitError(
            "cfg says parallel_attn_mlp, attention and MLP side by side; mechshift reads models in"
            " which the MLP reads what its layer's heads wrote."
        )
    return Graph(num_layers=cfg.n_layers, num_heads=cfg.n_heads, num_key_value_groups=cfg.n_heads)


def _check_scored(edges: Mapping[str, _Edge]) -> None:
    unscored = [name for name, edge in edges.items() if edge.score is None]
    if unscored:
        raise CircuitError(
            f"{len(unscored):,} of {len(edges):,} edges have no score, the first being"
            f" {unscored[0]!r:.60}; score every edge that is to be read."
        )


def _with_scores(edges: Mapping[str, _Edge]) -> dict[str, _Edge]:
    """The edges that count for a circuit, all with a number as score."""
    inside = [edge for edge in edges.values() if edge.in_graph]
    if inside and all(edge.score is None for edge in inside):
        return {name: _Edge(1.0, edge.in_graph) for name, edge in edges.items()}
    _check_scored({name: edge for name, edge in edges.items() if edge.in_graph})
    unscored = {
        name: _Edge(0.0, edge.in_graph) for name, edge in edges.items() if edge.score is None
    }
    return {**edges, **unscored}


def _scores(edges: Mapping[str, _Edge]) -> Float[np.ndarray, " k"]:
    try:
        return np.array([edge.score for edge in edges.values()], dtype=np.float64)
    except OverflowError:
        raise CircuitError("a score is a whole number too large for a float.") from None


def _node_names(graph: Graph) -> list[str]:
    return [*graph.source_names, "logits"]
