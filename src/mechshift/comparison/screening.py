"""Candidates: the edges that can be in a circuit of some row of mean scores, and no fewer.

A circuit of 1,000 of a million edges holds nearly the same edges in every resample. Which ones it
can hold is known beforehand, exactly:

1. Bound. With weights w of the n examples, of sum s, an edge's mean is s m + (w - s/n) x, where m
   is the mean of its scores x. By Cauchy and Schwarz the second part is at most |w - s/n| times the
   norm of the edge's centred scores. A row that several sources add up to has these parts of each.
2. Floor. The K-th largest |mean| of a row is no smaller than that among a few edges, for which the
   strongest of the pool are taken.
3. An edge is a candidate if its bound reaches the floor in some row. Rows are taken together, a
   part of them at a time, with their largest bound and lowest floor.

Rounding: a product of n weights and scores is off by at most n + 4 roundings of |w| |x|, in
whatever order it is added up. Bounds are raised and floors lowered by that, so no edge is left out
that any product of these numbers would put into a circuit. Two products of the same numbers may
still differ in their last digit, since BLAS adds up an edge in another order where it stands among
other edges. Edges that differ by no more than that may then trade places at a circuit's end.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.resampling import Drawn, MeanRows
from mechshift.comparison.sources import Source

NARROW = 1 / 4
"""Share of the edges up to which candidates are worth a matrix of their own."""

LARGEST_CIRCUIT = 1 / 16
"""Share of the edges up to which a circuit's candidates are looked for."""

STRONGEST = 4
"""Edges of which a row's floor is taken, over those of a circuit."""

BINS = 16
"""Groups of rows with bounds and floors of their own."""


def candidates(sources: Sequence[Source], drawn: Drawn, size: int) -> Int[np.ndarray, " candidate"]:
    """Edges that may be in a circuit of at most `size` edges in some row, ascending.

    Args:
        sources: scores that the rows are means of.
        drawn: the rows.
        size: edges of the circuits.
    """
    found = np.zeros(sources[0].num_edges, dtype=bool)
    for rows in drawn:
        found |= _candidates_of(sources, rows, size)
    # An edge that scores nothing anywhere is in no circuit.
    scored = np.any([sources[at].spread.norm > 0 for one in drawn for at in one.weights], axis=0)
    return np.flatnonzero(found & scored)


def _candidates_of(
    sources: Sequence[Source], rows: MeanRows, size: int
) -> Bool[np.ndarray, " edge"]:
    """Of one set of rows."""
    middle = np.zeros(sources[0].num_edges)
    parts, radii = [], []
    for place, weights in rows.weights.items():
        spread, num_examples = sources[place].spread, weights.shape[1]
        sums = weights.sum(axis=1, dtype=np.float64)
        middle += sums.mean() * spread.mean
        rounding = (num_examples + 4) * np.finfo(sources[place].scores.dtype).eps
        parts += [np.abs(spread.mean), spread.deviation, rounding * spread.norm]
        radii += [
            np.abs(sums - sums.mean()),
            np.linalg.norm(weights - sums[:, None] / num_examples, axis=1),
            np.linalg.norm(weights.astype(np.float64), axis=1),
        ]
    middle = np.abs(middle)
    floors = _floors(sources, rows, middle, size)
    found = np.zeros(len(middle), dtype=bool)
    for group in np.array_split(np.argsort(floors), BINS):
        if len(group):
            bound = middle.copy()
            for part, radius in zip(parts, radii, strict=True):
                bound += radius[group].max() * part
            found |= bound * (1 + 1e-9) >= floors[group].min()
    return found


def _floors(
    sources: Sequence[Source],
    rows: MeanRows,
    middle: Float[np.ndarray, " edge"],
    size: int,
) -> Float[np.ndarray, " row"]:
    """What the last edge of each row's circuit has at least."""
    num_edges = len(middle)
    strong = np.argpartition(middle, num_edges - min(STRONGEST * size, num_edges))
    strong = np.sort(strong[-min(STRONGEST * size, num_edges) :])
    few = [sources[place].take(strong) for place in rows.weights]
    drawn = MeanRows(weights=dict(enumerate(rows.weights.values())))
    floors = np.empty(len(rows))
    step = max(1, 2**24 // len(strong))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        means = np.abs(drawn.of(few, part)).astype(np.float64)
        for place, weights in rows.weights.items():
            rounding = (weights.shape[1] + 4) * np.finfo(sources[place].scores.dtype).eps
            norms = np.linalg.norm(weights[part].astype(np.float64), axis=1)
            means -= rounding * norms[:, None] * sources[place].spread.norm[strong]
        floors[part] = np.partition(means, len(strong) - size, axis=1)[:, len(strong) - size]
    return floors
