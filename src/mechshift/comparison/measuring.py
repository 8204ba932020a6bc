"""Measuring of rows of mean scores, in pieces of bounded memory and on all cores.

A `RowMeasure` says what is measured of each row, size by size. How rows are made depends on the
sizes, and what is found does not:

1. Sums over all edges, alone: a range of edges at a time, and the sums added up.
2. Circuits that are small beside the graph: on the few edges that can be in any (`screening.py`).
3. Otherwise, where all edges are ranked or circuits are large: on whole rows.

Small graphs are not taken apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.chosen_edges import Circuits, RankedRows, circuits_of
from mechshift.comparison.resampling import Drawn, pieces
from mechshift.comparison.screening import LARGEST_CIRCUIT, NARROW, candidates
from mechshift.comparison.sources import Source
from mechshift.comparison.workers import in_order

BLOCK_BYTES = 2**22
"""Memory for the rows of one set that a thread measures at once, in float64."""

MEASURING_BYTES = 2**30
"""Memory that all threads together work in; where rows are long, there are fewer threads."""

ARRAYS_OF_BLOCK = 40
"""Memory that a thread works in, over that of the rows of one set in float64."""

TAKEN_APART = 2**14
"""Edges from which on a graph is taken apart."""

RANGE = 2**16
"""Edges over which sums are added up at once."""

Found = dict[str, np.ndarray]
"""Arrays of what was measured of some rows, by name; the first axis is the row."""

BySize = dict[int, Found]
"""Circuit size -> what was measured."""

Rows = Float[np.ndarray, "row edge"] | RankedRows


@runtime_checkable
class RowMeasure(Protocol):
    """Measurement of the circuits of one size in the same rows of several sets."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """At which sizes anything is measured."""

    @property
    def only_sums(self) -> bool:
        """Whether all that is measured is sums over edges."""

    def __call__(self, size: int, circuits: list[Circuits]) -> Found:
        """Measure them."""


class Table(NamedTuple):
    """Some sizes, and columns that are enough to measure them."""

    sizes: tuple[int, ...]
    columns: slice | Int[np.ndarray, " edge"]


def measured(
    sources: Sequence[Source], drawn: Drawn, measure: RowMeasure, *, beyond: int = 0
) -> BySize:
    """What is measured of all rows that are drawn.

    Args:
        sources: what the rows draw on.
        drawn: the rows of every set.
        measure: what to measure.
        beyond: see `resampling.pieces`.
    """
    found: BySize = {}
    for table in tables(sources, drawn, measure):
        blocks = blocks_of(sources, drawn, table.columns, beyond=beyond)
        joined = joined_rows(measured_blocks(measure, table, blocks, sources[0].num_edges))
        for size, of_size in joined.items():
            before = found.get(size)  # of other ranges of edges: sums, which add up
            found[size] = {
                name: values if before is None else before[name] + values
                for name, values in of_size.items()
            }
    return found


def tables(sources: Sequence[Source], drawn: Drawn, measure: RowMeasure) -> Iterator[Table]:
    """How the sizes are measured; each is in one table, or in one of every range of edges."""
    sizes, num_edges = set(measure.sizes), sources[0].num_edges
    if num_edges >= TAKEN_APART:
        if measure.only_sums and num_edges in sizes:
            sizes.remove(num_edges)
            for columns in sources[0].ranges(RANGE):
                yield Table((num_edges,), columns)
        if sizes and max(sizes) <= LARGEST_CIRCUIT * num_edges:
            few = candidates(sources, drawn, max(sizes))
            if len(few) <= NARROW * num_edges:
                yield Table(tuple(sizes), few)
                return
    if sizes:
        yield Table(tuple(sizes), slice(None))


def blocks_of(
    sources: Sequence[Source],
    drawn: Drawn,
    columns: slice | Int[np.ndarray, " edge"],
    *,
    beyond: int = 0,
) -> Iterator[tuple[Rows, ...]]:
    """A few rows of every set at a time, as much as one thread measures at once."""
    scores = [source.take(columns) for source in sources]
    # Rows that blocks share are made once and measured twice, so blocks of them are not too small.
    num_rows = max(1 + 3 * beyond, BLOCK_BYTES // (8 * max(1, scores[0].shape[1])))
    for piece in pieces(drawn, scores, beyond=beyond):
        for start in range(0, len(piece[0]) - beyond, num_rows):
            yield tuple(rows[start : start + num_rows + beyond] for rows in piece)


def measured_blocks(
    measure: RowMeasure, table: Table, blocks: Iterable[tuple[Rows, ...]], num_edges: int
) -> Iterator[BySize]:
    """What is measured of each block of rows of a graph of so many edges, in order."""
    yield from in_order(partial(_of_block, measure, table), blocks, most=most_threads(num_edges))


def most_threads(num_edges: int) -> int:
    """How many threads may measure rows of so many edges at once."""
    return max(1, MEASURING_BYTES // (ARRAYS_OF_BLOCK * max(BLOCK_BYTES, 8 * num_edges)))


def joined_rows(parts: Iterable[BySize]) -> BySize:
    """Blocks of rows, one after the other."""
    first, *others = parts
    return {
        size: {
            name: np.concatenate([values, *(part[size][name] for part in others)])
            for name, values in of_size.items()
        }
        for size, of_size in first.items()
    }


def _of_block(measure: RowMeasure, table: Table, block: tuple[Rows, ...]) -> BySize:
    columns = table.columns
    edges = None
    if not isinstance(columns, slice):
        edges = columns
    elif columns != slice(None):
        edges = np.arange(columns.start, columns.stop)
    return {
        size: measure(size, circuits) for size, circuits in circuits_of(block, table.sizes, edges)
    }
