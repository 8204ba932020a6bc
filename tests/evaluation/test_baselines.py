"""Random circuits: their counts, their chances and what no draw can change; and by activation."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechshift.circuits import Circuit, select_top_edges
from mechshift.errors import EvaluationError
from mechshift.evaluation import activation_sized_circuit, random_matched_circuit
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=3, num_key_value_groups=3)
GROUPED = Graph(num_layers=2, num_heads=4, num_key_value_groups=2)


def circuit_of(graph, *names):
    edges = np.sort([graph.edge_index(name) for name in names])
    return Circuit(graph=graph, edges=edges, scores=np.ones(len(edges)))


def place(name):
    """Layers and types that an edge joins, from its name alone: heads lose their number."""
    source, _, destination = name.partition("->")
    return (
        source.partition(".h")[0],
        destination.partition(".h")[0],
        destination[-2:] * ("<" in destination),
    )


@given(st.sampled_from([GRAPH, GROUPED]), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_every_layer_pair_and_type_keeps_its_number_of_edges(graph, num_edges, seed):
    scores = np.random.default_rng(seed).normal(size=graph.num_edges)
    circuit = select_top_edges(graph, scores, num_edges)
    drawn = random_matched_circuit(circuit, seed).circuit
    assert Counter(map(place, drawn.names())) == Counter(map(place, circuit.names()))


def test_edges_of_a_group_are_drawn_equally_often():
    """Three of a group of nine; expected 200 of 600, and each 11.5 (one deviation) off that."""
    circuit = circuit_of(
        GRAPH, "a0.h0->a2.h0<q>", "a0.h0->a2.h1<q>", "a0.h0->a2.h2<q>", "m0->a1.h0<k>"
    )
    counts = Counter()
    for seed in range(600):
        counts.update(random_matched_circuit(circuit, seed).circuit.names())
    nine = [counts[f"a0.h{source}->a2.h{head}<q>"] for source in range(3) for head in range(3)]
    assert sum(nine) == 1800
    assert max(abs(count - 200) for count in nine) < 4 * 11.5
    three = [counts[f"m0->a1.h{head}<k>"] for head in range(3)]
    assert sum(three) == 600
    assert max(abs(count - 200) for count in three) < 4 * 11.5


def test_pairs_within_a_group_are_drawn_equally_often():
    """Two of three edges: three pairs, each expected 200 of 600 times."""
    circuit = circuit_of(GRAPH, "m0->a1.h0<k>", "m0->a1.h1<k>")
    pairs = Counter(
        frozenset(random_matched_circuit(circuit, seed).circuit.names()) for seed in range(600)
    )
    assert len(pairs) == 3
    assert max(abs(count - 200) for count in pairs.values()) < 4 * 11.5


def test_the_same_seed_draws_the_same_circuit_and_another_seed_another():
    scores = np.random.default_rng(1).normal(size=GRAPH.num_edges)
    circuit = select_top_edges(GRAPH, scores, 30)
    first, again, other = (random_matched_circuit(circuit, seed).circuit for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.edges, again.edges)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert set(first.edges.tolist()) != set(other.edges.tolist())


def test_a_drawn_edge_bears_the_score_of_the_edge_whose_place_it_took():
    scores = np.random.default_rng(2).normal(size=GRAPH.num_edges)
    circuit = select_top_edges(GRAPH, scores, 30)
    drawn = random_matched_circuit(circuit, 0).circuit

    def by_place(some):
        return sorted(zip(map(place, some.names()), some.scores.tolist(), strict=True))

    assert by_place(drawn) == by_place(circuit)


def test_edges_that_every_draw_must_have_are_named():
    """`m0->logits` is alone in its group, and all three keys of layer 1 read m0."""
    keys = [f"m0->a1.h{head}<k>" for head in range(3)]
    circuit = circuit_of(GRAPH, "m0->logits", *keys, "a0.h0->logits")
    matched = random_matched_circuit(circuit, 0)
    forced = [GRAPH.edge_name(edge) for edge in matched.forced_edges]
    assert sorted(forced) == sorted(["m0->logits", *keys])
    assert set(forced) <= set(matched.circuit.names())
    assert matched.note == (
        "4 of 5 edges are in every matched draw: the circuit holds all edges of 2 groups of one"
        " layer pair and edge type."
    )


def test_a_draw_that_was_all_chance_has_nothing_to_note():
    matched = random_matched_circuit(circuit_of(GRAPH, "a0.h0->logits"), 0)
    assert len(matched.forced_edges) == 0 and matched.note is None


def test_the_whole_graph_and_the_empty_circuit_match_only_themselves():
    whole = select_top_edges(GRAPH, np.ones(GRAPH.num_edges), GRAPH.num_edges)
    matched = random_matched_circuit(whole, 0)
    assert matched.circuit.num_edges == len(matched.forced_edges) == GRAPH.num_edges
    empty = random_matched_circuit(select_top_edges(GRAPH, np.ones(GRAPH.num_edges), 0), 0)
    assert empty.circuit.num_edges == 0 and empty.note is None


def test_edges_by_activation_are_those_of_the_sources_that_differ_most():
    """m1 has one reader with the logits' edge and 10 in layer 2; then a1.h2's earliest two."""
    norms = np.zeros(GRAPH.num_sources)
    norms[[GRAPH.mlp_source(1), GRAPH.head_source(1, 2)]] = 2.0, 1.0
    size = select_top_edges(GRAPH, np.ones(GRAPH.num_edges), 13)
    chosen = activation_sized_circuit(size, norms)
    of_m1 = [name for name in chosen.names() if name.startswith("m1->")]
    assert len(of_m1) == 3 * 3 + 1 + 1
    assert chosen.names()[:11] == of_m1
    assert chosen.names()[11:] == ["a1.h2->m1", "a1.h2->a2.h0<q>"]
    assert chosen.scores.tolist() == [2.0] * 11 + [1.0] * 2


def test_norms_that_do_not_fit_are_refused():
    circuit = circuit_of(GRAPH, "m0->logits")
    with pytest.raises(EvaluationError, match="3 norms do not fit a graph of 13 sources"):
        activation_sized_circuit(circuit, np.ones(3))
    norms = np.ones(GRAPH.num_sources)
    norms[2] = -1.0
    with pytest.raises(EvaluationError, match="number from 0 up, and that of 'a0.h1' is -1.0"):
        activation_sized_circuit(circuit, norms)
    norms[2] = np.nan
    with pytest.raises(EvaluationError, match="that of 'a0.h1' is nan"):
        activation_sized_circuit(circuit, norms)
