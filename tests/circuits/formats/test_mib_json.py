"""MIB's JSON against files written out by hand from EAP-IG's source, and what is refused."""

import json

import numpy as np
import pytest

from mechshift.circuits import Circuit, ScoredGraph
from mechshift.circuits.formats import (
    read_mib_circuit,
    read_mib_scores,
    write_mib_circuit,
    write_mib_scores,
)
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=2, num_key_value_groups=2)

# As `Graph.to_json` of EAP-IG writes it: residual stream by residual stream, q, k and v of a head
# side by side, float32 scores as doubles.
OF_EAP_IG = (
    '{"cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": false, "d_model": 4},'
    ' "nodes": {"input": {"in_graph": true}, "a0.h0": {"in_graph": false},'
    ' "a0.h1": {"in_graph": true}, "m0": {"in_graph": false}, "logits": {"in_graph": true}},'
    ' "edges": {"input->a0.h0<q>": {"score": 0.10000000149011612, "in_graph": false},'
    ' "input->a0.h0<k>": {"score": 0.5, "in_graph": false},'
    ' "input->a0.h0<v>": {"score": -0.25, "in_graph": false},'
    ' "input->a0.h1<q>": {"score": 0.0, "in_graph": false},'
    ' "input->a0.h1<k>": {"score": 1e-08, "in_graph": false},'
    ' "input->a0.h1<v>": {"score": -2.0, "in_graph": true},'
    ' "input->m0": {"score": 0.125, "in_graph": false},'
    ' "a0.h0->m0": {"score": 1.0, "in_graph": false},'
    ' "a0.h1->m0": {"score": 0.75, "in_graph": false},'
    ' "input->logits": {"score": 0.375, "in_graph": false},'
    ' "a0.h0->logits": {"score": -0.625, "in_graph": false},'
    ' "a0.h1->logits": {"score": 3.0, "in_graph": true},'
    ' "m0->logits": {"score": 0.875, "in_graph": false}}}'
)

# q, q, k, k, v, v; three edges into the MLP; four into logits.
SCORES = [0.10000000149011612, 0, 0.5, 1e-08, -0.25, -2, 0.125, 1, 0.75, 0.375, -0.625, 3, 0.875]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "importances.json"


def changed(part, name, value):
    """The file of EAP-IG with one entry set, or removed if `value` is None."""
    content = json.loads(OF_EAP_IG)
    where = content if part is None else content[part]
    where[name] = value
    if value is None:
        del where[name]
    return json.dumps(content)


def test_scores_in_the_order_of_eap_ig_are_read_into_ours(path):
    path.write_text(OF_EAP_IG)
    scored = read_mib_scores(path)
    assert scored.graph == GRAPH
    assert scored.scores.tolist() == SCORES


def test_a_circuit_of_eap_ig_is_its_edges_in_the_graph_strongest_first(path):
    path.write_text(OF_EAP_IG)
    circuit = read_mib_circuit(path)
    assert circuit.graph == GRAPH
    assert circuit.names() == ["a0.h1->logits", "input->a0.h1<v>"]
    assert circuit.scores.tolist() == [3.0, -2.0]


def test_scores_are_written_as_eap_ig_would_with_no_edge_selected(path):
    scored = ScoredGraph(graph=GRAPH, scores=np.array(SCORES, dtype=np.float32))
    write_mib_scores(path, scored, d_model=4)
    written, expected = json.loads(path.read_bytes()), json.loads(OF_EAP_IG)
    assert list(written) == list(expected)
    assert written["cfg"] == expected["cfg"]
    assert list(written["nodes"]) == list(expected["nodes"])
    assert written["edges"].keys() == expected["edges"].keys()
    for name, edge in written["edges"].items():
        assert edge == {
            "score": float(np.float32(expected["edges"][name]["score"])),
            "in_graph": False,
        }
    flags = {name: node["in_graph"] for name, node in written["nodes"].items()}
    assert [name for name, flag in flags.items() if flag] == ["logits"]


def test_a_circuit_is_written_with_its_own_edges_and_the_nodes_that_they_join(path):
    edges = [GRAPH.edge_index(name) for name in ("a0.h1->logits", "input->a0.h1<v>")]
    circuit = Circuit(graph=GRAPH, edges=np.array(edges), scores=np.array([3.0, -2.5]))
    write_mib_circuit(path, circuit, d_model=4)
    assert path.read_text() == (
        '{"cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": false, "d_model": 4},'
        ' "nodes": {"input": {"in_graph": true}, "a0.h0": {"in_graph": false},'
        ' "a0.h1": {"in_graph": true}, "m0": {"in_graph": false}, "logits": {"in_graph": true}},'
        ' "edges": {"a0.h1->logits": {"score": 3.0, "in_graph": true},'
        ' "input->a0.h1<v>": {"score": -2.5, "in_graph": true}}}\n'
    )


def test_a_file_of_more_edges_than_are_named_at_a_time_is_one_object(path):
    graph = Graph(num_layers=18, num_heads=12, num_key_value_groups=12)
    scores = np.random.default_rng(0).normal(size=graph.num_edges).astype(np.float32)
    assert graph.num_edges > 1 << 16
    write_mib_scores(path, ScoredGraph(graph=graph, scores=scores), d_model=4)
    np.testing.assert_array_equal(read_mib_scores(path).scores, scores.astype(np.float64))


