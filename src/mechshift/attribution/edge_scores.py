"""The record of edge scores: one for every example (or shard of them), step and edge."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mechshift.attribution.score_record import ScoreRecord
from mechshift.errors import AttributionError
from mechshift.flat_records import KEPT_IN_FILE
from mechshift.summaries import Summarised


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EdgeScores(Summarised, ScoreRecord):
    """Scores of every edge of a graph, per example and denoising step.

    Where they are averaged over shards of examples, only `values` are: what is small stays as it
    was for every example.
    """

    values: Float[np.ndarray, "row stored_step edge"] = field(metadata=KEPT_IN_FILE)
    """Those of a 7B model can exceed memory."""
    input_score: Float[np.ndarray, "example step"]
    """Sum over destinations of score(input -> destination)."""
    by_source: Float[np.ndarray, "example source"] | None = None
    """What `source_scores` gives, kept from before averaging; None where rows are examples, whose
    values still tell it."""
    step_sums: Float[np.ndarray, "group step edge"] | None = field(
        default=None, metadata=KEPT_IN_FILE
    )
    """Where `values` are summed over steps: scores at each step, summed over groups of rows."""
    step_groups: Int[np.ndarray, " row"] | None = None
    """Number of the group of each row; None where there are no step sums."""

    def __post_init__(self) -> None:
        num_edges = self.values.shape[2]
        if num_edges != self.graph.num_edges:
            raise AttributionError(
                f"scores of {num_edges} edges do not fit a graph of {self.graph.num_edges}."
            )
        super().__post_init__()
        self._check_stepwise("input_score")
        assert (self.by_source is None) == (self.examples_per_shard == 1)
        if self.step_sums is not None:
            assert self.step_groups is not None
            num_groups = len(np.unique(self.step_groups))
            assert self.step_sums.shape[:2] == (num_groups, self.clean_metric.shape[1])

    def facts(self) -> dict[str, object]:
        """What was scored, and what corruption costs."""
        return {
            "edges": f"{self.graph.num_edges:,}",
            "examples": len(self.num_steps),
            "denoising steps": self.clean_metric.shape[1],
            "metric, clean": f"{self.clean_metric.sum(axis=1).mean():.3g}",
            "metric, corrupted": f"{self.corrupted_metric.sum(axis=1).mean():.3g}",
        }

    def joined_steps(self, chunks: Sequence[ScoreRecord]) -> dict[str, Any]:
        """Step sums of all chunks, which may have groups in common."""
        parts = [chunk for chunk in chunks if isinstance(chunk, EdgeScores)]
        known = [one.step_groups for one in parts if one.step_groups is not None]
        if not known:
            return {}
        numbers = [np.unique(groups) for groups in known]
        groups = np.unique(np.concatenate(numbers))
        num_steps = max(one.clean_metric.shape[1] for one in parts)
        shape = len(groups), num_steps, self.graph.num_edges
        joined = np.zeros(shape, self.values.dtype)
        for group, sums in zip(groups, joined, strict=True):
            total = np.zeros(sums.shape)  # in float64, as those of the chunks are
            for one, of_chunk in zip(parts, numbers, strict=True):
                for place in np.flatnonzero(of_chunk == group):
                    assert one.step_sums is not None
                    total[: one.step_sums.shape[1]] += one.step_sums[place]
            sums[:] = total
        return {"step_groups": np.concatenate(known), "step_sums": joined}

    def of_examples(self, examples: Int[np.ndarray, " some"]) -> "EdgeScores":
        """The scores of some examples alone, without steps that none of them has.

        Sums at each step are of all examples, and are left out.

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
            step_sums=None,
            step_groups=None,
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
