"""Groups by hand, and orders that leave every group as large as it was."""

import numpy as np

from mechshift.circuits.edge_groups import WithinGroups, edge_groups, order_within
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def test_edges_of_one_layer_pair_and_type_form_a_group() -> None:
    groups = edge_groups(GRAPH)

    def group(name: str) -> int:
        return int(groups[GRAPH.edge_index(name)])

    assert group("a0.h0->a1.h0<q>") == group("a0.h1->a1.h1<q>")
    others = (
        "a0.h0->a1.h0<k>",
        "m0->a1.h0<q>",
        "a0.h0->a2.h0<q>",
        "a1.h0->a2.h0<q>",
        "a0.h0->m1",
        "a0.h0->logits",
        "input->a1.h0<q>",
    )
    assert len({group(name) for name in ("a0.h0->a1.h0<q>", *others)}) == 1 + len(others)


def test_groups_are_numbered_in_a_row_and_hold_as_many_edges_as_counted_by_hand() -> None:
    """One layer of two heads: q, q, k, k, v, v, the three edges into the MLP, four into logits."""
    small = Graph(num_layers=1, num_heads=2, num_key_value_groups=2)
    groups = edge_groups(small).tolist()
    assert groups == [0, 0, 1, 1, 2, 2, 3, 6, 6, 4, 7, 7, 5]


def test_an_order_within_groups_is_a_permutation_that_moves_edges_only_inside_them() -> None:
    groups = edge_groups(GRAPH)
    order = order_within(groups, np.random.default_rng(10))
    assert not np.array_equal(order, np.arange(len(order)))
    assert sorted(order) == list(range(len(order)))
    np.testing.assert_array_equal(groups[order], groups)


def test_edges_of_a_group_stand_in_the_order_of_their_draws() -> None:
    """Groups of one edge, of a few, and of so many that draws and places fill no whole number."""
    groups = np.repeat([2, 0, 1, 3], [5, 1, 3000, 7])
    groups[[0, -1]] = groups[[-1, 0]]
    draws = np.random.default_rng(1).random(len(groups))
    order = WithinGroups.of(groups).order(draws)
    for group in range(4):
        (edges,) = np.nonzero(groups == group)
        np.testing.assert_array_equal(order[edges], edges[np.argsort(draws[edges])])
