"""The record of edge scores: one for every example (or shard of them), step and edge."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mechshift.attribution.score_record import ScoreRecord
from mechshift.errors import AttributionError


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeScores(ScoreRecord):
    """Scores of every edge of a graph, per example and denoising step.

    Where they are averaged over shards of examples, only `values` are: what is small stays as it
    was for every example.
    """

    values: Float[np.ndarray, "row step edge"]
    input_score: Float[np.ndarray, "example step"]
    """Sum over destinations of score(input -> destination)."""
    by_source: Float[np.ndarray, "example source"] | None = None
    """What `source_scores` gives, kept from before averaging; None where rows are examples, whose
    values still tell it."""

    def __post_init__(self) -> None:
        num_edges = self.values.shape[2]
        if num_edges != self.graph.num_edges:
            raise AttributionError(
                f"scores of {num_edges} edges do not fit a graph of {self.graph.num_edges}."
            )
        super().__post_init__()
        self._check_stepwise("input_score")
        assert (self.by_source is None) == (self.examples_per_shard == 1)

    def of_examples(self, examples: Int[np.ndarray, " some"]) -> "EdgeScores":
        """The scores of some examples alone, without steps that none of them has.

        Args:
            examples: their places, where every row is an example.
        """
        assert self.examples_per_shard == 1
        most = int(self.num_steps[examples].max())
        return replace(
            self,
            num_steps=self.num_steps[examples],
            clusters=None if self.clusters is None else self.clusters[examples],
            values=self.values[examples, :most],
            clean_metric=self.clean_metric[examples, :most],
            corrupted_metric=self.corrupted_metric[examples, :most],
            input_score=self.input_score[examples, :most],
        )

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


def source_scores(scores: EdgeScores) -> Float[np.ndarray, "example source"]:
    """Sum of the scores of the edges out of each node, over all steps; float32.

    Of EAP and EAP-IG it is the node's own attribution (`node_attribution`), because whatever reads
    a node reads it through an edge. Of exact patching it is the sum and no more: corrupting a node
    for one reader at a time is not corrupting it for all.
    """
    if scores.by_source is not None:
        return scores.by_source
    graph = scores.graph
    summed = [
        np.bincount(
            graph.edge_source,
            weights=example.sum(axis=0, dtype=np.float64),
            minlength=graph.num_sources,
        )
        for example in scores.values
    ]
    return np.stack(summed).astype(np.float32)
