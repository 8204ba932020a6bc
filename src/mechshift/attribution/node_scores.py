"""What does node attribution hand on: a score for every node, or for every dimension it writes.

Nodes are the sources of the graph, in its order: `input`; then per layer its heads, then its MLP.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.errors import AttributionError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeScores:
    """Scores of every node of a graph, per example and denoising step; nothing is averaged."""

    graph: Graph
    values: Float[np.ndarray, "example step source"]
    """Units of the metric. Positive: corrupting this node hurts. 0 at steps that an example does
    not have. float32 unless the model is float64."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]

    def __post_init__(self) -> None:
        _check_sources(self.graph, self.values.shape[2])

    def mean(self) -> Float[np.ndarray, " source"]:
        """Score of each node: summed over an example's steps, averaged over examples."""
        return self.values.sum(axis=1, dtype=np.float64).mean(axis=0)

    @property
    def completeness_gap(self) -> Float[np.ndarray, "example step"]:
        """Score of `input` minus the metric that corruption costs [units of the metric].

        0 for infinitely many integration steps, as for edges.
        """
        return self.values[..., 0].astype(np.float64) - (self.clean_metric - self.corrupted_metric)


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronScores:
    """Scores of every dimension of what every node writes, per example and denoising step.

    As many numbers as sources times d_model for each example and step: 2.9 million in
    Qwen2.5-7B, three times its edges. Score in chunks of examples where that is too many.
    """

    graph: Graph
    values: Float[np.ndarray, "example step source d_model"]
    """As those of `NodeScores`, of which these are the terms."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]

    def __post_init__(self) -> None:
        _check_sources(self.graph, self.values.shape[2])

    def mean(self) -> Float[np.ndarray, "source d_model"]:
        """Score of each neuron: summed over an example's steps, averaged over examples."""
        return self.values.sum(axis=1, dtype=np.float64).mean(axis=0)

    def node_scores(self) -> NodeScores:
        """The score of every node: the sum over the dimensions that it writes."""
        return NodeScores(
            graph=self.graph,
            values=self.values.sum(axis=-1),
            num_steps=self.num_steps,
            clean_metric=self.clean_metric,
            corrupted_metric=self.corrupted_metric,
        )


def _check_sources(graph: Graph, num_sources: int) -> None:
    if num_sources != graph.num_sources:
        raise AttributionError(
            f"scores of {num_sources} nodes do not fit a graph of {graph.num_sources}."
        )
