"""A circuit: a set of edges of one graph, each with the score that put it there."""

from dataclasses import dataclass
from html import escape

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from mechshift.errors import CircuitError
from mechshift.graph import Graph
from mechshift.summaries import Summarised, html_table

SHOWN = 10
"""Edges that a notebook shows of a circuit."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Circuit(Summarised):
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

    def facts(self) -> dict[str, object]:
        """Its size, and the edge that is strongest."""
        strongest = self.graph.edge_name(self.edges[0]) if self.num_edges else "none"
        return {"edges": f"{self.num_edges:,} of {self.graph.num_edges:,}", "strongest": strongest}

    def _repr_html_(self) -> str:
        """The facts, and the strongest edges with their scores, for notebooks."""
        rows = [
            [escape(self.graph.edge_name(edge)), f"{score:+.3g}"]
            for edge, score in zip(self.edges[:SHOWN], self.scores[:SHOWN], strict=True)
        ]
        title = f"circuit of {self.facts()['edges']} edges, the strongest first"
        return f"<p>{title}</p>{html_table(['edge', 'score'], rows)}"

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
