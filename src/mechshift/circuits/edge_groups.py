"""Groups of edges that are interchangeable by their place in the architecture.

Edges of one group join the same pair of layers and the same kinds of node. Exchanging edges within
groups keeps how much of a circuit lies where, and nothing else: the null of overlap and the random
circuits that a circuit is held against are made this way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
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
    within = WithinGroups.of(groups)
    for _ in range(num_orders):
        yield within.order(generator.random(len(groups)))


@dataclass(frozen=True, kw_only=True, eq=False)
class WithinGroups:
    """Edges group by group, of which orders are made that exchange edges of the same group only."""

    num_edges: int
    by_size: tuple[Int[np.ndarray, "_group _edge"], ...]
    """The edges of each group, ascending; groups of one size together, those of one edge left
    out, since it stays where it is."""

    @classmethod
    def of(cls, groups: Int[np.ndarray, " edge"]) -> "WithinGroups":
        """From a number for each edge, such as those of `edge_groups`."""
        counts = np.unique(groups, return_counts=True)[1]
        by_group = np.split(np.argsort(groups, kind="stable"), np.cumsum(counts)[:-1])
        sizes = [int(size) for size in np.unique(counts) if size > 1]
        by_size = [np.stack([one for one in by_group if len(one) == size]) for size in sizes]
        return cls(num_edges=len(groups), by_size=tuple(by_size))

    def order(self, draws: Float[np.ndarray, " edge"]) -> Int[np.ndarray, " edge"]:
        """An order of all edges: those of a group in the order of their draws.

        Args:
            draws: a random number in [0, 1) for each edge, from `Generator.random`.
        """
        order = np.arange(self.num_edges)
        for edges in self.by_size:
            order[edges] = np.take_along_axis(edges, _sorted_places(draws[edges]), axis=1)
        return order


def _sorted_places(draws: Float[np.ndarray, "group edge"]) -> Int[np.ndarray, "group edge"]:
    """Places of each row's draws, the smallest first."""
    bits = int(draws.shape[1] - 1).bit_length()
    if bits > 11:
        return np.argsort(draws, axis=1)
    # A draw is a whole number of 2^-53. With its place behind it, it is sorted as one whole number,
    # which NumPy does in half of an argsort's time.
    keys = (draws * 2.0**53).astype(np.uint64)
    keys <<= np.uint64(bits)
    keys |= np.arange(draws.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    keys &= np.uint64(2**bits - 1)
    return keys.view(np.int64)


def order_within(
    groups: Int[np.ndarray, " edge"], generator: np.random.Generator
) -> Int[np.ndarray, " edge"]:
    """One of `orders_within`."""
    return next(orders_within(groups, generator, 1))
