"""What is written is read back to the last bit, by every format, for any graph and any scores."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mechshift.circuits import Circuit, ScoredGraph
from mechshift.circuits.circuit import by_strength
from mechshift.circuits.formats import (
    read_graphml_circuit,
    read_graphml_scores,
    read_mib_circuit,
    read_mib_scores,
    read_safetensors_circuit,
    read_safetensors_scores,
    write_graphml_circuit,
    write_graphml_scores,
    write_mib_circuit,
    write_mib_scores,
    write_safetensors_circuit,
    write_safetensors_scores,
)
from mechshift.errors import CircuitError
from mechshift.graph import Graph

MIB = pytest.param(
    (partial(write_mib_scores, d_model=8), read_mib_scores),
    (partial(write_mib_circuit, d_model=8), read_mib_circuit),
    id="mib",
)
GRAPHML = pytest.param(
    (write_graphml_scores, read_graphml_scores),
    (write_graphml_circuit, read_graphml_circuit),
    id="graphml",
)
SAFETENSORS = pytest.param(
    (write_safetensors_scores, read_safetensors_scores),
    (write_safetensors_circuit, read_safetensors_circuit),
    id="safetensors",
)
every_format = pytest.mark.parametrize(("of_scores", "of_circuits"), [MIB, GRAPHML, SAFETENSORS])


@st.composite
def scored_graphs(draw: st.DrawFn, *, grouped: bool) -> ScoredGraph:
    groups = draw(st.integers(1, 2))
    heads = groups * (draw(st.integers(1, 2)) if grouped else 1)
    graph = Graph(num_layers=draw(st.integers(1, 2)), num_heads=heads, num_key_value_groups=groups)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    # Short of the largest float64, because GraphML also states sums of scores.
    largest = min(float(np.finfo(dtype).max), 1e300)
    finite = st.floats(-largest, largest, width=np.finfo(dtype).bits)
    scores = draw(hnp.arrays(dtype, graph.num_edges, elements=finite))
    return ScoredGraph(graph=graph, scores=scores)


@st.composite
def circuits(draw: st.DrawFn, *, grouped: bool) -> Circuit:
    scored = draw(scored_graphs(grouped=grouped))
    mask = draw(hnp.arrays(bool, scored.graph.num_edges))
    edges = np.flatnonzero(mask)
    edges = edges[by_strength(edges, scored.scores[edges])]
    return Circuit(graph=scored.graph, edges=edges, scores=scored.scores[edges])


def bits(scores):
    """Unlike `==`, tells -0.0 from 0.0."""
    return scores.tobytes()


@every_format
@given(data=st.data())
def test_scores_come_back_to_the_last_bit(of_scores, of_circuits, tmp_path_factory, data):
    write, read = of_scores
    scored = data.draw(scored_graphs(grouped="mib" not in read.__name__))
    path = tmp_path_factory.getbasetemp() / f"{read.__name__}.file"
    write(path, scored)
    back = read(path)
    assert back.graph == scored.graph
    if "mib" in read.__name__:  # JSON has one kind of number, which holds every float32
        assert back.scores.dtype == np.float64
        assert bits(back.scores) == bits(scored.scores.astype(np.float64))
    else:
        assert back.scores.dtype == scored.scores.dtype
        assert bits(back.scores) == bits(scored.scores)


@every_format
@given(data=st.data())
def test_a_circuit_comes_back_edge_by_edge(of_scores, of_circuits, tmp_path_factory, data):
    write, read = of_circuits
    circuit = data.draw(circuits(grouped="mib" not in read.__name__))
    path = tmp_path_factory.getbasetemp() / f"{read.__name__}.file"
    write(path, circuit)
    back = read(path)
    assert back.graph == circuit.graph
    np.testing.assert_array_equal(back.edges, circuit.edges)
    assert bits(back.scores) == bits(circuit.scores.astype(back.scores.dtype))
    assert "mib" in read.__name__ or back.scores.dtype == circuit.scores.dtype


@every_format
def test_the_same_scores_make_the_same_bytes(of_scores, of_circuits, tmp_path):
    graph = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
    scored = ScoredGraph(graph=graph, scores=np.random.default_rng(0).normal(size=46))
    write, _ = of_scores
    for name in ("first", "second"):
        write(tmp_path / name, scored)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


@every_format
def test_a_file_that_is_not_there_is_named(of_scores, of_circuits, tmp_path):
    for _, read in (of_scores, of_circuits):
        with pytest.raises(CircuitError, match=r"cannot read .*nowhere.file: No such file"):
            read(tmp_path / "nowhere.file")


@every_format
def test_a_folder_in_the_way_is_named_and_nothing_is_left_beside_it(
    of_scores, of_circuits, tmp_path
):
    graph = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
    (tmp_path / "taken").mkdir()
    with pytest.raises(CircuitError, match="taken: cannot be written: Is a directory"):
        of_scores[0](tmp_path / "taken", ScoredGraph(graph=graph, scores=np.zeros(8)))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
