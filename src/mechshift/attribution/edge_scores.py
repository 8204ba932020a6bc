"""What does attribution hand on: one score for every example, denoising step and edge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.errors import AttributionError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeScores:
    """Scores of every edge of a graph, per example and denoising step; nothing is averaged."""

    graph: Graph
    values: Float[np.ndarray, "example step edge"]
    """Units of the metric. Positive: corrupting this edge hurts. 0 at steps that an example does
    not have. float32 unless the model is float64."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]
    input_score: Float[np.ndarray, "example step"]
    """Sum over destinations of score(input -> destination)."""

    def __post_init__(self) -> None:
        num_examples, num_steps, num_edges = self.values.shape
        if num_edges != self.graph.num_edges:
            raise AttributionError(
                f"scores of {num_edges} edges do not fit a graph of {self.graph.num_edges}."
            )
        if len(self.num_steps) != num_examples or self.num_steps.max(initial=0) > num_steps:
            raise AttributionError(
                f"scores of {num_examples} examples and {num_steps} steps do not fit step counts"
                f" of {len(self.num_steps)} examples with at most"
                f" {self.num_steps.max(initial=0)} steps."
            )
        for name in ("clean_metric", "corrupted_metric", "input_score"):
            shape = getattr(self, name).shape
            if shape != (num_examples, num_steps):
                raise AttributionError(
                    f"{name} has shape {shape}, not {(num_examples, num_steps)} as its scores."
                )

    @property
    def num_examples(self) -> int:
        return len(self.values)

    def mean(self) -> Float[np.ndarray, " edge"]:
        """Score of each edge: summed over an example's steps, averaged over examples."""
        total = np.zeros(self.graph.num_edges)
        for steps in self.values:  # one at a time: the values may lie in a file
            total += steps.sum(axis=0, dtype=np.float64)
        return total / self.num_examples

    @property
    def completeness_gap(self) -> Float[np.ndarray, "example step"]:
        """Input score minus the metric that corruption costs [units of the metric].

        The fundamental theorem of calculus makes it 0 for infinitely many integration steps: what
        `input` sends along all its edges is the whole effect of the input.
        """
        return self.input_score - (self.clean_metric - self.corrupted_metric)


def concatenate_edge_scores(
    chunks: Sequence[EdgeScores],
    allocate: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.zeros,
) -> EdgeScores:
    """Join scores of consecutive examples; shorter step axes are filled with 0.

    Args:
        chunks: of one graph.
        allocate: makes the array of all scores from its shape and dtype, filled with 0; in a file,
            if it should not take memory.

    Raises:
        AttributionError: no chunks, or chunks of different graphs.
    """
    if not chunks:
        raise AttributionError("there are no edge scores to join; score at least one example.")
    graphs = {chunk.graph for chunk in chunks}
    if len(graphs) > 1:
        raise AttributionError(f"edge scores of different graphs cannot be joined: {graphs}.")
    return EdgeScores(
        graph=chunks[0].graph,
        values=_join([chunk.values for chunk in chunks], allocate),
        num_steps=np.concatenate([chunk.num_steps for chunk in chunks]),
        clean_metric=_join([chunk.clean_metric for chunk in chunks]),
        corrupted_metric=_join([chunk.corrupted_metric for chunk in chunks]),
        input_score=_join([chunk.input_score for chunk in chunks]),
    )


def _join(
    parts: Sequence[Float[np.ndarray, "_ _ *edge"]],
    allocate: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.zeros,
) -> Float[np.ndarray, "example step *edge"]:
    num_examples = sum(len(part) for part in parts)
    num_steps = max(part.shape[1] for part in parts)
    shape = (num_examples, num_steps, *parts[0].shape[2:])
    joined = allocate(shape, np.result_type(*parts))
    start = 0
    for part in parts:
        joined[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return joined
