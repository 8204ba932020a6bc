"""Two models' circuits on the pool and on everything that is drawn from it, measured once.

What is drawn: bootstrap resamples of the examples, random halves of the pool and of each resample,
exchanges of the two models' examples and halves of these, and shuffles of the MDM's edges. Every
record of a comparison is made of these draws. They are drawn and measured in one go, whichever
records are asked for (`Wanted`), so that all rest on the same resamples and a row of mean scores is
made and sorted once.

Wide circuits, those of more than a 64th of a large graph, need every edge of every row, which takes
a hundred times as long as the edges that can be in a small one; so do shuffles of edges, at any
size. They are for reading only: all that is tested or decided is measured at the circuit size,
which counts as narrow whatever it is, and no shuffle is needed to count shared edges
(`layout_null.py`). So they are measured on a quarter of the draws. An end of a 95 % interval then
scatters by a sixth of a standard error between two runs of other seeds, where it does by a twelfth.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce
from itertools import zip_longest

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.edge_groups import WithinGroups, edge_groups
from mechshift.comparison import resampling
from mechshift.comparison.chosen_edges import Circuits, circuits_of, rank_rows
from mechshift.comparison.layer_sums import cross_fitted_sums, layer_sums
from mechshift.comparison.layout_null import layout_overlaps
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
    TAKEN_APART,
    BySize,
    Found,
    joined_rows,
    measured,
    most_threads,
)
from mechshift.comparison.resampling import EXCHANGE_SEED, halves_of_resamples
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.sources import Source
from mechshift.comparison.workers import in_order
from mechshift.graph import Graph
from mechshift.statistics import Drawn as DrawnFrom
from mechshift.statistics import (
    bootstrap_weights,
    exchange_masks,
    split_halves,
    weights_without_blocks,
)

WIDE = 1 / 64
"""Share of a large graph's edges from which on circuits are wide."""

