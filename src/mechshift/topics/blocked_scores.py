"""Scores and flow of a member, summed over blocks of candidates, of which any can be left out.

For `on_candidates`. Sums are made once; the rows of a population, with or without a block, are then
rows of scores like any other (`comparison.candidates.Blocks.rows`).
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from jaxtyping import Float64

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.attribution.position_flow_record import TABLES as FLOW_TABLES
from mechshift.comparison import (
    VALUE,
    Blocks,
    ComparisonSettings,
    Population,
    summed_over_steps,
)
from mechshift.errors import ComparisonError
from mechshift.topics.by_template import MemberOnExamples

NUM_SPLITS = 25
"""Halvings of the examples behind a number: they are the same with and without a block and for all
populations, so that what fewer of them make of it cancels in errors and in differences."""

METRICS = ("clean_metric", "corrupted_metric", "input_score")


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSums:
    """Scores of one model, summed over each block; common examples first."""

    scores: EdgeScores
    """Of the common examples, for its graph."""
    edges: Float64[np.ndarray, "stratum=2 block edge"]
    metrics: Float64[np.ndarray, "stratum=2 block metric=3"]
    """In the order of `METRICS`, summed over steps."""

    def rows(self, blocks: Blocks, population: Population, without: int | None) -> EdgeScores:
        """Scores whose mean over rows is that of a population, of one step.

        Raises:
            ComparisonError: none of it is scored.
        """
        edges = blocks.rows(self.edges, population, without)
        metrics = blocks.rows(self.metrics, population, without)
        return EdgeScores(
            graph=self.scores.graph,
            values=edges[:, None].astype(np.float32),
            num_steps=np.ones(len(edges), dtype=np.int64),
            clean_metric=metrics[:, :1],
            corrupted_metric=metrics[:, 1:2],
            input_score=metrics[:, 2:],
        )


def block_sums(blocks: Blocks, common: EdgeScores, others: EdgeScores) -> BlockSums:
    """Of a model's scores; those of common examples may be means over shards, equally large ones.

    Metrics are those of examples always, and their means over the same shards are taken.
    """

    def metrics(scores: EdgeScores) -> Float64[np.ndarray, "row metric=3"]:
        columns = [getattr(scores, name).sum(axis=1, dtype=np.float64) for name in METRICS]
        return mean_of_shards(np.stack(columns, axis=1), scores.examples_per_shard)

    assert others.examples_per_shard == 1
    return BlockSums(
        scores=common,
        edges=blocks.sums(summed_over_steps(common), summed_over_steps(others)),
        metrics=blocks.sums(metrics(common), metrics(others)),
    )


def mean_of_shards(
    numbers: Float64[np.ndarray, "example number"], examples_per_shard: int
) -> Float64[np.ndarray, "row number"]:
    """Means over consecutive examples, as many as a shard of scores holds."""
    rows = numbers.reshape(-1, examples_per_shard, numbers.shape[1])
    return np.asarray(rows.mean(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowSums:
    """Flow of one model over the whole text, summed over steps and over each block."""

    flow: PositionFlow
    """Of the common examples (`PositionFlow.of_whole_text`), for the shapes of its parts."""
    numbers: Float64[np.ndarray, "stratum=2 block number"]
    """All parts side by side, in the order of `FLOW_TABLES`; common examples first."""

    def rows(self, blocks: Blocks, population: Population, without: int | None) -> PositionFlow:
        """Flow whose mean over rows is that of a population.

        Raises:
            ComparisonError: none of it is scored.
        """
        rows = blocks.rows(self.numbers, population, without)
        shapes = [getattr(self.flow, name).shape[1:] for name in FLOW_TABLES]
        ends = np.cumsum([prod(shape) for shape in shapes])
        parts = {
            name: part.reshape(-1, *shape)
            for name, part, shape in zip(
                FLOW_TABLES, np.split(rows, ends[:-1], axis=1), shapes, strict=True
            )
        }
        num_steps = np.ones(len(rows), dtype=np.int64)
        spans = self.flow.spans
        return replace(self.flow, spans=spans, num_steps=num_steps, clusters=None, **parts)


def flow_sums(
    blocks: Blocks, common: PositionFlow, others: PositionFlow, examples_per_shard: int
) -> FlowSums:
    """Of a model's flow; of common examples as many are averaged as a shard of scores holds."""
    whole = common.of_whole_text()

    def numbers(flow: PositionFlow) -> Float64[np.ndarray, "example number"]:
        parts = [getattr(flow, name).reshape(flow.num_examples, -1) for name in FLOW_TABLES]
        return np.concatenate(parts, axis=1)

    rows = mean_of_shards(numbers(whole), examples_per_shard)
    return FlowSums(flow=whole, numbers=blocks.sums(rows, numbers(others.of_whole_text())))


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockedPair:
    """The ARM and another member on blocks of candidates."""

    name: str
    """Of the other one."""
    blocks: Blocks
    arm: BlockSums
    other: BlockSums
    flows: tuple[FlowSums, FlowSums] | None
    """Of both; None where one was not traced, of common examples or of the others."""
    settings: ComparisonSettings

    def on(self, population: Population, without: int | None) -> MemberOnExamples | None:
        """Both on some population, without a block; None where none of it is scored."""
        try:
            arm, other = (
                one.rows(self.blocks, population, without) for one in (self.arm, self.other)
            )
            flows = None
            if self.flows is not None:
                arm_flow, other_flow = self.flows
                flows = (
                    arm_flow.rows(self.blocks, population, without),
                    other_flow.rows(self.blocks, population, without),
                )
        except ComparisonError:
            return None
        settings = replace(
            self.settings,
            num_resamples=1,
            num_splits=min(self.settings.num_splits, NUM_SPLITS),
            num_splits_per_resample=1,
            num_exchanges=1,
            num_shuffles=1,
        )
        return MemberOnExamples(
            task=self.name,
            settings=settings,
            scored=(arm, other),
            flows=flows,
            effort=VALUE,
            name=self.name,
        )
