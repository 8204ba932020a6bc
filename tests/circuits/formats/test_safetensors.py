"""safetensors against files made with the safetensors package, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mechshift.circuits import Circuit, ScoredGraph
from mechshift.circuits.formats import (
    read_safetensors_circuit,
    read_safetensors_scores,
    write_safetensors_circuit,
    write_safetensors_scores,
)
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
HEADER = {"num_layers": 1, "num_heads": 1, "num_key_value_groups": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "circuit.safetensors"


def save(path, content, **arrays):
    metadata = {"mechshift": json.dumps({"content": content, **HEADER})}
    save_file({name: np.array(array) for name, array in arrays.items()}, path, metadata=metadata)


def test_the_safetensors_package_finds_the_arrays(path):
    circuit = Circuit(graph=GRAPH, edges=np.array([4, 0]), scores=np.array([-2.0, 1.0]))
    write_safetensors_circuit(path, circuit)
    arrays = load_file(path)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "edges": [4, 0],
        "scores": [-2.0, 1.0],
    }


def test_scores_that_do_not_lie_in_a_row_are_written_in_their_order(path):
    scores = np.arange(16.0)[::2]
    write_safetensors_scores(path, ScoredGraph(graph=GRAPH, scores=scores))
    np.testing.assert_array_equal(read_safetensors_scores(path).scores, scores)


def test_a_file_that_the_safetensors_package_made_is_read(path):
    save(path, "circuit", edges=[4, 0], scores=[-2.0, 1.0])
    circuit = read_safetensors_circuit(path)
    assert circuit.graph == GRAPH
    assert circuit.names() == ["a0.h0->m0", "input->a0.h0<q>"]


@pytest.mark.parametrize(
    ("content", "arrays", "message"),
    [
        ("scores", {"scores": [1.0] * 8}, "holds 'scores', not 'circuit'"),
        (
            "circuit",
            {"scores": [1.0]},
            r"must hold flat arrays edges .* and scores .* 'scores' F64\[1\]",
        ),
        ("circuit", {"edges": [0.0], "scores": [1.0]}, r"must hold .* 'edges' F64\[1\]"),
        ("circuit", {"edges": [[0]], "scores": [1.0]}, r"must hold .* 'edges' I64\[1, 1\]"),
        ("circuit", {"edges": [0], "scores": [1]}, r"must hold .* 'scores' I64\[1\]"),
        ("circuit", {"edges": [0, 1], "scores": [1.0]}, "1 scores do not fit 2 edges"),
        ("circuit", {"edges": [8], "scores": [1.0]}, "lie outside a graph of 8 edges"),
        ("circuit", {"edges": [1, 1], "scores": [1.0, 1.0]}, "occur twice"),
        ("circuit", {"edges": [1], "scores": [np.nan]}, "NaN or infinity"),
        ("circuit", {"edges": [1, 2], "scores": [1.0, 2.0]}, "descending"),
    ],
)
def test_what_is_no_circuit_of_this_format_is_refused(path, content, arrays, message):
    save(path, content, **arrays)
    with pytest.raises(CircuitError, match=f"circuit.safetensors: .*{message}"):
        read_safetensors_circuit(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "header: the key 'content' is missing"),
        ({"mechshift": "{"}, "metadata 'mechshift': not valid JSON"),
        ({"mechshift": "[]"}, "metadata 'mechshift': expected `object`, got `array`"),
    ],
)
def test_a_file_without_our_header_is_refused(path, metadata, message):
    save_file({"scores": np.ones(8)}, path, metadata=metadata)
    with pytest.raises(CircuitError, match=f"{message}.*; it was not written by mechshift"):
        read_safetensors_scores(path)


def test_too_few_scores_are_refused(path):
    save(path, "scores", scores=[1.0] * 7)
    with pytest.raises(CircuitError, match="circuit.safetensors: 7 scores do not fit a graph of 8"):
        read_safetensors_scores(path)


def test_a_torn_file_is_refused(path):
    write_safetensors_scores(path, ScoredGraph(graph=GRAPH, scores=np.ones(8)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CircuitError, match="circuit.safetensors: is not safetensors"):
        read_safetensors_scores(path)
