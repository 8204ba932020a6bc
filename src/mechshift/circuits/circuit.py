"""A circuit: a set of edges of one graph, each with the score that put it there."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from mechshift.errors import CircuitError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """Edges of a graph, strongest first."""

    graph: Graph
    edges: Int[np.ndarray, " k"]
    """Indices in `Graph` order, by |score| descending, ties by index; none occurs twice."""
    scores: Float[np.ndarray, " k"]
    """Score of each edge [metric units]; positive: ablating the edge hurts."""

    def __post_init__(self) -> None:
        assert self.edges.shape == self.scores.shape
        outside = self.edges[(self.edges < 0) | (self.edges >= self.graph.num_edges)]
        if len(outside):
            raise CircuitError(
                f"{len(outside)} edges lie outside a graph of {self.graph.num_edges} edges, the"
                f" first being {outside[0]}; take the scores from the same architecture."
            )
        if not np.isfinite(self.scores).all():
            raise CircuitError("a circuit's scores hold NaN or infinity.")
        self._check_order()

    def _check_order(self) -> None:
        repeated = self.num_edges - int(self.mask.sum())
        if repeated:
            raise CircuitError(f"{repeated} of a circuit's {self.num_edges} edges occur twice.")
        strength = np.abs(self.scores)
        weaker = strength[1:] < strength[:-1]
        tied = (strength[1:] == strength[:-1]) & (self.edges[1:] > self.edges[:-1])
        if not (weaker | tied).all():  # as `by_strength` orders them, but without sorting again
            raise CircuitError(
                "a circuit's edges must come by |score| descending, ties by index; make it with"
                " select_top_edges."
            )

    @property
    def num_edges(self) -> int:
        return len(self.edges)

    @property
    def mask(self) -> Bool[np.ndarray, " edge"]:
        """Whether each edge of the graph is in the circuit."""
        mask = np.zeros(self.graph.num_edges, dtype=bool)
        mask[self.edges] = True
        return mask

    def names(self) -> list[str]:
        """Edges as `a0.h1->m2`, strongest first."""
        return [self.graph.edge_name(edge) for edge in self.edges]

    def to_frame(self) -> pl.DataFrame:
        """A row an edge, strongest first: its name and its score [metric units]."""
        return pl.DataFrame({"edge": self.names(), "score": self.scores})


def by_strength(
    edges: Int[np.ndarray, " k"], scores: Float[np.ndarray, " k"]
) -> Int[np.ndarray, " k"]:
    """The order that puts edges by |score| descending, ties by edge index."""
    return np.lexsort((edges, -np.abs(scores)))
