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
        parts = [pool_mean(self.take(columns)) for columns in self.ranges(COLUMNS)]
        num_examples = len(self.scores) if self.examples is None else self.examples.sum()
        return float(np.linalg.norm(np.concatenate(parts, axis=1)) * num_examples)

    @cached_property
    def spread(self) -> Spread:
        """In float64."""
        found = np.empty((3, self.num_edges))

        def measure(columns: slice) -> None:
            part = self.take(columns).astype(np.float64)
            mean = part.mean(axis=0)
            norms = [np.sqrt(np.einsum("ne,ne->e", one, one)) for one in (part - mean, part)]
            found[:, columns] = [mean, *norms]

        for _ in in_order(measure, self.ranges(COLUMNS)):
            pass
        return Spread(mean=found[0], deviation=found[1], norm=found[2])


def pool_mean(scores: Float[np.ndarray, "example edge"]) -> Float[np.ndarray, "1 edge"]:
    """Mean score of each edge over all examples, as one row.

    In float64 and edge by edge, so that it ranks edges as `Comparison.arm_scores` does; a matrix
    product may round two equal scores differently.
    """
    return scores.mean(axis=0, keepdims=True, dtype=np.float64)
