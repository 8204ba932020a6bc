"""A graph with one score for every edge, before any circuit is selected."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.errors import CircuitError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredGraph:
    """A graph with a score on each of its edges."""

    graph: Graph
    scores: Float[np.ndarray, " edge"]
    """In `Graph` order [metric units]; positive: ablating the edge hurts."""

    def __post_init__(self) -> None:
        if len(self.scores) != self.graph.num_edges:
            raise CircuitError(
                f"{len(self.scores)} scores do not fit a graph of {self.graph.num_edges} edges;"
                " take both from the same model and the same grouping of k and v."
            )
        if not np.isfinite(self.scores).all():
            count = int((~np.isfinite(self.scores)).sum())
            raise CircuitError(f"{count} edge scores are not finite.")