OF_DRAWS = 4
"""Wide circuits are measured on one in so many draws."""

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

    @property
    def sizes(self) -> frozenset[int]:
        """All of them."""
        return frozenset(size for one in fields(self) for size in getattr(self, one.name))

    def at(self, chosen: Set[int]) -> "Wanted":
        """The same at some of the sizes."""
        return Wanted(
            **{
                one.name: tuple(size for size in getattr(self, one.name) if size in chosen)
                for one in fields(self)
            }
        )


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
    sources: tuple[Source, Source]
    """Scores of the ARM and of the MDM."""
    wanted: Wanted

    @classmethod
    def of(
        cls,
        graph: Graph,
        arm_scores: Float[np.ndarray, "example edge"],
        mdm_scores: Float[np.ndarray, "example edge"],
        wanted: Wanted,
    ) -> "MeasuredPair":
        """Two models' scores on the same examples."""
        sources = Source(scores=arm_scores), Source(scores=mdm_scores)
        return cls(graph=graph, sources=sources, wanted=wanted)

    def on_pool(self) -> BySize:
        """On the mean scores of all examples; one row."""
        measures = replace(self._of_all, sums=self._summed)
        means = [source.mean for source in self.sources]
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

    def on_halves_without_blocks(
        self, weights: Float[np.ndarray, "block example"], first: Bool[np.ndarray, " example"]
    ) -> BySize:
        """Both models cross-fitted on one halving, without one block of examples in each row."""
        drawn = resampling.halved(weights, np.broadcast_to(first, weights.shape))
        return measured(self.sources, drawn, Measures(graph=self.graph, crossed=self.wanted.depth))

    def on_exchanged_halves(
        self, swapped: Bool[np.ndarray, "exchange example"], first: Bool[np.ndarray, " example"]
    ) -> BySize:
        """Both sides cross-fitted, after exchanges within each half of the examples."""
        sources = [
            Source(scores=source.scores, examples=half)
            for half in (first, ~first)
            for source in self.sources
        ]
        drawn = resampling.exchanged_halves(swapped, first, [source.size for source in sources])
        return measured(sources, drawn, Measures(graph=self.graph, crossed=self.wanted.depth))

    def on_shuffles(
        self, groups: Int[np.ndarray, " edge"], *, num_draws: int, num_orders: int, seed: int
    ) -> BySize:
        """With the MDM's mean scores shuffled within groups of edges.

        Args:
            groups: `edge_groups` of the graph.
            num_draws: numbers of shared edges that are drawn.
            num_orders: orders of all edges, in which everything else is measured.
            seed: of both.
        """
        wanted = self.wanted
        found: BySize = {size: {} for size in (*wanted.edges, *wanted.beyond)}
        generator = np.random.default_rng(seed)
        means = [source.mean for source in self.sources]
        if wanted.edges:
            for size, circuits in circuits_of(means, sorted({*wanted.edges})):
                arm, mdm = (_members_of_all(one, len(groups)) for one in circuits)
                drawn = layout_overlaps(groups, arm, mdm, num_draws, generator)
                found[size]["edges"] = drawn[:, None]
        if wanted.beyond:
            for size, measures in self._on_shuffled_edges(means, groups, num_orders, generator):
                found[size] |= measures
        return found

    def _on_shuffled_edges(
        self,
        means: Sequence[Float[np.ndarray, "1 edge"]],
        groups: Int[np.ndarray, " edge"],
        num_shuffles: int,
        generator: np.random.Generator,
    ) -> Iterator[tuple[int, Found]]:
        """What no number of shared edges tells."""
        beyond = tuple(one for one in self._of_draws.likeness if one[0].name != "edges")
        measures = replace(self._of_draws, likeness=beyond)
        arm, mdm = (rank_rows(mean, measures.sizes) for mean in means)
        within = WithinGroups.of(groups)

        def measure(draws: Float[np.ndarray, "shuffle edge"]) -> BySize:
            orders = np.stack([within.order(row) for row in draws])
            sets = (arm.repeated(len(orders)), mdm.shuffled(orders))
            return {
                size: measures(size, found) for size, found in circuits_of(sets, measures.sizes)
            }

        draws = _draws(len(groups), num_shuffles, generator)
        yield from joined_rows(in_order(measure, draws, most=most_threads(len(groups)))).items()

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
    """What was measured of a pair, by circuit size and name; of wide sizes on fewer draws."""

    examples: DrawnFrom
    """What was drawn from."""
    means: tuple[Float[np.ndarray, "1 edge"], Float[np.ndarray, "1 edge"]]
    """Mean scores of the ARM and of the MDM, which `pool` is measured of."""
    pool: BySize
    resampled: BySize
    exchanged: BySize
    shuffled: BySize
    """Fewer of these than of `edges`, of everything else in a large graph."""
    halves: BySize
    """Of the pool; one row per halving."""
    resampled_halves: tuple[BySize, ...]
    """For each halving of the resamples; one row per resample. Later ones may lack wide sizes."""
    crossed: tuple[BySize, ...]
    """For each of the same few halvings: row 0 is the pool, the others its exchanges."""
    without_blocks: tuple[BySize, ...]
    """For each of these halvings of the pool; one row for each block that is left out."""

    def joined(self, other: "MeasuredDraws") -> "MeasuredDraws":
        """With what was measured at other sizes."""
        return MeasuredDraws(
            examples=self.examples,
            means=self.means,
            pool=self.pool | other.pool,
            resampled=self.resampled | other.resampled,
            exchanged=self.exchanged | other.exchanged,
            shuffled=self.shuffled | other.shuffled,
            halves=self.halves | other.halves,
            resampled_halves=_joined(self.resampled_halves, other.resampled_halves),
            crossed=_joined(self.crossed, other.crossed),
            without_blocks=_joined(self.without_blocks, other.without_blocks),
        )


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
    examples = len(arm_scores) if clusters is None else clusters
    pair = MeasuredPair.of(graph, arm_scores, mdm_scores, wanted)
    fewer = draws_over_all_edges(graph, settings)
    wide = wide_sizes(graph, settings, wanted.sizes)
    narrow = wanted.sizes - wide
    parts = [
        _measured_draws(replace(pair, wanted=wanted.at(sizes)), examples, of_sizes)
        for sizes, of_sizes in ((narrow, settings), (wide, fewer))
        if sizes
    ]
    drawn = reduce(MeasuredDraws.joined, parts)
    if not (wanted.edges or wanted.beyond):
        return drawn
    shuffled = pair.on_shuffles(
        edge_groups(graph),
        num_draws=settings.num_shuffles,
        num_orders=fewer.num_shuffles,
        seed=settings.seed,
    )
    return replace(drawn, shuffled=shuffled)


