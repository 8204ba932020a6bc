"""Edges of the circuits that are compared, for one row of scores and for many at once.

The circuit is that of `circuits.select_top_edges`, which keeps exactly K edges. Of these, edges
whose score is exactly zero are not compared: only their index put them there, and both models
would share them by force.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from mechshift.circuits import select_top_edges
from mechshift.errors import ComparisonError
from mechshift.graph import Graph


def top_edges(graph: Graph, scores: Float[np.ndarray, " edge"], k: int) -> Int[np.ndarray, " k"]:
    """The `k` edges of largest |score|, strongest first; fewer if fewer are not zero.

    Raises:
        CircuitError: see `select_top_edges`.
    """
    circuit = select_top_edges(graph, scores, k)
    return circuit.edges[circuit.scores != 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuits:
    """The circuits of one size in rows of mean scores, over some edges that hold all of them.

    Likeness and sums do not depend on edges that no circuit holds, so in a large graph and a small
    circuit their columns are left out: they are nearly all.
    """

    edges: Int[np.ndarray, " edge"]
    """Which edges of the graph the columns are, ascending."""

    scores: Float[np.ndarray, "row edge"]
    """Mean score, with its sign [any unit]."""

    magnitudes: Float[np.ndarray, "row edge"]
    """|score|."""

    members: Bool[np.ndarray, "row edge"]
    """Which edges each row's circuit holds: its `top_edges`."""

    whole: "RankedRows | None" = None
    """The rows that the circuits are of, where no column is left out."""

    sums: dict[Graph, Float[np.ndarray, "row end"]] = field(default_factory=dict)
    """What `measures.end_sums` once found of the circuits, since several measures ask for it."""

    @property
    def inside(self) -> Float[np.ndarray, "row edge"]:
        """|score| inside the circuit and 0 outside it."""
        if self.members.all():
            return self.magnitudes
        return np.where(self.members, self.magnitudes, self.magnitudes.dtype.type(0))

    def ranks_within(self, chosen: Bool[np.ndarray, "row edge"]) -> Float[np.ndarray, "row edge"]:
        """Rank of |score| among the chosen edges, 1 the smallest, ties averaged; 0 elsewhere."""
        if chosen.all():
            return self._ranks
        outside = ~chosen
        num_outside = outside.sum(axis=1, keepdims=True)
        if np.max(self.magnitudes, where=outside, initial=0) > 0:
            # Below all others they take the lowest ranks, which are then counted off.
            ranks = average_ranks(np.where(chosen, self.magnitudes, -1))
            return np.where(chosen, ranks - num_outside, 0)
        # Whatever is left out is zero, and lies among the zeros at the end of the row.
        zero = self.magnitudes == 0
        of_zeros = (zero.sum(axis=1, keepdims=True) - num_outside + 1) / 2
        return np.where(chosen, np.where(zero, of_zeros, self._ranks - num_outside), 0)

    @cached_property
    def _ranks(self) -> Float[np.ndarray, "row edge"]:
        """Among all edges."""
        return average_ranks(self.magnitudes) if self.whole is None else self.whole.ranks

    @cached_property
    def shares(self) -> Float[np.ndarray, "row edge"]:
        """|score| of all edges over its sum; NaN where that is 0."""
        return shares_of(self.magnitudes)

    @cached_property
    def centred_ranks(self) -> Float[np.ndarray, "row edge"]:
        """Rank of |score| among all edges less its mean, which is (n + 1) / 2 with ties or not."""
        return self._ranks - (self.magnitudes.shape[1] + 1) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedRows:
    """Rows of mean scores in which edges are ranked for circuits of some sizes."""

    scores: Float[np.ndarray, "row edge"]
    magnitudes: Float[np.ndarray, "row edge"]
    sizes: tuple[int, ...]
    """Of circuits smaller than the row, ascending."""

    @cached_property
    def order(self) -> Int[np.ndarray, "row edge"]:
        """Columns of each row, strongest first."""
        return strongest_first(self.magnitudes)

    @cached_property
    def levels(self) -> UInt8[np.ndarray, "row edge"]:
        """How many of the sizes are too small for a circuit to hold an edge."""
        levels = np.zeros(self.magnitudes.shape, dtype=np.uint8)
        for members in strongest(self.magnitudes, self.sizes):
            levels += ~members
        return levels

    @cached_property
    def ranks(self) -> Float[np.ndarray, "row edge"]:
        """Rank of |score| among all edges, 1 the smallest, ties averaged."""
        return average_ranks(self.magnitudes)

    def shuffled(self, columns: Int[np.ndarray, "shuffle edge"]) -> "RankedRows":
        """The only row, its edges exchanged: as if it were ranked anew."""
        (scores,) = self.scores
        found = rank_rows(scores[columns], self.sizes)
        if self.sizes and self._exchangeable:
            # What is cached of this row is exchanged as its scores are.
            vars(found).update(levels=self.levels[0].take(columns))
        vars(found).update(ranks=self.ranks[0].take(columns))
        return found

    def repeated(self, num_rows: int) -> "RankedRows":
        """The only row, so many times."""
        shape = (num_rows, self.scores.shape[1])
        scores, magnitudes = (np.broadcast_to(a, shape) for a in (self.scores, self.magnitudes))
        found = RankedRows(scores=scores, magnitudes=magnitudes, sizes=self.sizes)
        vars(found).update(ranks=np.broadcast_to(self.ranks, shape))
        if self.sizes:
            vars(found).update(levels=np.broadcast_to(self.levels, shape))
        return found

    @cached_property
    def _exchangeable(self) -> bool:
        """Whether no size cuts through a tie, where the lower index decides."""
        ordered = self.magnitudes[0].take(self.order[0])
        return all(ordered[s - 1] != ordered[s] or ordered[s] == 0 for s in self.sizes)


