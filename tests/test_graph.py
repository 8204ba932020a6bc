"""The order, names and number of edges, against the field's counts and a graph written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechshift.errors import CircuitError
from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph, third_of_layers


def graph(num_layers: int, num_heads: int, groups: int | None = None) -> Graph:
    return Graph(
        num_layers=num_layers, num_heads=num_heads, num_key_value_groups=groups or num_heads
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    groups = draw(st.integers(1, 3))
    return graph(draw(st.integers(1, 4)), groups * draw(st.integers(1, 3)), groups)


@pytest.mark.parametrize(
    ("architecture", "num_edges"),
    [
        pytest.param(graph(12, 12), 32_491, id="GPT-2"),
        pytest.param(graph(28, 28), 935_747, id="Qwen2.5-7B"),
        pytest.param(graph(28, 28, 4), 408_227, id="Qwen2.5-7B by KV head"),
        pytest.param(graph(32, 32), 1_592_881, id="LLaMA-2-7B"),
    ],
)
def test_the_number_of_edges_is_the_published_one(architecture: Graph, num_edges: int) -> None:
    assert architecture.num_edges == num_edges
    assert architecture.edge_source.shape == architecture.edge_destination.shape == (num_edges,)


def test_the_last_edge_of_the_largest_graph_is_named_at_once() -> None:
    largest = graph(126, 128)
    assert largest.edge_name(-1) == largest.edge_name(largest.num_edges - 1) == "m125->logits"
    assert largest.edge_name(0) == "input->a0.h0<q>"
    assert not {"edge_source", "edge_destination"} & vars(largest).keys()


def test_the_edges_of_one_layer_are_in_the_order_written_by_hand() -> None:
    small = graph(1, 2, 1)
    assert [small.source_name(s) for s in range(small.num_sources)] == [
        "input",
        "a0.h0",
        "a0.h1",
        "m0",
    ]
    assert [small.edge_name(edge) for edge in range(small.num_edges)] == [
        "input->a0.h0<q>",
        "input->a0.h1<q>",
        "input->a0.h0<k>",
        "input->a0.h0<v>",
        "input->m0",
        "a0.h0->m0",
        "a0.h1->m0",
        "input->logits",
        "a0.h0->logits",
        "a0.h1->logits",
        "m0->logits",
    ]
    np.testing.assert_array_equal(small.edge_offset, [0, 1, 2, 3, 4, 7, 11])
    np.testing.assert_array_equal(small.destination_kind, [QUERY, QUERY, KEY, VALUE, MLP, LOGITS])
    np.testing.assert_array_equal(small.destination_layer, [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(small.destination_head, [0, 1, 0, 0, -1, -1])
    np.testing.assert_array_equal(small.source_layer, [-1, 0, 0, 0])
    np.testing.assert_array_equal(small.source_head, [-1, 0, 1, -1])


@given(graphs())
def test_every_edge_has_its_own_name_and_is_found_by_it(some: Graph) -> None:
    names = [some.edge_name(edge) for edge in range(some.num_edges)]
    assert len(set(names)) == some.num_edges
    assert [some.edge_index(name) for name in names] == list(range(some.num_edges))


@given(graphs())
def test_an_edge_is_the_offset_of_its_destination_plus_its_source(some: Graph) -> None:
    edges = some.edge_offset[some.edge_destination] + some.edge_source
    np.testing.assert_array_equal(edges, np.arange(some.num_edges))


@given(graphs())
def test_the_parents_of_a_destination_are_the_sources_that_come_before_it(some: Graph) -> None:
    # Where each writes and reads: a layer's heads come first, its MLP reads what they wrote.
    writes = 2 * some.source_layer + (some.source_head < 0)
    reads = 2 * some.destination_layer + (some.destination_kind == MLP)
    for destination in range(some.num_destinations):
        before = np.flatnonzero(writes < reads[destination])
        parents = some.edge_source[some.edge_destination == destination]
        np.testing.assert_array_equal(parents, before)


@given(graphs())
def test_looking_up_nodes_agrees_with_their_names(some: Graph) -> None:
    for layer in range(some.num_layers):
        assert some.source_name(some.mlp_source(layer)) == f"m{layer}"
        assert some.destination_name(some.destination_index(MLP, layer)) == f"m{layer}"
        for head in range(some.num_heads):
            assert some.source_name(some.head_source(layer, head)) == f"a{layer}.h{head}"
            found = some.destination_index(QUERY, layer, head)
            assert some.destination_name(found) == f"a{layer}.h{head}<q>"
        for kind, letter in ((KEY, "k"), (VALUE, "v")):
            for group in range(some.num_key_value_groups):
                found = some.destination_index(kind, layer, group)
                assert some.destination_name(found) == f"a{layer}.h{group}<{letter}>"
    assert some.destination_name(some.destination_index(LOGITS, some.num_layers)) == "logits"


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_grouping_removes_only_edges_into_keys_and_values(
    num_layers: int, groups: int, heads_per_group: int
) -> None:
    num_heads = groups * heads_per_group
    whole, grouped = graph(num_layers, num_heads), graph(num_layers, num_heads, groups)
    sources_before = 1 + np.arange(num_layers) * (num_heads + 1)
    removed = 2 * (num_heads - groups) * int(sources_before.sum())
    assert whole.num_edges - grouped.num_edges == removed
    assert whole.num_sources == grouped.num_sources


@pytest.mark.parametrize(
    "name",
    [
        "m0->a0.h0<q>",  # backwards
        "m0->m0",
        "a0.h0->a0.h1<k>",  # within one layer
        "input->a2.h0<q>",  # no such layer
        "input->a0.h4<q>",  # no such head
        "input->a1.h2<k>",  # a query head where there are two KV heads
        "logits->m0",
        "input",
        "",
    ],
)
def test_a_name_that_is_no_edge_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(
        CircuitError,
        match=f"no edge '{name}' in a graph of 2 layers and 4 heads; edges are written like",
    ):
        graph(2, 4, 2).edge_index(name)


def test_a_graph_without_a_layer_is_refused() -> None:
    with pytest.raises(CircuitError, match="at least one layer, head and KV head"):
        graph(0, 4)


def test_heads_that_cannot_be_shared_evenly_are_refused() -> None:
    with pytest.raises(CircuitError, match="12 query heads cannot be shared evenly by 5 KV heads"):
        graph(2, 12, 5)


@pytest.mark.parametrize(
    ("num_layers", "sizes"), [(28, (9, 10, 9)), (2, (1, 0, 1)), (1, (0, 1, 0)), (6, (2, 2, 2))]
)
def test_thirds_of_the_layers_are_symmetric(num_layers: int, sizes: tuple[int, ...]) -> None:
    thirds = third_of_layers(num_layers)
    assert tuple(thirds.sum(axis=1)) == sizes
    np.testing.assert_array_equal(thirds.sum(axis=0), 1)
    np.testing.assert_array_equal(thirds, thirds[::-1, ::-1])
