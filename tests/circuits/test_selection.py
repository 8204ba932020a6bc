import numpy as np
import pytest

from mechshift.circuits import Circuit, select_top_edges, without_dangling
from mechshift.errors import CircuitError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
GROUPED = Graph(num_layers=2, num_heads=2, num_key_value_groups=1)
DEEP = Graph(num_layers=3, num_heads=4, num_key_value_groups=4)
DEEP_GROUPED = Graph(num_layers=3, num_heads=4, num_key_value_groups=2)


def circuit_of(graph, *names):
    edges = np.sort([graph.edge_index(name) for name in names])
    return Circuit(graph=graph, edges=edges, scores=np.ones(len(edges)))


def test_the_strongest_edges_come_first_and_ties_go_to_the_lower_index():
    scores = np.zeros(GRAPH.num_edges)
    scores[[3, 5, 7, 9]] = [1.0, -2.0, 2.0, -1.0]
    circuit = select_top_edges(GRAPH, scores, 3)
    assert circuit.edges.tolist() == [5, 7, 3]
    assert circuit.scores.tolist() == [-2.0, 2.0, 1.0]


def test_of_equal_scores_the_lower_index_is_selected():
    assert select_top_edges(GRAPH, np.zeros(GRAPH.num_edges), 3).edges.tolist() == [0, 1, 2]
    scores = np.full(GRAPH.num_edges, -1.0)
    scores[[8, 4]] = 2.0, 1.0
    assert select_top_edges(GRAPH, scores, 4).edges.tolist() == [8, 0, 1, 2]
    assert select_top_edges(GRAPH, scores, 4, signed=True).edges.tolist() == [8, 0, 1, 4]


def test_selection_is_that_of_a_plain_sort_in_both_precisions():
    for seed, dtype in enumerate((np.float64, np.float32)):
        scores = np.random.default_rng(seed).normal(size=GRAPH.num_edges).astype(dtype)
        scores = scores.round(1)  # with ties
        before = scores.copy()
        for rank in (abs, lambda score: score):
            expected = sorted(range(len(scores)), key=lambda edge: (-rank(scores[edge]), edge))[:20]
            circuit = select_top_edges(GRAPH, scores, 20, signed=rank is not abs)
            assert set(circuit.edges.tolist()) == set(expected)
            np.testing.assert_array_equal(circuit.scores, scores[circuit.edges])
        np.testing.assert_array_equal(scores, before)


def test_signed_selection_leaves_harmful_edges_to_the_end():
    scores = np.zeros(GRAPH.num_edges)
    scores[[3, 5, 7]] = [1.0, -2.0, 2.0]
    assert select_top_edges(GRAPH, scores, 2, signed=True).edges.tolist() == [7, 3]
    everything = select_top_edges(GRAPH, scores, GRAPH.num_edges, signed=True)
    assert everything.edges[:3].tolist() == [5, 7, 3]
    assert 5 not in select_top_edges(GRAPH, scores, GRAPH.num_edges - 1, signed=True).edges


@pytest.mark.parametrize("signed", [False, True])
def test_circuits_of_growing_size_are_nested_and_end_with_the_whole_graph(signed):
    scores = np.random.default_rng(0).integers(-3, 4, GRAPH.num_edges).astype(float)
    smaller: set[int] = set()
    for k in range(GRAPH.num_edges + 1):
        edges = set(select_top_edges(GRAPH, scores, k, signed=signed).edges.tolist())
        assert len(edges) == k and smaller <= edges
        smaller = edges
    assert smaller == set(range(GRAPH.num_edges))


def test_scores_that_do_not_fit_are_refused():
    scores = np.ones(GRAPH.num_edges)
    with pytest.raises(CircuitError, match="3 scores do not fit a graph of 46 edges"):
        select_top_edges(GRAPH, scores[:3], 1)
    with pytest.raises(CircuitError, match="cannot select 99 of"):
        select_top_edges(GRAPH, scores, 99)
    with pytest.raises(CircuitError, match="cannot select -1 of"):
        select_top_edges(GRAPH, scores, -1)
    with pytest.raises(CircuitError, match="1 edge scores are not finite"):
        select_top_edges(GRAPH, np.append(scores[:-1], np.nan), 1)


