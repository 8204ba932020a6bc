"""Scores and flow of one model, as a comparison reads them, and what it refuses.

`mechshift.attribution.EdgeScores` and `PositionFlow` are such records; the comparison asks only for
their fields, which are NumPy arrays, so that it needs no torch.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import cluster_columns, num_clusters

Unit = Literal["example", "shard"]
"""One row of scores: an example, or the mean over a shard, a few examples that were added up
because single ones would not fit into memory. Shards hold equally many examples. Scores are
resampled by clusters of rows, so intervals stay honest as long as enough clusters are left."""

MIN_EXAMPLES = 10
"""Fewer examples leave nothing to resample or to halve."""

SHARD_NOTE = (
    "Scores came as means over shards of examples: every resample, half and exchange moves whole"
    " shards, and shards that hold examples of one cluster move together."
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
    def values(self) -> Float[np.ndarray, "row stored_step edge"]:
        """Score [metric units]; positive: corrupting this edge hurts. 0 beyond `num_steps`.

        One step where scores are summed over them.
        """

    @property
    def step_sums(self) -> Float[np.ndarray, "group step edge"] | None:
        """Scores at each step, summed over groups of rows; None where `values` are not summed."""

    @property
    def step_groups(self) -> Int[np.ndarray, " row"] | None:
        """Number of each row's group; None as above."""

    @property
    def examples_per_shard(self) -> int:
        """Consecutive examples of which a row of values is the mean; 1: a row is an example."""

    @property
    def clusters(self) -> Int[np.ndarray, " example"] | None:
        """Number of each example's cluster; None: every example is a cluster of its own."""

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


@runtime_checkable
class Flow(Protocol):
    """Flow of one model between spans of the text, on one task; 0 beyond `num_steps`."""

    @property
    def spans(self) -> tuple[str, ...]:
        """Names along the span axes; the last ones are `axes.GENERAL_SPANS`."""

    @property
    def clusters(self) -> Int[np.ndarray, " example"] | None:
        """Number of each example's cluster; None: every example is a cluster of its own."""

    @property
    def num_steps(self) -> Int[np.ndarray, " example"]:
        """Denoising steps of each example."""

    @property
    def num_examples(self) -> int:
        """How many there are."""

    @property
    def num_layers(self) -> int:
        """Of the model."""

    @property
    def clean_metric(self) -> Float[np.ndarray, "example step"]:
        """Metric on the clean prompt."""

    @property
    def by_direction(self) -> Float[np.ndarray, "example step layer flow_kind direction"]:
        """Summed |flow| over k and over v by `axes.DIRECTIONS` [metric units]."""

    @property
    def net(self) -> Float[np.ndarray, "example step layer flow_kind query_span source_span"]:
        """Summed signed flow from one span to another."""

    @property
    def magnitude(self) -> Float[np.ndarray, "example step layer flow_kind query_span source_span"]:
        """Summed |flow| from one span to another."""

    @property
    def into_readers(self) -> Float[np.ndarray, "example step layer flow_kind source_span"]:
        """Summed |flow| into the positions whose logits are scored."""

    @property
    def magnitude_at(self) -> Float[np.ndarray, "example step layer position_kind span"]:
        """Summed |score| of the edges into a layer's q, k, v and MLP, by the span they read in."""

    @property
    def logits_magnitude_at(self) -> Float[np.ndarray, "example step span"]:
        """The same for `logits`."""


def unit_of(scores: Scores) -> Unit:
    """What a row of these scores is."""
    return "example" if scores.examples_per_shard == 1 else "shard"


def summed_over_steps(scores: Scores) -> Float[np.ndarray, "row edge"]:
    """Scores of each row, summed over denoising steps; of a single step no copy is made."""
    if scores.values.shape[1] == 1:
        return scores.values[:, 0]
    return scores.values.sum(axis=1)


def example_clusters(scores: Scores | Flow) -> Int[np.ndarray, " example"]:
    """Number of each example's cluster."""
    if scores.clusters is None:
        return np.arange(len(scores.num_steps))
    return scores.clusters


def row_clusters(scores: Scores) -> Int[np.ndarray, " row"]:
    """Number of the cluster that each row moves with: shards that share a cluster are one."""
    return shard_clusters(example_clusters(scores), scores.examples_per_shard)


def shard_clusters(
    clusters: Int[np.ndarray, " example"], examples_per_shard: int
) -> Int[np.ndarray, " row"]:
    """Number of the cluster that each shard moves with, from the clusters of its examples."""
    if examples_per_shard == 1:
        return clusters
    of_example, count = cluster_columns(clusters)
    shard = np.arange(len(clusters)) // examples_per_shard
    holds = sparse.csr_array(
        (np.ones(len(shard)), (shard, of_example)), shape=(shard[-1] + 1, count)
    )
    joined: Int[np.ndarray, " row"] = connected_components(holds @ holds.T, directed=False)[1]
    return joined.astype(np.int64)


