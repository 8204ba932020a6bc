"""Two models' circuits on the pool and on everything that is drawn from it, measured once.

What is drawn: bootstrap resamples of the examples, random halves of the pool and of each resample,
exchanges of the two models' examples and halves of these, and shuffles of the MDM's edges. Every
record of a comparison is made of these draws. They are drawn and measured in one go, whichever
records are asked for (`Wanted`), so that all rest on the same resamples and a row of mean scores is
made and sorted once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.edge_groups import edge_groups, order_by_draws
from mechshift.comparison import resampling
from mechshift.comparison.chosen_edges import Circuits, circuits_of, rank_rows
from mechshift.comparison.layer_sums import cross_fitted_sums, layer_sums
from mechshift.comparison.measures import (
    Measure,
    edge_measure,
    end_sums,
    mask_jaccard,
    measures_beyond_edges,
    node_measure,
)
from mechshift.comparison.measuring import (
    BLOCK_BYTES,
    BySize,
    Found,
    joined_rows,
    measured,
    most_threads,
)
from mechshift.comparison.resampling import EXCHANGE_SEED, halves_of_resamples
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.sources import Source, pool_mean
from mechshift.comparison.workers import in_order
from mechshift.graph import Graph
from mechshift.statistics import bootstrap_weights, exchange_masks, split_halves

BOTH = ((0, 1),)
"""Compared of two sets of rows: the first with the second."""

ACROSS_HALVES = ((0, 1), (2, 3), (0, 3), (1, 2))
"""Compared of ARM and MDM halves: each model with itself, and both ways across the models."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """At which circuit sizes each thing is measured; at none by default."""

    edges: tuple[int, ...] = ()
    """Likeness of the edge sets, and of one model's resamples with each other."""
    nodes: tuple[int, ...] = ()
    """Likeness of the nodes, on the pool and its resamples alone."""
    beyond: tuple[int, ...] = ()
    """Likeness beyond the edge sets, that of the nodes included."""
    shift: tuple[int, ...] = ()
    """Sums by layer, on the pool, its resamples and exchanges."""
    depth: tuple[int, ...] = ()
    """The same, also on halves, and cross-fitted."""

    def __or__(self, other: "Wanted") -> "Wanted":
        """What either asks for."""
        names = [one.name for one in fields(self)]
        return Wanted(**{n: (*getattr(self, n), *getattr(other, n)) for n in names})


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """What is measured of each row: likeness of pairs of sets, and sums by layer of each set."""

    graph: Graph
    likeness: tuple[tuple[Measure, tuple[int, ...]], ...] = ()
    """Measures, and the sizes at which each is taken."""
    pairs: tuple[tuple[int, int], ...] = BOTH
    neighbours: tuple[int, ...] = ()
    """Sizes at which the edges of a row are compared with the next row's; then the last row is
    only there for the last but one."""
    sums: tuple[int, ...] = ()
    """Sizes at which |score| is added up by layer."""
    crossed: tuple[int, ...] = ()
    """Sizes at which every two sets are cross-fitted."""

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """All of them."""
        several = (*(sizes for _, sizes in self.likeness), self.neighbours, self.sums, self.crossed)
        return tuple(sorted({size for sizes in several for size in sizes}))

    @property
    def only_sums(self) -> bool:
        return not self.neighbours and not any(sizes for _, sizes in self.likeness)

    def __call__(self, size: int, circuits: list[Circuits]) -> Found:
        """By measure [row pair]; `layers` [row set side layer_or_end], `crossed` by two sets."""
        found: Found = {}
        for measure, sizes in self.likeness:
            if size in sizes:
                pairs = [measure.of(circuits[one], circuits[two]) for one, two in self.pairs]
                found[measure.name] = np.stack(pairs, axis=1)
        if size in self.sums:
            sums = [layer_sums(self.graph, end_sums(self.graph, one)) for one in circuits]
            found["layers"] = np.stack(sums, axis=1)
        if size in self.crossed:
            twos = zip(circuits[::2], circuits[1::2], strict=True)
            found["crossed"] = np.stack(
                [cross_fitted_sums(self.graph, *two) for two in twos], axis=1
            )
        if self.neighbours:
            found = {name: values[:-1] for name, values in found.items()}
        if size in self.neighbours:
            found["neighbours"] = np.stack([_between_rows(one) for one in circuits], axis=1)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredPair:
    """Two models' scores, and what is to be measured of them on rows that are drawn."""

    graph: Graph
    arm_scores: Float[np.ndarray, "example edge"]
    mdm_scores: Float[np.ndarray, "example edge"]
    wanted: Wanted
    sources: tuple[Source, Source] = field(init=False)

    def __post_init__(self) -> None:
        both = tuple(Source(scores=scores) for scores in (self.arm_scores, self.mdm_scores))
        object.__setattr__(self, "sources", both)

    def on_pool(self) -> BySize:
        """On the mean scores of all examples; one row."""
        measures = replace(self._of_all, sums=self._summed)
        means = [pool_mean(scores) for scores in (self.arm_scores, self.mdm_scores)]
        return {size: measures(size, found) for size, found in circuits_of(means, measures.sizes)}

    def on_resamples(self, weights: Float[np.ndarray, "resample example"]) -> BySize:
        """On every resample, the same examples for both models.

        `neighbours` compares a model's resample with its next one, the last with the first. Two
        resamples stand in for two pools of this size. They disagree more than two pools would:
        each adds its own noise to that of the pool they share.
        """
        if not self.wanted.edges:
            measures = replace(self._of_all, sums=self._summed)
            return measured(self.sources, resampling.resampled(weights), measures)
        measures = replace(self._of_all, sums=self._summed, neighbours=self.wanted.edges)
        cyclic = np.concatenate([weights, weights[:1]])
        return measured(self.sources, resampling.resampled(cyclic), measures, beyond=1)

    def on_exchanges(self, swapped: Bool[np.ndarray, "exchange example"]) -> BySize:
        """On the two sides after the models traded examples."""
        drawn = resampling.exchanged(swapped, *(source.size for source in self.sources))
        return measured(self.sources, drawn, replace(self._of_draws, sums=self._summed))

    def on_halves(
        self, weights: Float[np.ndarray, "row example"], first: Bool[np.ndarray, "row example"]
    ) -> BySize:
        """On halves of the weighted examples; pairs are `ACROSS_HALVES`."""
        depth = self.wanted.depth
        measures = replace(self._of_draws, pairs=ACROSS_HALVES, sums=depth, crossed=depth)
        return measured(self.sources, resampling.halved(weights, first), measures)

    def on_exchanged_halves(
        self, swapped: Bool[np.ndarray, "exchange example"], first: Bool[np.ndarray, " example"]
    ) -> BySize:
        """Both sides cross-fitted, after exchanges within each half of the examples."""
        sources = [
            Source(scores=scores, examples=half)
            for half in (first, ~first)
            for scores in (self.arm_scores, self.mdm_scores)
        ]
        drawn = resampling.exchanged_halves(swapped, first, [source.size for source in sources])
        return measured(sources, drawn, Measures(graph=self.graph, crossed=self.wanted.depth))

    def on_shuffles(self, groups: Int[np.ndarray, " edge"], num_shuffles: int, seed: int) -> BySize:
        """With the MDM's mean scores shuffled within groups of edges."""
        measures = self._of_draws
        arm, mdm = (
            rank_rows(pool_mean(scores), measures.sizes)
            for scores in (self.arm_scores, self.mdm_scores)
        )
        by_group = np.argsort(groups, kind="stable")

        def measure(draws: Float[np.ndarray, "shuffle edge"]) -> BySize:
            orders = np.stack([order_by_draws(groups, by_group, row) for row in draws])
            sets = (arm.repeated(len(orders)), mdm.shuffled(orders))
            return {
                size: measures(size, found) for size, found in circuits_of(sets, measures.sizes)
            }

        draws = _draws(len(groups), num_shuffles, seed)
        return joined_rows(in_order(measure, draws, most=most_threads(len(groups))))

    @cached_property
    def _of_draws(self) -> Measures:
        """Likeness, on whatever is drawn."""
        wanted = self.wanted
        beyond = measures_beyond_edges(self.graph)
        by_sizes = [(edge_measure(), wanted.edges), *((one, wanted.beyond) for one in beyond)]
        return Measures(graph=self.graph, likeness=tuple(by_sizes))

    @cached_property
    def _of_all(self) -> Measures:
        """Likeness on all examples, and on as many: at more sizes of the nodes."""
        nodes = node_measure(self.graph)
        by_name = {one.name: (one, sizes) for one, sizes in self._of_draws.likeness}
        by_name[nodes.name] = (nodes, (*self.wanted.nodes, *self.wanted.beyond))
        return replace(self._of_draws, likeness=tuple(by_name.values()))

    @property
    def _summed(self) -> tuple[int, ...]:
        return (*self.wanted.shift, *self.wanted.depth)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredDraws:
    """What was measured of a pair, by circuit size and name."""

    pool: BySize
    resampled: BySize
    exchanged: BySize
    shuffled: BySize
    halves: BySize
    """Of the pool; one row per halving."""
    resampled_halves: tuple[BySize, ...]
    """For each halving of the resamples; one row per resample."""
    crossed: tuple[BySize, ...]
    """For each of the same few halvings: row 0 is the pool, the others its exchanges."""


