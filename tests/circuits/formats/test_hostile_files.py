"""Files of circuits as nobody should write them: refused in a line, at once, in little memory."""

import json
import struct
import tracemalloc

import pytest

from mechshift.circuits.formats import (
    read_circuit,
    read_mib_scores,
)
from mechshift.errors import CircuitError
from mechshift.graph import MAX_EDGES, MAX_SOURCES, Graph


def safetensors_bytes(metadata, **arrays):
    """A file by hand: arrays are (type, shape, bytes), of types unknown to NumPy too."""
    header, start, body = {"__metadata__": metadata}, 0, b""
    for name, (dtype, shape, content) in arrays.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [start, start + len(content)],
        }
        start, body = start + len(content), body + content
    words = json.dumps(header).encode()
    return struct.pack("<Q", len(words)) + words + body


def stated(num_layers, num_heads):
    graph = {"num_layers": num_layers, "num_heads": num_heads, "num_key_value_groups": num_heads}
    return {"mechshift": json.dumps({"content": "circuit", **graph})}


NO_ARRAYS = {"edges": ("I64", [0], b""), "scores": ("F32", [0], b"")}


def enormous(num_layers, num_heads):
    """A few bytes that state these sizes, in each format."""
    yield (
        ".json",
        json.dumps(
            {"cfg": {"n_layers": num_layers, "n_heads": num_heads}, "nodes": {}, "edges": {}}
        ).encode(),
    )
    keys = ("num_layers", num_layers), ("num_heads", num_heads), ("num_key_value_groups", num_heads)
    declared = "".join(
        f'<key id="{name}" for="graph" attr.name="{name}" attr.type="long"/>' for name, _ in keys
    )
    data = "".join(f'<data key="{name}">{size}</data>' for name, size in keys)
    yield (
        ".graphml",
        (
            '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
            '<key id="content" for="graph" attr.name="content" attr.type="string"/>'
            f'{declared}<graph edgedefault="directed"><data key="content">circuit</data>{data}'
            "</graph></graphml>"
        ).encode(),
    )
    yield ".safetensors", safetensors_bytes(stated(num_layers, num_heads), **NO_ARRAYS)


@pytest.mark.parametrize(("num_layers", "num_heads"), [(10**6, 12), (1, 10**8), (10**30, 10**30)])
def test_sizes_that_no_model_has_are_refused_before_anything_is_made_of_them(
    tmp_path, num_layers, num_heads
):
    for suffix, content in enormous(num_layers, num_heads):
        path = tmp_path / f"enormous{suffix}"
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(CircuitError, match=r"enormous\..* would have|is not GraphML"):
            read_circuit(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20


def test_a_missing_edge_of_the_largest_graph_is_named_without_its_arrays(tmp_path):
    """Which would be 2 GB each."""
    ((_, content),) = [one for one in enormous(255, 16) if one[0] == ".json"]
    path = tmp_path / "large.json"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(CircuitError, match=r"scores of a graph must name every edge") as refusal:
        read_mib_scores(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "the first being 'input->a0.h0<q>'" in str(refusal.value)
    assert peak < 2**25


def test_the_largest_published_model_has_few_enough_edges():
    for groups in (8, 128):
        llama_405b = Graph(num_layers=126, num_heads=128, num_key_value_groups=groups)
        assert llama_405b.num_sources < MAX_SOURCES
        assert llama_405b.num_edges < MAX_EDGES


@pytest.mark.parametrize(
    ("name", "array", "shown"),
    [
        ("scores", ("BF16", [2], b"\0" * 4), r"BF16\[2\]"),
        ("scores", ("F8_E4M3", [2], b"\0" * 2), r"F8_E4M3\[2\]"),
        ("scores", ("BOOL", [2], b"\0" * 2), r"BOOL\[2\]"),
        ("scores", ("F32", [1, 2], b"\0" * 8), r"F32\[1, 2\]"),
        ("edges", ("U64", [2], b"\0" * 16), r"U64\[2\]"),
        ("edges", ("BF16", [2], b"\0" * 4), r"BF16\[2\]"),
    ],
)
def test_arrays_of_other_types_are_refused_by_name_type_and_shape(tmp_path, name, array, shown):
    arrays = {"edges": ("I64", [2], b"\0" * 16), "scores": ("F32", [2], b"\0" * 8), name: array}
    path = tmp_path / "typed.safetensors"
    path.write_bytes(safetensors_bytes(stated(2, 2), **arrays))
    with pytest.raises(CircuitError, match=rf"must hold flat arrays .*'{name}' {shown}"):
        read_circuit(path)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".json", b'{"cfg": ' * 100_000, "nested too deeply"),
        (".graphml", b"<graphml>" * 100_000, "is not GraphML"),
        (".graphml", b'<?xml version="1.0" encoding="utf-7"?><graphml/>', "is not GraphML"),
        (".graphml", b'<?xml version="1.0" encoding="u88"?><graphml/>', "is not GraphML"),
        (
            ".safetensors",
            safetensors_bytes({"mechshift": "[" * 100_000}, **NO_ARRAYS),
            "it was not written by mechshift",
        ),
    ],
)
def test_deep_nesting_and_odd_encodings_are_refused(tmp_path, suffix, content, message):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    with pytest.raises(CircuitError, match=message) as refusal:
        read_circuit(path)
    assert len(str(refusal.value)) < 500 + len(str(path))