def drawn_rows(scores: Scores) -> Int[np.ndarray, " row"]:
    """Numbers of what is drawn together: clusters of rows, or single rows where all are of one.

    Of one cluster nothing could be drawn. Rows are, to have intervals at all; but the clusters that
    are counted stay one, and so few decide nothing.
    """
    return drawn_together(row_clusters(scores))


def drawn_together(clusters: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """These clusters, or single rows where all are of one."""
    return clusters if num_clusters(clusters) > 1 else np.arange(len(clusters))


def has_one_step(scores: Scores) -> bool:
    """Whether every example has one step, so that scores summed over steps are that step's."""
    return scores.clean_metric.shape[1] == 1


def rows_with_step(scores: Scores) -> Bool[np.ndarray, "row step"]:
    """Which rows have each step: of a shard, one of its examples at least."""
    has_step = examples_with_step(scores)
    grouped = has_step.reshape(-1, scores.examples_per_shard, has_step.shape[1])
    return np.asarray(grouped.any(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class StepScores:
    """Scores of one model at one denoising step."""

    values: Float[np.ndarray, "unit edge"]
    """Of every row that has the step, or sums over groups of rows; the mean up to a factor."""
    clusters: Int[np.ndarray, " unit"]
    """Numbers of what is drawn together."""


def scores_at_step(
    scores: Scores, step: int, rows: Bool[np.ndarray, " row"] | None = None
) -> StepScores:
    """The scores at a step that some row has.

    Args:
        scores: of one model.
        step: which.
        rows: those that are asked for; by default all that have it.

    Raises:
        ComparisonError: of scores with several steps the sum alone was kept.
    """
    if scores.step_sums is None and scores.values.shape[1] < scores.clean_metric.shape[1]:
        raise ComparisonError(
            f"of these scores with {scores.clean_metric.shape[1]} denoising steps the sum alone was"
            " kept, as of a control: compare them with circuit_shift, or score them with"
            " --attribution.steps each."
        )
    has_step = rows_with_step(scores)[:, step] if rows is None else rows
    if scores.step_sums is None:
        # All rows are looked at where they lie: a copy is as large as a pool's scores.
        chosen = slice(None) if has_step.all() else has_step
        return StepScores(values=scores.values[chosen, step], clusters=drawn_rows(scores)[has_step])
    assert scores.step_groups is not None
    present = np.unique(np.unique(scores.step_groups, return_inverse=True)[1][has_step])
    chosen = slice(None) if len(present) == len(scores.step_sums) else present
    return StepScores(values=scores.step_sums[chosen, step], clusters=present)


def examples_with_step(scores: Scores) -> Bool[np.ndarray, "example step"]:
    """Which examples have each step."""
    num_steps: Int[np.ndarray, "example one"] = scores.num_steps[:, None]
    has_step: Bool[np.ndarray, "example step"] = np.arange(scores.clean_metric.shape[1]) < num_steps
    return has_step


def check_scores(
    arm_scores: Float[np.ndarray, "arm_example arm_edge"],
    mdm_scores: Float[np.ndarray, "mdm_example mdm_edge"],
    unit: Unit,
) -> None:
    """Refuse score arrays that do not describe the same examples, or shards, and edges.

    Raises:
        ComparisonError: shapes differ, there are too few examples, or a score is not finite.
    """
    if arm_scores.shape != mdm_scores.shape:
        raise ComparisonError(
            f"the ARM's scores [example, edge] have shape {arm_scores.shape} and the MDM's"
            f" {mdm_scores.shape}; both models must be scored on the same examples and graph."
        )
    if len(arm_scores) < MIN_EXAMPLES:
        raise ComparisonError(
            f"{len(arm_scores)} {unit}s are too few to say how certain a comparison is;"
            f" use a pool of at least {MIN_EXAMPLES} {unit}s."
        )
    for name, scores in (("ARM", arm_scores), ("MDM", mdm_scores)):
        if not all(np.isfinite(row).all() for row in scores):  # no array as large as the scores
            raise ComparisonError(f"the {name}'s edge scores hold NaN or infinity.")
        if not any(row.any() for row in scores):
            raise ComparisonError(
                f"every edge score of the {name} is exactly zero: nothing to compare. Check that"
                " its metric differs between clean and corrupted prompts."
            )


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
    if not np.array_equal(example_clusters(arm), example_clusters(mdm)):
        raise ComparisonError(
            "the ARM's examples are not in the clusters of the MDM's; score both on the same pool."
        )
    for name, scores in (("ARM", arm), ("MDM", mdm)):
        num_without = int((scores.num_steps < 1).sum())
        if num_without:
            raise ComparisonError(f"{num_without} examples of the {name} have no denoising step.")
        if scores.num_steps.max() != scores.clean_metric.shape[1]:
            raise ComparisonError(
                f"the {name}'s scores have {scores.clean_metric.shape[1]} steps, but no example has"
                f" more than {scores.num_steps.max()}."
            )


def _shape(graph: Graph) -> str:
    return (
        f"{graph.num_layers} layers, {graph.num_heads} heads,"
        f" {graph.num_key_value_groups} KV groups"
    )