def shares_of(magnitudes: Float[np.ndarray, "row edge"]) -> Float[np.ndarray, "row edge"]:
    """Each row over its sum; NaN where that is 0."""
    # In float64: sums in float32 would depend on which columns stand beside each other.
    whole = magnitudes.sum(axis=1, keepdims=True, dtype=np.float64)
    return magnitudes / np.where(whole > 0, whole, np.nan)


def rank_rows(scores: Float[np.ndarray, "row edge"], sizes: Sequence[int]) -> RankedRows:
    """Rows of mean scores, ranked for circuits of these sizes.

    Raises:
        ComparisonError: a score is not finite.
    """
    magnitudes = np.abs(scores)
    if not np.isfinite(magnitudes.max(initial=0)):
        raise ComparisonError("edge scores hold NaN or infinity and cannot be ranked.")
    smaller = tuple(sorted(size for size in sizes if size < scores.shape[1]))
    return RankedRows(scores=scores, magnitudes=magnitudes, sizes=smaller)


def circuits_of(
    sets: Sequence[Float[np.ndarray, "row edge"] | RankedRows],
    sizes: Sequence[int],
    edges: Int[np.ndarray, " edge"] | None = None,
) -> Iterator[tuple[int, list[Circuits]]]:
    """The circuits of several sets of mean scores, size by size, the largest first.

    Circuits are nested: edges that no circuit of one size holds need not be looked at for smaller
    ones. One sort per row serves all sizes. Ties at the last place go to the lower index.

    Args:
        sets: mean scores of each set of rows, or `rank_rows` of them for these sizes.
        sizes: circuit sizes [edges], each once.
        edges: which edges of the graph the columns are, ascending, where no circuit of a smaller
            size than all edges holds any other; all by default.

    Raises:
        ComparisonError: a size does not lie between 1 and the number of edges, or a score is NaN.
    """
    rows = [one if isinstance(one, RankedRows) else rank_rows(one, sizes) for one in sets]
    num_columns = rows[0].scores.shape[-1]
    if not sizes or min(sizes) < 1 or (edges is None and max(sizes) > num_columns):
        raise ComparisonError(
            f"circuit sizes {list(sizes)} do not all lie between 1 and {num_columns} edges."
        )
    smaller = rows[0].sizes
    whole: list[RankedRows | None] = [*rows]
    edges = np.arange(num_columns) if edges is None else edges
    scores, magnitudes = [one.scores for one in rows], [one.magnitudes for one in rows]
    levels = [one.levels for one in rows] if smaller else []
    lowest = np.min([one.min(axis=0) for one in levels], axis=0) if smaller else np.empty(0)
    for size in sorted(sizes, reverse=True):
        if size not in smaller:
            members = [one > 0 for one in magnitudes]
        else:
            level = smaller.index(size)
            held = lowest <= level
            if 2 * np.count_nonzero(held) <= len(held):  # else copies cost more than they save
                columns = np.flatnonzero(held)
                edges, lowest, whole = edges[columns], lowest[columns], [None] * len(sets)
                scores, magnitudes, levels = (
                    [one.take(columns, axis=1) for one in arrays]
                    for arrays in (scores, magnitudes, levels)
                )
            members = [one <= level for one in levels]
        parts = zip(scores, magnitudes, members, whole, strict=True)
        yield (
            size,
            [
                Circuits(edges=edges, scores=one, magnitudes=magnitude, members=mask, whole=of)
                for one, magnitude, mask, of in parts
            ],
        )


