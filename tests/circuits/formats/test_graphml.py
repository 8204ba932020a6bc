"""GraphML against a file written out by hand, against networkx, and what is refused."""

import networkx as nx
import numpy as np
import pytest

from mechshift.circuits import Circuit, ScoredGraph
from mechshift.circuits.formats import (
    read_graphml_circuit,
    read_graphml_scores,
    write_graphml_circuit,
    write_graphml_scores,
)
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=2, num_key_value_groups=2)
GROUPED = Graph(num_layers=1, num_heads=2, num_key_value_groups=1)

# Keys named and edges numbered as another tool might, and in no order of ours.
BY_HAND = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="g0" for="graph" attr.name="content" attr.type="string"/>
  <key id="g1" for="graph" attr.name="num_layers" attr.type="int"/>
  <key id="g2" for="graph" attr.name="num_heads" attr.type="int"/>
  <key id="g3" for="graph" attr.name="num_key_value_groups" attr.type="int"/>
  <key id="g4" for="graph" attr.name="score_dtype" attr.type="string"/>
  <key id="size" for="edge" attr.name="score" attr.type="double"/>
  <key id="kind" for="edge" attr.name="kind" attr.type="string"/>
  <graph edgedefault="directed">
    <data key="g0">circuit</data>
    <data key="g1">1</data>
    <data key="g2">2</data>
    <data key="g3">2</data>
    <data key="g4">float32</data>
    <node id="logits"/>
    <node id="a0.h1"/>
    <node id="input"/>
    <edge id="7" source="input" target="a0.h1">
      <data key="size">-2.0</data><data key="kind">v</data>
    </edge>
    <edge id="8" source="input" target="a0.h1">
      <data key="size">0.5</data><data key="kind">q</data>
    </edge>
    <edge id="9" source="a0.h1" target="logits">
      <data key="size">3.0</data><data key="kind">logits</data>
    </edge>
  </graph>
</graphml>
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "circuit.graphml"


def circuit_of(graph, **scores):
    """Strongest first, as given; `__` stands for `->`."""
    edges = [graph.edge_index(name.replace("__", "->")) for name in scores]
    return Circuit(graph=graph, edges=np.array(edges), scores=np.array(list(scores.values())))


def test_a_file_by_hand_is_read_whatever_its_order_and_keys(path):
    path.write_text(BY_HAND)
    circuit = read_graphml_circuit(path)
    assert circuit.graph == GRAPH
    assert circuit.names() == ["a0.h1->logits", "input->a0.h1<v>", "input->a0.h1<q>"]
    assert circuit.scores.tolist() == [3.0, -2.0, 0.5]
    assert circuit.scores.dtype == np.float32


def test_networkx_finds_what_the_circuit_says(path):
    scores = {"a0.h1__logits": 3.0, "input__a0.h1<v>": -2.0, "input__a0.h1<q>": 0.5}
    write_graphml_circuit(path, circuit_of(GRAPH, **scores))
    drawing = nx.read_graphml(path, edge_key_type=str, force_multigraph=True)
    assert dict(drawing.nodes(data=True)) == {
        "input": {"label": "input", "kind": "input", "layer": -1, "score": 2.5},
        "a0.h1": {"label": "a0.h1", "kind": "head", "layer": 0, "head": 1, "score": 5.5},
        "logits": {"label": "logits", "kind": "logits", "layer": 1},
    }
    assert list(drawing.edges(keys=True, data=True)) == [
        ("input", "a0.h1", "input->a0.h1<q>", {"kind": "q", "score": 0.5}),
        ("input", "a0.h1", "input->a0.h1<v>", {"kind": "v", "score": -2.0}),
        ("a0.h1", "logits", "a0.h1->logits", {"kind": "logits", "score": 3.0}),
    ]


def test_every_edge_has_an_id_of_its_own(path):
    write_graphml_scores(path, ScoredGraph(graph=GRAPH, scores=np.arange(13.0)))
    lines = [line for line in path.read_text().splitlines() if "<edge " in line]
    ids = {line.partition('id="')[2].partition('"')[0] for line in lines}
    assert len(lines) == len(ids) == 13


def test_a_shared_key_is_a_node_that_leads_to_the_heads_of_its_group(path):
    write_graphml_circuit(path, circuit_of(GROUPED, **{"input__a0.h0<k>": 4.0}))
    drawing = nx.read_graphml(path, edge_key_type=str, force_multigraph=True)
    assert drawing.nodes["a0.kv0"] == {
        "label": "a0.kv0",
        "kind": "kv_head",
        "layer": 0,
        "head": 0,
    }
    edges = {(source, target): data for source, target, data in drawing.edges(data=True)}
    assert edges == {
        ("input", "a0.kv0"): {"kind": "k", "score": 4.0},
        ("a0.kv0", "a0.h0"): {"kind": "group"},
        ("a0.kv0", "a0.h1"): {"kind": "group"},
    }
    assert [drawing.nodes[f"a0.h{head}"]["score"] for head in (0, 1)] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (BY_HAND, "", "is not GraphML"),
        (BY_HAND, "<html></html>", "is not GraphML"),
        ("</graphml>", "", "is not GraphML"),
        ("-2.0", "strong", "is not GraphML"),
        ('key="size"', 'key="missing"', "is not GraphML"),
        (">circuit<", ">scores<", "holds 'scores', not 'circuit'; use the function that reads"),
        ('<data key="g0">circuit</data>', "", "it was not written by mechshift"),
        ('<data key="g1">1</data>', "", "it was not written by mechshift"),
        (">float32<", ">int8<", "score_dtype is 'int8', not one of float16, float32, float64"),
        (">v<", ">w<", "an edge from 'input' to 'a0.h1' must have .* not -2.0 and 'w'"),
        ('<data key="size">-2.0</data>', "", "must have a number as score"),
        (">v<", ">q<", "1 of 3 edges occur twice"),
        ("-2.0", "nan", "1 of 3 scores are not finite, the first being nan of 'input->a0.h1<v>'"),
        (">v<", ">mlp<", "1 of 3 edges do not exist .* the first being 'input->a0.h1';"),
        ('source="a0.h1"', 'source="a1.h1"', "the first being 'a1.h1->logits'"),
    ],
)
def test_what_is_no_circuit_of_this_format_is_refused(path, before, after, message):
    assert before in BY_HAND
    path.write_text(BY_HAND.replace(before, after))
    with pytest.raises(CircuitError, match=f"circuit.graphml: .*{message}"):
        read_graphml_circuit(path)


def test_scores_that_do_not_name_every_edge_are_refused(path):
    path.write_text(BY_HAND.replace(">circuit<", ">scores<"))
    with pytest.raises(CircuitError, match="10 of the graph's 13 edges are missing"):
        read_graphml_scores(path)
