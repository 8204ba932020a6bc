"""Scores and circuits as safetensors: the smallest and fastest form, with the dtype kept.

A file of scores holds `scores`, one per edge in `Graph` order. A file of a circuit holds `edges`
(indices in that order) and `scores`, strongest first. The metadata entry `mechshift` is a JSON
object that states which of the two it is, and the graph.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mechshift.circuits.circuit import Circuit
from mechshift.circuits.formats.files import reading, writing
from mechshift.circuits.formats.header import Content, graph_in, header
from mechshift.circuits.scored_graph import ScoredGraph
from mechshift.errors import CircuitError
from mechshift.graph import Graph
from mechshift.input_files import parse_json

METADATA_KEY = "mechshift"
"""One entry for everything: safetensors writes several in random order."""


def write_safetensors_scores(path: Path, scored: ScoredGraph) -> None:
    """Write the score of every edge; an earlier file is replaced.

    Raises:
        CircuitError: the disk refuses.
    """
    _write(path, header("scores", scored.graph), {"scores": scored.scores})


def write_safetensors_circuit(path: Path, circuit: Circuit) -> None:
    """Write the edges of a circuit with their scores; an earlier file is replaced.

    Raises:
        CircuitError: the disk refuses.
    """
    arrays = {"edges": circuit.edges, "scores": circuit.scores}
    _write(path, header("circuit", circuit.graph), arrays)


def read_safetensors_scores(path: Path) -> ScoredGraph:
    """Read the score of every edge.

    Raises:
        CircuitError: unreadable, a circuit, or scores that do not fit the graph.
    """
    with reading(path):
        graph, arrays = _parsed(path, "scores", {"scores": "f"})
        return ScoredGraph(graph=graph, scores=arrays["scores"])


def read_safetensors_circuit(path: Path) -> Circuit:
    """Read the edges of a circuit.

    Raises:
        CircuitError: unreadable, scores of a whole graph, or edges that make no circuit.
    """
    with reading(path):
        graph, arrays = _parsed(path, "circuit", {"edges": "i", "scores": "f"})
        edges, scores = arrays["edges"], arrays["scores"]
        if len(edges) != len(scores):
            raise CircuitError(f"{len(scores)} scores do not fit {len(edges)} edges.")
        return Circuit(graph=graph, edges=edges, scores=scores)


def _write(path: Path, entries: Mapping[str, str | int], arrays: Mapping[str, np.ndarray]) -> None:
    # safetensors stores the buffer as it lies.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(contiguous, metadata={METADATA_KEY: json.dumps(entries)})
    with writing(path) as partial:
        partial.write_bytes(content)


def _parsed(
    path: Path, content: Content, kinds: Mapping[str, str]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph, and the arrays, each flat and of the NumPy kind (`i`, `f`) that is asked for."""
    try:
        with safe_open(path, framework="numpy") as file:
            graph = graph_in(_entries(file.metadata() or {}), content)
            _check_arrays(file, kinds)
            return graph, {name: file.get_tensor(name) for name in kinds}
    except SafetensorError as error:
        raise CircuitError(f"is not safetensors ({error}).") from error


def _check_arrays(file: safe_open, kinds: Mapping[str, str]) -> None:
    """What the header says of the arrays, before any of them is read."""
    slices = {name: file.get_slice(name) for name in file.keys()}
    found = {name: (part.get_dtype(), len(part.get_shape())) for name, part in slices.items()}
    if found.keys() != kinds.keys() or not all(
        found[name][0] in _DTYPES[kind] and found[name][1] == 1 for name, kind in kinds.items()
    ):
        shapes = ", ".join(
            f"{name!r:.30} {s.get_dtype()}{s.get_shape()}" for name, s in slices.items()
        )
        wanted = " and ".join(f"{name} ({_KIND_NAMES[kind]})" for name, kind in kinds.items())
        raise CircuitError(f"must hold flat arrays {wanted}, not {shapes[:200] or 'nothing'}.")


_KIND_NAMES = {"i": "whole numbers", "f": "floats"}
_DTYPES = {"i": ("I8", "I16", "I32", "I64"), "f": ("F16", "F32", "F64")}
"""Names in safetensors of the types that NumPy has, too."""


def _entries(metadata: Mapping[str, str]) -> dict[str, Any]:
    return parse_json(
        metadata.get(METADATA_KEY, "{}").encode(),
        dict[str, Any],
        where=f"metadata '{METADATA_KEY}'",
        error=CircuitError,
        advice="it was not written by mechshift",
    )
