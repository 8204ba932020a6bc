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
    """How the scores of each edge scatter over the examples."""

    mean: Float[np.ndarray, " edge"]
    deviation: Float[np.ndarray, " edge"]
    """Norm of the scores less their mean."""
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
        scores = self.scores[:, columns]
        return scores if self.examples is None else scores[self.examples]

    def ranges(self, num_columns: int) -> Iterator[slice]:
        """All edges, so many at a time."""
        for start in range(0, self.num_edges, num_columns):
            yield slice(start, min(start + num_columns, self.num_edges))

    @cached_property
    def size(self) -> float:
        """Norm of the examples' summed scores; an exchange brings models to one scale by it."""
        total = np.zeros(self.num_edges)
        for example in self._chosen:
            total += self.scores[example]
        return float(np.linalg.norm(total))

    @cached_property
    def spread(self) -> Spread:
        """In float64."""
        found = np.empty((3, self.num_edges))

        def measure(columns: slice) -> None:
            # Example by example, what is added up stays in the processor's cache.
            mean, deviation, norm = found[:, columns]
            found[:, columns] = 0
            for example in self._chosen:
                mean += self.scores[example, columns]
                norm += np.square(self.scores[example, columns], dtype=np.float64)
            mean /= len(self._chosen)
            for example in self._chosen:
                deviation += np.square(self.scores[example, columns] - mean)

        for _ in in_order(measure, self.ranges(COLUMNS)):
            pass
        np.sqrt(found[1:], out=found[1:])
        return Spread(mean=found[0], deviation=found[1], norm=found[2])

    @cached_property
    def _chosen(self) -> Int[np.ndarray, " chosen"]:
        """Numbers of the examples."""
        chosen = np.ones(len(self.scores), dtype=bool) if self.examples is None else self.examples
        return np.flatnonzero(chosen)


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
