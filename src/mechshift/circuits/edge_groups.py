"""Groups of edges that are interchangeable by their place in the architecture.

Edges of one group join the same pair of layers and the same kinds of node. Exchanging edges within
groups keeps how much of a circuit lies where, and nothing else: the null of overlap and the random
circuits that a circuit is held against are made this way.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from mechshift.graph import KIND_NAMES, Graph


@lru_cache(maxsize=2)  # every draw of a random circuit asks for those of its graph
def edge_groups(graph: Graph) -> Int[np.ndarray, " edge"]:
    """A number for each edge, equal for edges of one layer pair and one edge type; not writeable.

    The type is what the edge joins: `input`, a head or an MLP with q, k, v, an MLP or `logits`.
    """
    keys = (
        graph.source_layer[graph.edge_source] + 1,  # `input` has layer -1
        (graph.source_head[graph.edge_source] >= 0).astype(np.int64),
        graph.destination_layer[graph.edge_destination],
        graph.destination_kind[graph.edge_destination],
    )
    num_layers = graph.num_layers + 1
    numbers = np.ravel_multi_index(keys, (num_layers, 2, num_layers, len(KIND_NAMES)))
    groups = np.unique(numbers, return_inverse=True)[1]
    groups.flags.writeable = False
    return groups


def orders_within(
    groups: Int[np.ndarray, " edge"], generator: np.random.Generator, num_orders: int
) -> Iterator[Int[np.ndarray, " edge"]]:
    """Random orders that exchange edges of the same group only."""
    by_group = np.argsort(groups, kind="stable")
    for _ in range(num_orders):
        yield order_by_draws(groups, by_group, generator.random(len(groups)))


def order_by_draws(
    groups: Int[np.ndarray, " edge"],
    by_group: Int[np.ndarray, " edge"],
    draws: Float[np.ndarray, " edge"],
) -> Int[np.ndarray, " edge"]:
    """An order that exchanges edges of the same group only.

    Args:
        groups: `edge_groups`.
        by_group: edges group by group, in their order.
        draws: a random number in [0, 1) for each edge.
    """
    order = np.empty_like(groups)
    # Numbers of groups are whole, so less than a half sorts inside them, however it is rounded.
    order[by_group] = np.argsort(groups + draws / 2)
    return order


def order_within(
    groups: Int[np.ndarray, " edge"], generator: np.random.Generator
) -> Int[np.ndarray, " edge"]:
    """One of `orders_within`."""
    return next(orders_within(groups, generator, 1))
