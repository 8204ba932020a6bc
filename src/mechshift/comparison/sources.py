"""Scores that mean scores are drawn from, and how every edge's scatter over the examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.workers import in_order

COLUMNS = 2**14
"""Edges that are gone through at once where sums are made in float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Scatter of the scores of each edge over the examples."""

    total: Float[np.ndarray, " edge"]
    mean: Float[np.ndarray, " edge"]
    deviation: Float[np.ndarray, " edge"]
    """Norm of the scores less their mean; by no more than a millionth of `norm` larger."""
    norm: Float[np.ndarray, " edge"]
    """Norm of the scores."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Scores that rows are means of: a model's, or those of some of its examples."""

    scores: Float[np.ndarray, "example edge"]
    examples: Bool[np.ndarray, " example"] | None = None
    """Which examples; all by default."""

    @property
    def num_edges(self) -> int:
        return self.scores.shape[1]

    def take(
        self, columns: slice | Int[np.ndarray, " edge"] = slice(None)
    ) -> Float[np.ndarray, "_example _edge"]:
        """The scores of these edges."""
        if isinstance(columns, slice):
            scores = self.scores[:, columns]
            return scores if self.examples is None else scores[self.examples]
        # Row by row: one index for all rows takes NumPy twice as long.
        return np.stack([self.scores[example].take(columns) for example in self._chosen])

    def ranges(self, num_columns: int) -> Iterator[slice]:
        """All edges, so many at a time."""
        yield from column_ranges(self.num_edges, num_columns)

    @cached_property
    def size(self) -> float:
        """Norm of the examples' summed scores; an exchange brings models to one scale by it."""
        return float(np.linalg.norm(self.spread.total))

    @cached_property
    def mean(self) -> Float[np.ndarray, "1 edge"]:
        """`pool_mean` of a model's scores, which several measures ask for."""
        assert self.examples is None
        return pool_mean(self.scores)

    @cached_property
    def spread(self) -> Spread:
        """In float64, each score read once."""
        found = np.zeros((2, self.num_edges))

        def measure(columns: slice) -> None:
            # Example by example, what is added up stays in the processor's cache.
            total, squares = found[:, columns]
            for example in self._chosen:
                scores = self.scores[example, columns]
                total += scores
                squares += np.square(scores, dtype=np.float64)

        for _ in in_order(measure, self.ranges(COLUMNS)):
            pass
        total, squares = found
        count = len(self._chosen)
        mean = total / count
        # What rounding of sums of so many numbers may take from the difference is given back.
        slack = 8 * (count + 4) * np.finfo(np.float64).eps
        deviation = np.sqrt(np.maximum(squares * (1 + slack) - total * mean, 0))
        return Spread(total=total, mean=mean, deviation=deviation, norm=np.sqrt(squares))

    @cached_property
    def _chosen(self) -> Int[np.ndarray, " chosen"]:
        """Numbers of the examples."""
        chosen = np.ones(len(self.scores), dtype=bool) if self.examples is None else self.examples
        return np.flatnonzero(chosen)


def column_ranges(num_edges: int, num_columns: int = COLUMNS) -> Iterator[slice]:
    """Consecutive ranges of edges, so many in each."""
    for start in range(0, num_edges, num_columns):
        yield slice(start, min(start + num_columns, num_edges))


def cluster_sums(
    scores: Float[np.ndarray, "example edge"], cluster: Int[np.ndarray, " example"]
) -> Float[np.ndarray, "cluster edge"]:
    """`group_sums` of clusters, of which all have an example: single ones are only converted."""
    if np.array_equal(cluster, np.arange(len(scores))):
        return scores.astype(np.float64)
    return group_sums(scores, cluster)


def group_sums(
    scores: Float[np.ndarray, "example edge"],
    group: Int[np.ndarray, " example"],
    num_groups: int | None = None,
) -> Float[np.ndarray, "group edge"]:
    """Summed scores of the examples of each group, in float64.

    Args:
        scores: of each example; they may lie in a file, and are read one at a time.
        group: number of each example's group, from 0 on.
        num_groups: where some may have no example; by default up to the last that has one.
    """
    count = group.max() + 1 if num_groups is None else num_groups
    sums = np.zeros((count, scores.shape[1]))
    for number, example in zip(group, scores, strict=True):
        sums[number] += example
    return sums


def pool_mean(scores: Float[np.ndarray, "example edge"]) -> Float[np.ndarray, "1 edge"]:
    """Mean score of each edge over all examples, as one row.

    In float64 and edge by edge, so that it ranks edges as `Comparison.arm_scores` does; a matrix
    product may round two equal scores differently.
    """
    return scores.mean(axis=0, keepdims=True, dtype=np.float64)
