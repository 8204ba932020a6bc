"""What do scores of edges, nodes and neurons have in common, and how are parts of a pool joined?"""

from collections.abc import Callable, Sequence
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
        total = np.zeros(self.values.shape[2:])
        for steps in self.values:  # one at a time: the values may lie in a file
            total += steps.sum(axis=0, dtype=np.float64)
        return total / self.num_examples


Record = TypeVar("Record", bound=ScoreRecord)


Allocate = Callable[[tuple[int, ...], np.dtype], np.ndarray]
"""Makes an array of zeros from its shape and dtype."""


def concatenate_scores(chunks: Sequence[Record], allocate: Allocate = np.zeros) -> Record:
    """Join scores of consecutive examples; shorter step axes are filled with 0.

    Args:
        chunks: of one graph.
        allocate: makes the array of all scores; in a file, if it should not take memory.

    Raises:
        AttributionError: no chunks, or chunks of different graphs.
    """
    if not chunks:
        raise AttributionError("there are no scores to join; score at least one example.")
    graphs = {chunk.graph for chunk in chunks}
    if len(graphs) > 1:
        raise AttributionError(f"scores of different graphs cannot be joined: {graphs}.")
    joined: dict[str, Any] = {
        name: _join(
            [getattr(chunk, name) for chunk in chunks], allocate if name == "values" else np.zeros
        )
        for name in _stepwise(chunks[0])
    }
    return replace(
        chunks[0], num_steps=np.concatenate([chunk.num_steps for chunk in chunks]), **joined
    )


def _stepwise(record: ScoreRecord) -> list[str]:
    """The fields whose first two axes are examples and steps."""
    names = [field.name for field in fields(record)]
    return [name for name in names if name not in ("graph", "num_steps")]


def _join(
    parts: Sequence[Float[np.ndarray, "_ _ *unit"]], allocate: Allocate
) -> Float[np.ndarray, "example step *unit"]:
    num_examples = sum(len(part) for part in parts)
    num_steps = max(part.shape[1] for part in parts)
    shape = (num_examples, num_steps, *parts[0].shape[2:])
    joined = allocate(shape, np.result_type(*parts))
    start = 0
    for part in parts:
        joined[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return joined