A_NUMBER = r"edges\['m0->logits'\].score: expected `int \| float \| null`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON: Expecting value at column 1; it must be a circuit of MIB"),
        (OF_EAP_IG[:-1], "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected `object`, got `array`"),
        (changed(None, "nodes", None), "the key 'nodes' is missing"),
        (changed(None, "edges", [1]), "edges: expected `object`, got `array`"),
        (changed("cfg", "n_layers", None), "cfg: the key 'n_layers' is missing"),
        (changed("cfg", "n_heads", 2.0), "cfg.n_heads: expected `int`, got `float`"),
        (changed("cfg", "n_heads", 0), "at least one layer, head and KV head"),
        (changed("cfg", "parallel_attn_mlp", True), "parallel_attn_mlp, attention and MLP side"),
        (changed("nodes", "a1.h0", {"in_graph": True}), "no node 'a1.h0' in a graph of 1 layers"),
        (
            changed("nodes", "m0", {"in_graph": True, "score": 1.0}),
            r"nodes\['m0'\]: unknown key 'score'; .* with scores of edges and not of nodes",
        ),
        (changed("edges", "m0->a0.h0<q>", {"score": 1, "in_graph": False}), "1 of 14 edges do not"),
        (
            changed("edges", "m0->logits", {"in_graph": True}),
            r"edges\['m0->logits'\]: the key 'score' is missing",
        ),
        (changed("edges", "m0->logits", 1.0), r"edges\['m0->logits'\]: expected `object`"),
        (changed("edges", "m0->logits", {"score": "1", "in_graph": True}), A_NUMBER),
        (changed("edges", "m0->logits", {"score": True, "in_graph": True}), A_NUMBER),
        (
            changed("edges", "m0->logits", {"score": 1, "in_graph": 1}),
            r"\['m0->logits'\].in_graph: expected `bool`",
        ),
        (
            changed("edges", "m0->logits", {"score": float("nan"), "in_graph": False}),
            "1 of 13 scores are not finite, the first being nan of 'm0->logits'",
        ),
        (
            changed("edges", "m0->logits", {"score": 10**400, "in_graph": True}),
            "a whole number too large for a float",
        ),
        (
            OF_EAP_IG.replace('"a0.h1->m0"', '"a0.h0->m0"'),
            "the key 'a0.h0->m0' stands twice",
        ),
    ],
)
def test_what_is_no_circuit_of_this_format_is_refused(path, text, message):
    path.write_text(text)
    for read in (read_mib_scores, read_mib_circuit):
        with pytest.raises(CircuitError, match=f"importances.json: .*{message}"):
            read(path)


def test_scores_that_do_not_name_every_edge_are_refused(path):
    path.write_text(changed("edges", "input->m0", None))
    with pytest.raises(
        CircuitError, match="1 of the graph's 13 edges are missing, the first being 'input->m0'"
    ):
        read_mib_scores(path)
    assert read_mib_circuit(path).num_edges == 2


def test_scores_from_which_nothing_was_selected_are_no_circuit(path):
    write_mib_scores(path, ScoredGraph(graph=GRAPH, scores=np.ones(13)), d_model=4)
    with pytest.raises(CircuitError, match="none of its 13 edges is in the graph, .*select edges"):
        read_mib_circuit(path)


def test_grouped_keys_and_values_are_refused_with_what_to_do(path):
    grouped = Graph(num_layers=1, num_heads=2, num_key_value_groups=1)
    scored = ScoredGraph(graph=grouped, scores=np.zeros(grouped.num_edges))
    with pytest.raises(CircuitError, match="has 1 for 2 heads; score the model again without"):
        write_mib_scores(path, scored, d_model=4)
    assert not path.exists()


def test_a_width_below_one_is_refused(path):
    scored = ScoredGraph(graph=GRAPH, scores=np.zeros(13))
    with pytest.raises(CircuitError, match="d_model is the width of the residual stream, not 0"):
        write_mib_scores(path, scored, d_model=0)


def older_form(scores, inside):
    """As EAP-IG wrote it before late 2024: nodes as booleans, null where nothing was scored."""
    content = json.loads(OF_EAP_IG)
    nodes = {name: node["in_graph"] for name, node in content["nodes"].items()}
    edges = {
        name: {"score": scores.get(name), "in_graph": name in inside} for name in content["edges"]
    }
    return json.dumps({"cfg": content["cfg"], "nodes": nodes, "edges": edges})


def test_the_older_form_of_eap_ig_is_read(path):
    path.write_text(older_form({"input->m0": 1.5, "a0.h1->logits": -2.0}, ["a0.h1->logits"]))
    circuit = read_mib_circuit(path)
    assert (circuit.names(), circuit.scores.tolist()) == (["a0.h1->logits"], [-2.0])


def test_a_circuit_without_any_score_is_its_membership_alone(path):
    path.write_text(older_form({}, ["input->m0", "a0.h1->logits"]))
    circuit = read_mib_circuit(path)
    assert (circuit.names(), circuit.scores.tolist()) == (
        ["input->m0", "a0.h1->logits"],
        [1.0, 1.0],
    )


def test_a_circuit_of_which_some_edges_have_no_score_is_refused(path):
    path.write_text(older_form({"input->m0": 1.5}, ["input->m0", "a0.h1->logits"]))
    with pytest.raises(CircuitError, match="1 of 2 edges have no score, .* 'a0.h1->logits'"):
        read_mib_circuit(path)


def test_scores_with_a_null_are_refused(path):
    path.write_text(older_form({"input->m0": 1.5}, []))
    with pytest.raises(CircuitError, match="12 of 13 edges have no score"):
        read_mib_scores(path)
