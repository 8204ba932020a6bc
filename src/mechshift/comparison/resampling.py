"""Mean scores of everything that is drawn from the pool, for all that is measured.

Whatever is drawn from the examples (bootstrap resamples, halves, exchanges of the models) is a
matrix of weights for each set of rows, times the scores of the examples: `MeanRows`. How the
weights came about does not matter to what is measured. Rows of mean scores [row, edge] are made in
pieces, since all rows at once would not fit into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechshift.statistics import Drawn as DrawnFrom
from mechshift.statistics import cluster_columns

CHUNK_BYTES = 2**29
"""Memory for one piece of rows, all sets together. A product of fewer than about 60 rows with a
7B model's scores takes up to twice as long for each row."""

EXCHANGE_SEED = 10_000
"""Added to the seed for exchanges of models, far from the seeds of halves."""

Piece = tuple[Float[np.ndarray, "row edge"], ...]
"""Some rows of every set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanRows:
    """A set of rows of mean scores, as weights of the examples of each source that they draw on."""

    weights: Mapping[int, Shaped[np.ndarray, "row _example"]]
    """Place of the source -> weights, which need not sum to 1. Several sources are added up."""

    def __len__(self) -> int:
        return len(next(iter(self.weights.values())))

    def of(
        self, scores: Sequence[Float[np.ndarray, "_example edge"]], rows: slice = slice(None)
    ) -> Float[np.ndarray, "row edge"]:
        """These rows of mean scores.

        Args:
            scores: of each source.
            rows: which of the rows.
        """
        found, *others = (
            mean_scores(weights[rows], scores[place]) for place, weights in self.weights.items()
        )
        for other in others:
            found += other
        return found


Drawn = tuple[MeanRows, ...]
"""Sets of equally many rows; row by row they are measured together."""


def pieces(
    drawn: Drawn, scores: Sequence[Float[np.ndarray, "_example edge"]], *, beyond: int = 0
) -> Iterator[Piece]:
    """All rows of every set, piece by piece.

    Args:
        drawn: the sets.
        scores: of each source.
        beyond: rows at the end that are only looked at beside others; each piece reaches so many
            rows into the next.
    """
    num_rows, num_edges = len(drawn[0]) - beyond, scores[0].shape[1]
    ranges = list(chunks(num_rows, len(drawn) * num_edges * scores[0].itemsize))
    for rows in ranges:
        reached = slice(rows.start, rows.stop + beyond)
        if len(ranges) == 1:
            yield tuple(one.of(scores, reached) for one in drawn)
        else:
            yield _in_joined_products(drawn, scores, reached)


def _in_joined_products(
    drawn: Drawn, scores: Sequence[Float[np.ndarray, "_example edge"]], rows: slice
) -> Piece:
    """Some rows of every set, in one product for each source: few rows alone take long."""
    found: dict[int, Float[np.ndarray, "row edge"]] = {}
    for place, of_source in enumerate(scores):
        users = [index for index, one in enumerate(drawn) if place in one.weights]
        if users:
            weights = [drawn[index].weights[place][rows] for index in users]
            means = mean_scores(np.concatenate(weights), of_source)
            for index, part in zip(users, np.split(means, len(users)), strict=True):
                if index in found:
                    found[index] += part
                else:
                    found[index] = part
    return tuple(found[index] for index in range(len(drawn)))


def chunks(num_rows: int, bytes_per_row: int) -> Iterator[slice]:
    """Consecutive row ranges that take at most `CHUNK_BYTES`, or are a single row."""
    step = max(1, CHUNK_BYTES // max(1, bytes_per_row))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def mean_scores(
    weights: Shaped[np.ndarray, "row example"], scores: Float[np.ndarray, "example edge"]
) -> Float[np.ndarray, "row edge"]:
    """Weighted mean score of each edge."""
    means: Float[np.ndarray, "row edge"] = weights.astype(scores.dtype) @ scores
    return means


def normalised_rows(weights: Shaped[np.ndarray, "row example"]) -> Float[np.ndarray, "row example"]:
    """Each row divided by its sum."""
    return weights / weights.sum(axis=1, keepdims=True)


def resampled(weights: Float[np.ndarray, "row example"]) -> Drawn:
    """The ARM and the MDM in each resample, the same examples for both."""
    return MeanRows(weights={0: weights}), MeanRows(weights={1: weights})


def halved(
    weights: Float[np.ndarray, "row example"], first: Bool[np.ndarray, "row example"]
) -> Drawn:
    """The first and the second half of the weighted examples, in the ARM, then in the MDM.

    A resample of a single cluster has no halves; each is all of it. That happens below some ten
    clusters only.
    """
    empty = (weights * first).sum(axis=1, keepdims=True) == 0
    halves = [normalised_rows(weights * (half | empty)) for half in (first, ~first)]
    return tuple(MeanRows(weights={model: half}) for model in (0, 1) for half in halves)


def halves_of_resamples(
    weights: Float[np.ndarray, "row example"], examples: DrawnFrom, seed: int
) -> Bool[np.ndarray, "row example"]:
    """A random half of the distinct clusters of each resample.

    Splitting clusters rather than draws keeps the copies of one example on one side; otherwise
    the two halves would agree because they share examples.
    """
    cluster, count = cluster_columns(examples)
    _, first = np.unique(cluster, return_index=True)
    drawn = weights[:, first] != 0  # all examples of a cluster weigh the same
    keys = np.random.default_rng(seed).random((len(weights), count))
    keys[~drawn] = np.inf
    rank = keys.argsort(axis=1).argsort(axis=1)
    half = rank < (np.count_nonzero(drawn, axis=1) // 2)[:, None]
    return half[:, cluster]


def exchanged(swapped: Bool[np.ndarray, "row example"], arm_size: float, mdm_size: float) -> Drawn:
    """Both sides when the ARM and the MDM trade the marked examples.

    Each model is first divided by its size (`sources.Source`), since the two metrics may have
    different units. If the two models had one circuit, trading would change nothing but noise; and
    because an example's two scores stay together, noise that the models share stays shared.
    """
    kept = ~swapped
    return (
        MeanRows(weights={0: kept / arm_size, 1: swapped / mdm_size}),
        MeanRows(weights={0: swapped / arm_size, 1: kept / mdm_size}),
    )


def exchanged_halves(
    swapped: Bool[np.ndarray, "row example"],
    first: Bool[np.ndarray, " example"],
    sizes: Sequence[float],
) -> Drawn:
    """One side on the first and on the second half of the examples, then the other side.

    Each half is exchanged by itself, on its own scale. The sources are the ARM and the MDM on the
    first half of the examples, then both on the second.

    Args:
        swapped: examples that the models trade.
        first: the first half.
        sizes: of the four sources.
    """
    one = exchanged(swapped[:, first], *sizes[:2])
    two = (
        MeanRows(weights={place + 2: weights for place, weights in side.weights.items()})
        for side in exchanged(swapped[:, ~first], *sizes[2:])
    )
    (one_kept, one_traded), (two_kept, two_traded) = one, two
    return one_kept, two_kept, one_traded, two_traded
