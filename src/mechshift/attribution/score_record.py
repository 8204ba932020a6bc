"""Records of scores: what those of edges, nodes and neurons share, and how parts are joined."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from mechshift.errors import AttributionError
from mechshift.graph import Graph
from mechshift.statistics import Drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreRecord:
    """Scores of the units of a graph, per row of examples and denoising step.

    A unit is an edge, a node or a neuron. A row is an example, or the mean over a shard of them.
    """

    graph: Graph
    values: Float[np.ndarray, "row stored_step *unit"]
    """Units of the metric. Positive: corrupting this hurts. 0 at steps that an example does not
    have. float32 unless the model is float64. The step axis is of length 1 where scores were summed
    over steps (`step_sums.py`)."""
    examples_per_shard: int = 1
    """Consecutive examples of which a row is the mean (`shards.py`); 1: a row is an example."""
    clusters: Int[np.ndarray, " example"] | None = None
    """Number of each example's cluster; None: every example is a cluster of its own."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]

    def __post_init__(self) -> None:
        num_rows, num_steps = len(self.values), self._num_steps
        num_examples = num_rows * self.examples_per_shard
        if len(self.num_steps) != num_examples or self.num_steps.max(initial=0) > num_steps:
            raise AttributionError(
                f"scores of {num_examples} examples and {num_steps} steps do not fit step counts"
                f" of {len(self.num_steps)} examples with at most"
                f" {self.num_steps.max(initial=0)} steps."
            )
        assert self.clusters is None or len(self.clusters) == num_examples
        for name in ("clean_metric", "corrupted_metric"):
            self._check_stepwise(name)

    def _check_stepwise(self, name: str) -> None:
        expected = self.num_examples, self._num_steps
        shape = getattr(self, name).shape
        if shape != expected:
            raise AttributionError(f"{name} has shape {shape}, not {expected} as its scores.")

    @property
    def _num_steps(self) -> int:
        """Of the example that has most, also where scores are summed over them."""
        stored = self.values.shape[1]
        return stored if stored != 1 else self.clean_metric.shape[1]

    @property
    def num_examples(self) -> int:
        return len(self.num_steps)

    @property
    def drawn(self) -> Drawn:
        """What resamples of the examples draw from."""
        return self.num_examples if self.clusters is None else self.clusters

    def joined_steps(self, chunks: Sequence["ScoreRecord"]) -> dict[str, Any]:
        """Fields of a joined record that are no tables of rows; this record is the first chunk."""
        return {}

    def mean(self) -> Float[np.ndarray, "*unit"]:
        """Score of each unit: summed over an example's steps, averaged over examples."""
        total = self.sums(np.zeros(len(self.values), dtype=np.int64))[0]
        return total / len(self.values)  # rows are of equally many examples

    def sums(self, group: Int[np.ndarray, " row"]) -> Float[np.ndarray, " group *unit"]:
        """Scores of each unit, summed over steps and over the rows of each group.

        Args:
            group: of each row, counted from 0.
        """
        total = np.zeros((group.max() + 1, *self.values.shape[2:]))
        for number, steps in zip(group, self.values, strict=True):
            # One at a time: the values may lie in a file.
            total[number] += steps.sum(axis=0, dtype=np.float64)
        return total


Record = TypeVar("Record", bound=ScoreRecord)


def concatenate_scores(chunks: Sequence[Record]) -> Record:
    """Join scores of consecutive examples of one graph; shorter step axes are filled with 0.

    Raises:
        AttributionError: no chunks, or chunks of different graphs.
    """
    if not chunks:
        raise AttributionError("there are no scores to join; score at least one example.")
    assert len({chunk.examples_per_shard for chunk in chunks}) == 1
    graphs = {chunk.graph for chunk in chunks}
    if len(graphs) > 1:
        raise AttributionError(f"scores of different graphs cannot be joined: {graphs}.")
    joined: dict[str, Any] = {
        name: _join([getattr(chunk, name) for chunk in chunks]) for name in _tables(chunks[0])
    }
    joined |= chunks[0].joined_steps(chunks)
    return replace(
        chunks[0],
        clusters=joined_clusters([chunk.clusters for chunk in chunks]),
        num_steps=np.concatenate([chunk.num_steps for chunk in chunks]),
        **joined,
    )


def joined_clusters(
    chunks: Sequence[Int[np.ndarray, " _"] | None],
) -> Int[np.ndarray, " example"] | None:
    """The clusters of consecutive examples of one pool, whose numbers mean the same in all."""
    known = [clusters for clusters in chunks if clusters is not None]
    assert len(known) in (0, len(chunks))
    return np.concatenate(known) if known else None


def _tables(record: ScoreRecord) -> list[str]:
    """The fields that are arrays of several axes, the first one examples or rows of them."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return [name for name, value in values.items() if np.ndim(value) > 1 and name != "step_sums"]


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All rows below each other; where second axes differ, which are steps, zeros fill them up."""
    num_rows = sum(len(part) for part in parts)
    longest = max(part.shape[1] for part in parts)
    joined = np.zeros((num_rows, longest, *parts[0].shape[2:]), np.result_type(*parts))
    start = 0
    for part in parts:
        joined[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return joined
