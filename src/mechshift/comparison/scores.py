"""What a comparison needs to know about one model's edge scores.

`mechshift.attribution.EdgeScores` is one such record; the comparison asks only for its fields.
"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.errors import ComparisonError
from mechshift.graph import Graph

Unit = Literal["example", "shard"]
"""What one row of scores is: an example, or the mean over a shard, a few examples that were added
up because single ones would not fit into memory. Shards hold equally many examples. Scores are
resampled by rows, so intervals stay honest as long as enough rows are left."""

SHARD_NOTE = (
    "Scores came as means over shards of examples: every resample, half and exchange moves whole"
    " shards."
)


def unit_notes(unit: Unit) -> tuple[str, ...]:
    """What a reader of a record must know about its rows."""
    return (SHARD_NOTE,) if unit == "shard" else ()


@runtime_checkable
class Scores(Protocol):
    """Edge scores of one model on one task."""

    @property
    def graph(self) -> Graph:
        """The computation graph whose edges are scored."""

    @property
    def values(self) -> Float[np.ndarray, "row step edge"]:
        """Score [metric units]; positive: corrupting this edge hurts. 0 beyond `num_steps`."""

    @property
    def examples_per_shard(self) -> int:
        """Consecutive examples of which a row of values is the mean; 1: a row is an example."""

    @property
    def num_steps(self) -> Int[np.ndarray, " example"]:
        """Denoising steps of each example."""

    @property
    def clean_metric(self) -> Float[np.ndarray, "example step"]:
        """Metric on the clean prompt."""

    @property
    def corrupted_metric(self) -> Float[np.ndarray, "example step"]:
        """Metric on the corrupted prompt."""

    @property
    def input_score(self) -> Float[np.ndarray, "example step"]:
        """Sum over destinations of the score of `input -> destination`."""


def unit_of(scores: Scores) -> Unit:
    """What a row of these scores is."""
    return "example" if scores.examples_per_shard == 1 else "shard"


def rows_with_step(scores: Scores) -> Bool[np.ndarray, "row step"]:
    """Which rows have each step: of a shard, one of its examples at least."""
    has_step = examples_with_step(scores)
    grouped = has_step.reshape(-1, scores.examples_per_shard, has_step.shape[1])
    return np.asarray(grouped.any(axis=1))


def examples_with_step(scores: Scores) -> Bool[np.ndarray, "example step"]:
    """Which examples have each step."""
    num_steps: Int[np.ndarray, "example one"] = scores.num_steps[:, None]
    has_step: Bool[np.ndarray, "example step"] = np.arange(scores.values.shape[1]) < num_steps
    return has_step


def check_same_examples(arm: Scores, mdm: Scores) -> None:
    """Refuse two sets of scores that do not share graph and examples.

    Raises:
        ComparisonError: graphs, numbers of examples or shards differ, or an example has no step.
    """
    if arm.graph != mdm.graph:
        raise ComparisonError(
            f"the ARM's graph ({_shape(arm.graph)}) is not the MDM's ({_shape(mdm.graph)});"
            " edges can be compared by name only within one architecture."
        )
    if len(arm.num_steps) != len(mdm.num_steps):
        raise ComparisonError(
            f"the ARM was scored on {len(arm.num_steps)} examples and the MDM on"
            f" {len(mdm.num_steps)}; score both on the same pool."
        )
    if arm.examples_per_shard != mdm.examples_per_shard:
        raise ComparisonError(
            f"the ARM's scores are means over {arm.examples_per_shard} examples each and the MDM's"
            f" over {mdm.examples_per_shard}; pair them by scoring both with the same"
            " examples_per_shard."
        )
    for name, scores in (("ARM", arm), ("MDM", mdm)):
        num_without = int((scores.num_steps < 1).sum())
        if num_without:
            raise ComparisonError(f"{num_without} examples of the {name} have no denoising step.")
        if scores.num_steps.max() != scores.values.shape[1]:
            raise ComparisonError(
                f"the {name}'s scores have {scores.values.shape[1]} steps, but no example has more"
                f" than {scores.num_steps.max()}."
            )


def _shape(graph: Graph) -> str:
    return (
        f"{graph.num_layers} layers, {graph.num_heads} heads,"
        f" {graph.num_key_value_groups} KV groups"
    )
