import numpy as np
import pytest

from mechshift.circuits import destination_nodes, node_scores, select_top_edges
from mechshift.circuits.nodes import joined_nodes
from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph

GROUPED = Graph(num_layers=2, num_heads=4, num_key_value_groups=2)
UNGROUPED = Graph(num_layers=2, num_heads=4, num_key_value_groups=4)


def node_names(graph, destination):
    name = graph.destination_name(graph.destination_index(*destination))
    nodes = destination_nodes(graph)[graph.destination_index(*destination)]
    sources = [graph.source_name(n) if n < graph.num_sources else "logits" for n in nodes]
    return name, sources


def test_a_destination_is_an_input_of_its_own_node():
    for destination in range(UNGROUPED.num_destinations):
        (node,) = destination_nodes(UNGROUPED)[destination]
        name = UNGROUPED.destination_name(destination).partition("<")[0]
        assert (
            name == "logits" and node == UNGROUPED.num_sources
        ) or name == UNGROUPED.source_name(node)


def test_a_grouped_key_belongs_to_every_query_head_of_its_group():
    assert node_names(GROUPED, (KEY, 1, 1)) == ("a1.h1<k>", ["a1.h2", "a1.h3"])
    assert node_names(GROUPED, (VALUE, 0, 0)) == ("a0.h0<v>", ["a0.h0", "a0.h1"])
    assert node_names(GROUPED, (QUERY, 1, 3)) == ("a1.h3<q>", ["a1.h3", "a1.h3"])
    assert node_names(GROUPED, (MLP, 1)) == ("m1", ["m1", "m1"])
    assert node_names(GROUPED, (LOGITS, 0)) == ("logits", ["logits", "logits"])


def test_node_scores_by_hand():
    scores = np.zeros(GROUPED.num_edges)
    for name, score in {
        "input->a0.h1<q>": 3.0,
        "input->a0.h0<k>": -4.0,  # shared by a0.h0 and a0.h1
        "a0.h1->m1": 5.0,
        "m1->logits": -7.0,
    }.items():
        scores[GROUPED.edge_index(name)] = score
    circuit = select_top_edges(GROUPED, scores, 4)
    by_name = {
        GROUPED.source_name(source): score
        for source, score in enumerate(node_scores(circuit))
        if score
    }
    assert by_name == {"input": 7.0, "a0.h0": 2.0, "a0.h1": 10.0, "m1": 12.0}


@pytest.mark.parametrize("graph", [GROUPED, UNGROUPED])
def test_every_edge_counts_once_where_it_is_written_and_once_where_it_is_read(graph):
    scores = np.random.default_rng(0).normal(size=graph.num_edges)
    circuit = select_top_edges(graph, scores, 50)
    to_logits = [name.endswith("->logits") for name in circuit.names()]
    strength = np.abs(circuit.scores)
    expected = 2 * strength.sum() - strength[to_logits].sum()
    np.testing.assert_allclose(node_scores(circuit).sum(), expected, rtol=1e-12)


def test_no_node_takes_part_in_an_empty_circuit():
    scores = node_scores(select_top_edges(GROUPED, np.ones(GROUPED.num_edges), 0))
    assert scores.dtype == np.float64
    assert scores.tolist() == [0.0] * GROUPED.num_sources


def test_the_nodes_that_edges_join_are_both_ends_and_every_head_of_a_group():
    edges = [GROUPED.edge_index(name) for name in ("input->a1.h1<k>", "m0->logits")]
    joined = np.flatnonzero(joined_nodes(GROUPED, np.array(edges)))
    names = [GROUPED.source_name(n) if n < GROUPED.num_sources else "logits" for n in joined]
    assert names == ["input", "m0", "a1.h2", "a1.h3", "logits"]
