"""What does attribution hand on: one score for every example, denoising step and edge."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.attribution.score_record import ScoreRecord
from mechshift.errors import AttributionError


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeScores(ScoreRecord):
    """Scores of every edge of a graph, per example and denoising step; nothing is averaged."""

    values: Float[np.ndarray, "example step edge"]
    input_score: Float[np.ndarray, "example step"]
    """Sum over destinations of score(input -> destination)."""

    def __post_init__(self) -> None:
        num_edges = self.values.shape[2]
        if num_edges != self.graph.num_edges:
            raise AttributionError(
                f"scores of {num_edges} edges do not fit a graph of {self.graph.num_edges}."
            )
        super().__post_init__()

    @property
    def completeness_gap(self) -> Float[np.ndarray, "example step"]:
        """Input score minus the metric that corruption costs [units of the metric].

        EAP-IG: the error of a path of so many points. The fundamental theorem of calculus makes it
        0 for infinitely many: what `input` sends along all its edges is the whole effect of the
        input. The other methods promise no such sum. EAP: how far the straight line along its one
        gradient misses that effect. Exact patching: how far corrupting the edges out of `input` one
        at a time and corrupting them together differ. Under GIM's rules it means nothing, since
        such gradients are those of no function.
        """
        return self.input_score - (self.clean_metric - self.corrupted_metric)