def wide_sizes(graph: Graph, settings: ComparisonSettings, sizes: Set[int]) -> frozenset[int]:
    """Those that are measured on fewer draws, because every edge of every row is needed."""
    if graph.num_edges < TAKEN_APART:
        return frozenset()
    narrow = max(WIDE * graph.num_edges, settings.circuit_size_in(graph.num_edges))
    return frozenset(size for size in sizes if size > narrow)


def draws_over_all_edges(graph: Graph, settings: ComparisonSettings) -> ComparisonSettings:
    """How much is drawn where every edge of every row is needed; in a small graph no less."""
    if graph.num_edges < TAKEN_APART:
        return settings
    drawn = (
        "num_resamples",
        "num_splits",
        "num_splits_per_resample",
        "num_shuffles",
        "num_exchanges",
    )
    return replace(settings, **{name: -(-getattr(settings, name) // OF_DRAWS) for name in drawn})


def _measured_draws(
    pair: MeasuredPair, examples: DrawnFrom, settings: ComparisonSettings
) -> MeasuredDraws:
    """All sizes on the same draws."""
    wanted, seed = pair.wanted, settings.seed
    weights = bootstrap_weights(examples, settings.num_resamples, seed)
    swapped = exchange_masks(examples, settings.num_exchanges, seed + EXCHANGE_SEED)
    unswapped = np.concatenate([np.zeros((1, swapped.shape[1]), dtype=bool), swapped])
    without = weights_without_blocks(examples, seed)
    halved = bool(wanted.edges or wanted.beyond or wanted.depth)
    splits = range(settings.num_splits_per_resample if halved else 0)
    first = split_halves(examples, settings.num_splits, seed + 1) if halved else None
    few = split_halves(examples, settings.num_splits_per_resample, seed + 1) if wanted.depth else ()
    return MeasuredDraws(
        examples=examples,
        means=(pair.sources[0].mean, pair.sources[1].mean),
        pool=pair.on_pool(),
        resampled=pair.on_resamples(weights),
        exchanged=pair.on_exchanges(swapped),
        shuffled={},
        halves={} if first is None else pair.on_halves(np.ones(first.shape), first),
        resampled_halves=tuple(
            pair.on_halves(weights, halves_of_resamples(weights, examples, seed + 2 + split))
            for split in splits
        ),
        crossed=tuple(pair.on_exchanged_halves(unswapped, half) for half in few),
        without_blocks=tuple(pair.on_halves_without_blocks(without, half) for half in few),
    )


def _joined(narrow: Sequence[BySize], wide: Sequence[BySize]) -> tuple[BySize, ...]:
    """Halving by halving, of which there are fewer of the wide sizes."""
    nothing: BySize = {}
    return tuple(one | other for one, other in zip_longest(narrow, wide, fillvalue=nothing))


def _between_rows(circuits: Circuits) -> Float[np.ndarray, " row"]:
    """Likeness of each row's edges with the next row's."""
    return mask_jaccard(circuits.members[:-1], circuits.members[1:])


def _members_of_all(circuits: Circuits, num_edges: int) -> Bool[np.ndarray, " edge"]:
    """Which edges of the graph the only row's circuit holds."""
    members = np.zeros(num_edges, dtype=bool)
    members[circuits.edges] = circuits.members[0]
    return members


def _draws(
    num_edges: int, num_shuffles: int, generator: np.random.Generator
) -> Iterator[Float[np.ndarray, "row edge"]]:
    """Random numbers for each shuffle, a few shuffles at a time."""
    step = max(1, BLOCK_BYTES // (8 * num_edges))
    for start in range(0, num_shuffles, step):
        yield generator.random((min(step, num_shuffles - start), num_edges))
