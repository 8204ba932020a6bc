"""What a comparison needs to know about one model's edge scores.

`mechshift.attribution.EdgeScores` is one such record; the comparison asks only for its fields.
"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from mechshift.errors import ComparisonError
from mechshift.graph import Graph

Unit = Literal["example", "shard"]
"""What one row of scores is: an example, or the mean over a shard, a few examples that were added
up because single ones would not fit into memory. Shards hold equally many examples, and the
examples of one shard have equally many steps. Everything is resampled by rows, so intervals stay
honest as long as enough rows are left."""

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
    def values(self) -> Float[np.ndarray, "example step edge"]:
        """Score [metric units]; positive: corrupting this edge hurts. 0 beyond `num_steps`."""

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


def check_same_examples(arm: Scores, mdm: Scores) -> None:
    """Refuse two sets of scores that do not share graph and examples.

    Raises:
        ComparisonError: graphs or numbers of examples differ, or an example has no step.
    """
    if arm.graph != mdm.graph:
        raise ComparisonError(
            f"the ARM's graph ({_shape(arm.graph)}) is not the MDM's ({_shape(mdm.graph)});"
            " edges can be compared by name only within one architecture."
        )
    if len(arm.values) != len(mdm.values):
        raise ComparisonError(
            f"the ARM was scored on {len(arm.values)} examples and the MDM on {len(mdm.values)};"
            " score both on the same pool."
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