def strongest(
    magnitudes: Float[np.ndarray, "row edge"], sizes: Sequence[int]
) -> Iterator[Bool[np.ndarray, "row edge"]]:
    """Which edges the circuits of some sizes hold, the largest first.

    As the first of `strongest_first`, less zeros, in a tenth of the time of a sort.

    Args:
        magnitudes: |score|.
        sizes: of the circuits, not larger than a row.
    """
    rest = magnitudes  # in each row the largest, in any order
    for size in sorted(sizes, reverse=True):
        place = rest.shape[1] - size
        rest = np.partition(rest, place, axis=1)[:, place:]
        members = _at_least(magnitudes, rest[:, 0], size)
        for row in np.flatnonzero(rest[:, 0] == 0):
            members[row] &= magnitudes[row] > 0
        yield members


def largest(values: Float[np.ndarray, "row value"], size: int) -> Bool[np.ndarray, "row value"]:
    """Which are the so many largest values of a row; of equal ones the first."""
    if size == 0:
        return np.zeros(values.shape, dtype=bool)
    place = values.shape[1] - size
    return _at_least(values, np.partition(values, place, axis=1)[:, place], size)


def _at_least(
    values: Float[np.ndarray, "row value"], last: Float[np.ndarray, " row"], size: int
) -> Bool[np.ndarray, "row value"]:
    """The values from the last of so many on; of those that equal it the first."""
    found: Bool[np.ndarray, "row value"] = values >= last[:, None]
    counts = np.count_nonzero(found, axis=1)
    for row in np.flatnonzero(counts > size):
        (tied,) = np.nonzero(values[row] == last[row])
        found[row, tied[size - counts[row] :]] = False
    return found


class Sorted(NamedTuple):
    """Columns of each row in the order of its values, the largest first; equal ones by index."""

    order: Int[np.ndarray, "row value"]
    again: Bool[np.ndarray, "row value"]
    """Whether the value at a place equals the one before."""


def strongest_first(magnitudes: Float[np.ndarray, "row edge"]) -> Int[np.ndarray, "row edge"]:
    """Columns of each row by |score|, the largest first; equal ones by index."""
    return _sorted(magnitudes).order


def _sorted(values: Float[np.ndarray, "row value"]) -> Sorted:
    """The order of values; those below 0 stand behind all others, as equal ones."""
    again = np.zeros(values.shape, dtype=bool)
    if values.dtype != np.float32 or values.shape[1] >= 2**32:
        order = np.argsort(-values, axis=-1, kind="stable")
        ordered = np.take_along_axis(values, order, axis=-1)
        np.equal(ordered[:, 1:], ordered[:, :-1], out=again[:, 1:])
        return Sorted(order=order, again=again)
    # Bits of non-negative floats are in the order of the floats: with the index behind them they
    # are sorted as whole numbers, which NumPy does in a quarter of an argsort's time.
    bits = ~(values.view(np.uint32) + np.uint32(1))
    bits[values < 0] = 2**32 - 1
    keys = bits.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(values.shape[1], dtype=np.uint64)
    keys.sort(axis=-1)
    np.less(keys[:, 1:] ^ keys[:, :-1], np.uint64(2**32), out=again[:, 1:])
    keys &= np.uint64(2**32 - 1)
    return Sorted(order=keys.view(np.int64), again=again)


def average_ranks(values: Float[np.ndarray, "row value"]) -> Float[np.ndarray, "row value"]:
    """Rank of each value of a row, 1 the smallest; equal values share the mean of their ranks.

    Args:
        values: not below 0, unless equal values may be put in any order.
    """
    order, again = _sorted(values)
    by_place = np.empty(values.shape)
    by_place[:] = np.arange(values.shape[1], 0, -1, dtype=np.float64)
    later = np.flatnonzero(again)
    if len(later):  # few, as a rule: whole rows are not gone through for them
        starts = np.flatnonzero(np.diff(later, prepend=-2) > 1)
        lengths = np.diff(np.append(starts, len(later))) + 1
        first = later[starts] - 1
        flat = by_place.reshape(-1)
        tied = np.repeat(first - np.append(0, np.cumsum(lengths)[:-1]), lengths)
        tied += np.arange(len(tied))
        flat[tied] = np.repeat(flat[first] - (lengths - 1) / 2, lengths)
    return _back_in_place(by_place, order)


def _back_in_place(
    by_place: Shaped[np.ndarray, "row value"], order: Int[np.ndarray, "row value"]
) -> Shaped[np.ndarray, "row value"]:
    """What stands in this order, as the columns are numbered."""
    found = np.empty(order.shape, dtype=by_place.dtype)
    # Row by row: one index for all rows takes NumPy five times as long.
    for row, places, values in zip(found, order, by_place, strict=True):
        row[places] = values
    return found
