"""What is drawn is what shuffles give: by hand, and by shuffling."""

import numpy as np

from mechshift.circuits.edge_groups import edge_groups, orders_within
from mechshift.comparison.layout_null import layout_overlaps
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def test_two_edges_of_a_group_of_three_share_one_or_two_as_counted_by_hand() -> None:
    """Of the three ways to leave out one edge, one leaves out the ARM's: then both are shared."""
    groups = np.array([0, 0, 0, 1])
    arm = mdm = np.array([True, True, False, False])
    found = layout_overlaps(groups, arm, mdm, 30_000, np.random.default_rng(0))
    assert set(found.tolist()) == {1 / 3, 1.0}
    assert abs((found == 1.0).mean() - 1 / 3) < 0.01  # four standard errors


def test_whole_groups_are_shared_always_and_edges_of_different_groups_never() -> None:
    groups = np.array([0, 0, 1, 1, 2])
    arm = np.array([True, True, True, False, False])
    mdm = np.array([True, True, False, False, True])
    found = layout_overlaps(groups, arm, mdm, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(found, 2 / 4)


def test_draws_spread_as_shuffles_of_the_edges_do() -> None:
    generator = np.random.default_rng(1)
    groups = edge_groups(GRAPH)
    arm, mdm = (generator.random(GRAPH.num_edges) < share for share in (0.3, 0.4))
    shuffled = np.array(
        [
            (arm & mdm[order]).sum() / (arm | mdm[order]).sum()
            for order in orders_within(groups, generator, 4_000)
        ]
    )
    drawn = layout_overlaps(groups, arm, mdm, 4_000, generator)
    values = np.union1d(shuffled, drawn)
    ascents = [
        np.searchsorted(np.sort(one), values, side="right") / len(one) for one in (shuffled, drawn)
    ]
    # Two samples of one distribution are farther apart in one case of a thousand (Kolmogorov).
    assert np.abs(ascents[0] - ascents[1]).max() < 1.95 * np.sqrt(2 / 4_000)
