"""The record of node attribution: a score for every node, or every dimension it writes.

Nodes are the sources of the graph, in its order: `input`; then per layer its heads, then its MLP.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.attribution.score_record import ScoreRecord
from mechshift.errors import AttributionError


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeScores(ScoreRecord):
    """Scores of every node of a graph, per example and denoising step; nothing is averaged."""

    values: Float[np.ndarray, "example step source"]

    def __post_init__(self) -> None:
        _check_sources(self)
        super().__post_init__()

    @property
    def completeness_gap(self) -> Float[np.ndarray, "example step"]:
        """Score of `input` minus the metric that corruption costs [units of the metric].

        0 for infinitely many integration steps, as for edges.
        """
        return self.values[..., 0].astype(np.float64) - (self.clean_metric - self.corrupted_metric)


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronScores(ScoreRecord):
    """Scores of every dimension of what every node writes, per example and denoising step.

    As many numbers as sources times d_model for each example and step: 2.9 million in
    Qwen2.5-7B, three times its edges. Score in chunks of examples where that is too many.
    """

    values: Float[np.ndarray, "example step source d_model"]
    """The terms of the values of `NodeScores`."""

    def __post_init__(self) -> None:
        _check_sources(self)
        super().__post_init__()

    def node_scores(self) -> NodeScores:
        """The score of every node: the sum over the dimensions that it writes."""
        return NodeScores(
            graph=self.graph,
            values=self.values.sum(axis=-1),
            clusters=self.clusters,
            num_steps=self.num_steps,
            clean_metric=self.clean_metric,
            corrupted_metric=self.corrupted_metric,
        )


def _check_sources(scores: ScoreRecord) -> None:
    num_sources = scores.values.shape[2]
    if num_sources != scores.graph.num_sources:
        raise AttributionError(
            f"scores of {num_sources} nodes do not fit a graph of {scores.graph.num_sources}."
        )
