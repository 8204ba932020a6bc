from pathlib import Path

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.circuits.formats import (
    read_circuit,
    write_graphml_circuit,
    write_mib_circuit,
    write_safetensors_circuit,
)
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)


def test_the_suffix_tells_which_format_a_circuit_is_in(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=GRAPH.num_edges)
    circuit = select_top_edges(GRAPH, scores, 12)
    json_file, graphml, safetensors = (
        tmp_path / f"circuit.{suffix}" for suffix in ("json", "graphml", "safetensors")
    )
    write_mib_circuit(json_file, circuit, d_model=8)
    write_graphml_circuit(graphml, circuit)
    write_safetensors_circuit(safetensors, circuit)
    for path in (json_file, graphml, safetensors):
        assert read_circuit(path).names() == circuit.names()


def test_another_suffix_is_refused_with_those_that_are_known() -> None:
    message = r"circuit\.pt ends in none of \.json, \.graphml, \.safetensors"
    with pytest.raises(CircuitError, match=message):
        read_circuit(Path("circuit.pt"))
