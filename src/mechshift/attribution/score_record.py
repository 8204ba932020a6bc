"""What do scores of edges, nodes and neurons have in common, and how are parts of a pool joined?"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from mechshift.errors import AttributionError
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreRecord:
    """Scores of the units of a graph, per example and denoising step; nothing is averaged.

    A unit is an edge, a node or a neuron.
    """

    graph: Graph
    values: Float[np.ndarray, "example step *unit"]
    """Units of the metric. Positive: corrupting this hurts. 0 at steps that an example does not
    have. float32 unless the model is float64."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]

    def __post_init__(self) -> None:
        num_examples, num_steps = self.values.shape[:2]
        if len(self.num_steps) != num_examples or self.num_steps.max(initial=0) > num_steps:
            raise AttributionError(
                f"scores of {num_examples} examples and {num_steps} steps do not fit step counts"
                f" of {len(self.num_steps)} examples with at most"
                f" {self.num_steps.max(initial=0)} steps."
            )
        for name in _stepwise(self):
            shape = getattr(self, name).shape
            if name != "values" and shape != (num_examples, num_steps):
                raise AttributionError(
                    f"{name} has shape {shape}, not {(num_examples, num_steps)} as its scores."
                )

    @property
    def num_examples(self) -> int:
        return len(self.values)

    def mean(self) -> Float[np.ndarray, "*unit"]:
        """Score of each unit: summed over an example's steps, averaged over examples."""
        return self.values.sum(axis=1, dtype=np.float64).mean(axis=0)


Record = TypeVar("Record", bound=ScoreRecord)


def concatenate_scores(chunks: Sequence[Record]) -> Record:
    """Join scores of consecutive examples; shorter step axes are filled with 0.

    Raises:
        AttributionError: no chunks, or chunks of different graphs.
    """
    if not chunks:
        raise AttributionError("there are no scores to join; score at least one example.")
    graphs = {chunk.graph for chunk in chunks}
    if len(graphs) > 1:
        raise AttributionError(f"scores of different graphs cannot be joined: {graphs}.")
    num_steps = max(chunk.values.shape[1] for chunk in chunks)
    joined: dict[str, Any] = {
        name: np.concatenate([_fill_steps(getattr(chunk, name), num_steps) for chunk in chunks])
        for name in _stepwise(chunks[0])
    }
    return replace(
        chunks[0], num_steps=np.concatenate([chunk.num_steps for chunk in chunks]), **joined
    )


def _stepwise(record: ScoreRecord) -> list[str]:
    """The fields whose first two axes are examples and steps."""
    names = [field.name for field in fields(record)]
    return [name for name in names if name not in ("graph", "num_steps")]


def _fill_steps(
    values: Float[np.ndarray, "example step *unit"], num_steps: int
) -> Float[np.ndarray, "example more_steps *unit"]:
    missing = num_steps - values.shape[1]
    return np.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