def test_edges_that_lead_nowhere_are_dangling():
    circuit = circuit_of(
        GRAPH,
        "input->a0.h0<q>",
        "a0.h0->m1",
        "m1->logits",
        "input->a0.h1<v>",  # nothing reads a0.h1
        "m0->logits",  # nothing feeds m0
        "a1.h0->m1",  # fed by nothing but the dangling edge below
        "m0->a1.h0<k>",
    )
    live = without_dangling(circuit)
    assert live.names() == ["input->a0.h0<q>", "a0.h0->m1", "m1->logits"]
    assert circuit.num_edges == 7


def test_a_circuit_without_a_whole_path_is_entirely_dangling():
    assert without_dangling(circuit_of(GRAPH, "input->m0", "m0->a1.h0<q>")).num_edges == 0
    assert without_dangling(circuit_of(GRAPH, "m0->m1", "m1->logits")).num_edges == 0


def test_a_grouped_key_feeds_every_head_of_its_group_and_is_read_by_any():
    live = without_dangling(
        circuit_of(GROUPED, "input->a0.h0<k>", "a0.h1->logits", "input->a1.h0<v>")
    )
    assert live.names() == ["input->a0.h0<k>", "a0.h1->logits"]


def test_nothing_dangles_in_the_whole_graph():
    circuit = select_top_edges(GRAPH, np.ones(GRAPH.num_edges), GRAPH.num_edges)
    assert without_dangling(circuit).num_edges == GRAPH.num_edges


@pytest.mark.parametrize("graph", [GRAPH, GROUPED, DEEP, DEEP_GROUPED])
def test_live_edges_are_those_on_a_path_from_input_to_logits(graph):
    """Against a search over single edges, for random circuits."""
    generator = np.random.default_rng(1)
    num_live = []
    for share in generator.uniform(0.02, 0.5, size=30):
        k = 1 + int(share * graph.num_edges)
        circuit = select_top_edges(graph, generator.normal(size=graph.num_edges), k)
        live = without_dangling(circuit)
        assert set(live.names()) == edges_on_paths(circuit)
        num_live.append(live.num_edges)
    assert min(num_live) == 0 and max(num_live) > graph.num_edges / 4


def test_live_edges_keep_their_order_and_scores_and_none_dangles_among_them():
    scores = np.random.default_rng(2).normal(size=DEEP_GROUPED.num_edges)
    circuit = select_top_edges(DEEP_GROUPED, scores, 40)
    live = without_dangling(circuit)
    assert 0 < live.num_edges < 40
    kept = np.isin(circuit.edges, live.edges)
    np.testing.assert_array_equal(live.edges, circuit.edges[kept])
    np.testing.assert_array_equal(live.scores, circuit.scores[kept])
    np.testing.assert_array_equal(without_dangling(live).edges, live.edges)


def edges_on_paths(circuit):
    graph = circuit.graph
    group = graph.num_heads // graph.num_key_value_groups

    def nodes(destination):
        """The nodes whose input is a destination, by name."""
        node, _, kind = destination.partition("<")
        if kind in ("", "q>"):
            return [node]
        layer, head = node.split(".h")
        return [f"{layer}.h{int(head) * group + member}" for member in range(group)]

    edges = [tuple(name.split("->")) for name in circuit.names()]
    forward, backward = {"input"}, {"logits"}
    for _ in range(len(edges)):
        forward |= {n for source, to in edges if source in forward for n in nodes(to)}
        backward |= {source for source, to in edges if backward & set(nodes(to))}
    return {
        f"{source}->{to}" for source, to in edges if source in forward and backward & set(nodes(to))
    }
