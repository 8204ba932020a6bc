"""Mean scores of one model in many rows: the pool, its resamples, its halves, its shuffles.

A row is one set of mean scores, from which a circuit of any size is chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.top_edges import top_edge_masks


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanRows:
    """Mean scores, and what measures of likeness need to know about them."""

    scores: Float[np.ndarray, "row edge"]
    """Mean score of each edge, with its sign [any unit]."""

    @cached_property
    def magnitudes(self) -> Float[np.ndarray, "row edge"]:
        return np.abs(self.scores)

    @cached_property
    def _ascending(self) -> Int[np.ndarray, "row edge"]:
        return np.argsort(self.magnitudes, axis=1, kind="stable")

    @cached_property
    def _rises(self) -> Bool[np.ndarray, "row edge_minus_one"]:
        """Whether each place in ascending order is followed by a larger magnitude."""
        ordered = np.take_along_axis(self.magnitudes, self._ascending, axis=1)
        return np.diff(ordered, axis=1) > 0

    @cached_property
    def _tied(self) -> Bool[np.ndarray, "row edge"]:
        """Whether each place in ascending order has a neighbour of equal magnitude."""
        equal = np.pad(~self._rises, ((0, 0), (1, 1)))
        return equal[:, :-1] | equal[:, 1:]

    def ranks_within(self, chosen: Bool[np.ndarray, "row edge"]) -> Float[np.ndarray, "row edge"]:
        """Rank of |score| among the chosen edges, 1 the smallest, ties averaged; 0 elsewhere.

        The edges are sorted once, whatever is chosen; a rank is then a count of chosen edges.
        """
        in_order = np.take_along_axis(chosen, self._ascending, axis=1)
        counts = np.cumsum(in_order, axis=1, dtype=np.float32)  # exact up to 16 million edges
        # Few rows have any: edges of score 0 tie, but no circuit holds them.
        with_ties = np.flatnonzero((in_order & self._tied).any(axis=1))
        if len(with_ties):
            counts[with_ties] = _average_over_ties(counts[with_ties], self._rises[with_ties])
        ranks = np.empty(counts.shape)
        np.put_along_axis(ranks, self._ascending, counts * in_order, axis=1)
        return ranks


def _average_over_ties(
    counts: Float[np.ndarray, "row edge"], rises: Bool[np.ndarray, "row edge_minus_one"]
) -> Float[np.ndarray, "row edge"]:
    """Mean of the ranks that the edges of equal magnitude share, from running counts."""
    places = np.broadcast_to(np.arange(counts.shape[1]), counts.shape)
    end = np.ones((len(counts), 1), dtype=bool)
    first = np.where(np.concatenate([end, rises], axis=1), places, 0)
    last = np.where(np.concatenate([rises, end], axis=1), places, counts.shape[1])
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(counts, ((0, 0), (1, 0)))
    below = np.take_along_axis(padded, first, axis=1)
    up_to = np.take_along_axis(padded, last + 1, axis=1)
    averages: Float[np.ndarray, "row edge"] = (below + 1 + up_to) / 2
    return averages


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitRows:
    """Mean scores and, in each row, the edges of the circuit of one size."""

    rows: MeanRows
    members: Bool[np.ndarray, "row edge"]


def circuits_of(rows: MeanRows, sizes: Sequence[int]) -> Iterator[CircuitRows]:
    """The circuits of each size in turn; see `top_edge_masks`."""
    for members in top_edge_masks(rows.magnitudes, sizes):
        yield CircuitRows(rows=rows, members=members)