def measure_draws(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    wanted: Wanted,
    clusters: Int[np.ndarray, " example"] | None = None,
) -> MeasuredDraws:
    """Draw everything that a comparison rests on and measure what is wanted of it.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units].
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: how much is drawn, and the seed.
        wanted: what is measured, at which circuit sizes.
        clusters: which examples are drawn together; None: each by itself.
    """
    num_examples, seed = len(arm_scores), settings.seed
    examples = num_examples if clusters is None else clusters
    pair = MeasuredPair(graph=graph, arm_scores=arm_scores, mdm_scores=mdm_scores, wanted=wanted)
    weights = bootstrap_weights(examples, settings.num_resamples, seed)
    swapped = exchange_masks(examples, settings.num_exchanges, seed + EXCHANGE_SEED)
    unswapped = np.concatenate([np.zeros((1, num_examples), dtype=bool), swapped])
    halved = bool(wanted.edges or wanted.beyond or wanted.depth)
    splits = range(settings.num_splits_per_resample if halved else 0)
    first = split_halves(examples, settings.num_splits, seed + 1) if halved else None
    return MeasuredDraws(
        pool=pair.on_pool(),
        resampled=pair.on_resamples(weights),
        exchanged=pair.on_exchanges(swapped),
        shuffled=pair.on_shuffles(edge_groups(graph), settings.num_shuffles, seed)
        if wanted.edges or wanted.beyond
        else {},
        halves={} if first is None else pair.on_halves(np.ones(first.shape), first),
        resampled_halves=tuple(
            pair.on_halves(weights, halves_of_resamples(weights, examples, seed + 2 + split))
            for split in splits
        ),
        crossed=tuple(
            pair.on_exchanged_halves(unswapped, half)
            for half in split_halves(examples, settings.num_splits_per_resample, seed + 1)
        )
        if wanted.depth
        else (),
    )


def _between_rows(circuits: Circuits) -> Float[np.ndarray, " row"]:
    """Likeness of each row's edges with the next row's."""
    return mask_jaccard(circuits.members[:-1], circuits.members[1:])


def _draws(num_edges: int, num_shuffles: int, seed: int) -> Iterator[Float[np.ndarray, "row edge"]]:
    """Random numbers for each shuffle, a few shuffles at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK_BYTES // (8 * num_edges))
    for start in range(0, num_shuffles, step):
        yield generator.random((min(step, num_shuffles - start), num_edges))
