"""How long does it take to compare two models' scores, and how far is that from the least?

The scores are heavy-tailed noise on the edges of a real model's graph: what they say is nothing,
what they cost is what real ones do. The least that a comparison needs is each of these once
(`Least`), as the products, partitions and sorts that it is made of, timed here at their own shapes:

1. Every score, to know which edges can be in a circuit.
2. Rows of mean scores, over these edges alone where they are few, and one partition of each: of
   resamples and halves for both models, of exchanges and their halves for both sides.
3. Rows over all edges, each ranked, and random orders of all edges, on a quarter of the draws in a
   large graph; the orders of the null of node strengths on all.
4. The noise-free overlap: sums over blocks, two rows for each pair of halves, and what its
   simulations draw.
5. Likeness by weight: products of all pairs of examples.

What is added up over a circuit's edges, how circuits are told apart, and the making of what is
needed for several sizes at once does not count.

`compare` is what is measured of the MDM, `shift` what is measured of a control: the overlap and
depth of circuits of one size. Seconds are the processor's, all threads together, beside those of a
clock; memory is the process's peak, the scores included.

    python benchmarks/comparison.py --help
"""

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import tyro
from jaxtyping import Int
from measuring import seconds_of, show

from mechshift.attribution import EdgeScores
from mechshift.circuits.edge_groups import WithinGroups, edge_groups
from mechshift.comparison import (
    ComparisonSettings,
    circuit_shift,
    compare,
    draws_over_all_edges,
    mean_scores,
    noise_free,
    overlap_sizes,
    resampling,
    summed_over_steps,
)
from mechshift.comparison.draws import WIDE
from mechshift.comparison.screening import candidates
from mechshift.comparison.sources import COLUMNS, Source
from mechshift.graph import Graph
from mechshift.statistics import NUM_BLOCKS, bootstrap_weights, exchange_masks, split_halves

Shape = Literal["embedded pair", "SmolLM2-135M", "Qwen2.5-7B", "LLaMA-2-7B"]

SHAPES: dict[Shape, tuple[int, int]] = {
    "embedded pair": (6, 4),
    "SmolLM2-135M": (30, 9),
    "Qwen2.5-7B": (28, 28),
    "LLaMA-2-7B": (32, 32),
}
"""Layers and query heads, by number of edges."""


@dataclass(frozen=True)
class Options:
    shapes: tuple[Shape, ...] = ("embedded pair", "SmolLM2-135M")
    """Of these models; from small to large, since the peak of memory never falls again."""
    num_examples: int = 500
    share: float = 1.0
    """Of the default numbers of resamples, exchanges, shuffles and halvings of the pool."""
    seed: int = 0


def main(options: Options) -> None:
    default, share = ComparisonSettings(), options.share
    counts = ("num_resamples", "num_shuffles", "num_exchanges", "num_splits")
    drawn = {name: max(1, round(share * getattr(default, name))) for name in counts}
    settings = replace(default, seed=options.seed, **drawn)
    rows, parts = [], []
    for name in options.shapes:
        layers, heads = SHAPES[name]
        graph = Graph(num_layers=layers, num_heads=heads, num_key_value_groups=heads)
        arm, mdm = (drawn_scores(graph, options, model) for model in range(2))
        pair = Pair.of((arm, mdm))
        for title, method in (("compare", compare), ("shift", circuit_shift)):
            least = least_of(pair, settings, whole=method is compare)
            clock, processor = seconds_of(lambda: method(name, arm, mdm, settings))  # noqa: B023
            rows.append(
                (
                    f"{name}, {title}",
                    f"{graph.num_edges:,}",
                    f"{processor:.1f}",
                    f"{clock:.1f}",
                    f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}",
                    f"{least.seconds:.1f}",
                    f"{processor / least.seconds:.1f}",
                )
            )
            parts.append((f"{name}, {title}", *(f"{one:.1f}" for one in vars(least).values())))
    title = f"Comparing {options.num_examples} examples' scores, {settings.num_resamples} resamples"
    columns = ("", "edges", "processor s", "clock s", "peak GiB", "least s", "x least")
    show(title, columns, rows)
    names = (one.name.replace("_", " ") for one in fields(Least))
    show("Its least, part by part [processor seconds]", ("", *names), parts)


@dataclass(frozen=True)
class Pair:
    """Two models' scores on one graph."""

    graph: Graph
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, scores: Sequence[EdgeScores]) -> "Pair":
        """Scores of both, summed over steps."""
        sources = tuple(Source(scores=summed_over_steps(one)) for one in scores)
        return cls(graph=scores[0].graph, sources=sources)


def drawn_scores(graph: Graph, options: Options, model: int) -> EdgeScores:
    """Edges of one strength in both models, and noise of each example."""
    strength = np.random.default_rng(options.seed).standard_t(1.5, size=graph.num_edges)
    noise = np.random.default_rng((options.seed, model))
    values = np.empty((options.num_examples, 1, graph.num_edges), dtype=np.float32)
    for example in values[:, 0]:
        example[:] = strength * (1 + noise.normal(size=len(strength)))
        example += 0.1 * noise.normal(size=len(strength))
    ones = np.ones((len(values), 1))
    return EdgeScores(
        graph=graph,
        values=values,
        num_steps=np.ones(len(values), dtype=int),
        clean_metric=ones,
        corrupted_metric=0 * ones,
        input_score=ones,
    )


@dataclass(frozen=True)
class Least:
    """What a comparison needs at the least, by its part [processor seconds]."""

    reading: float
    """Every score of both models once, squared and added up: what is screened by."""
    candidates: float
    """Rows of mean scores over the edges that can be in a circuit, made and partitioned once."""
    all_edges: float
    """Rows over all edges, made and ranked once, and random orders of all edges."""
    noise_free: float
    """Sums over blocks; rows of these over candidates; the random numbers of simulations."""
    by_weight: float
    """Products of all pairs of examples, two of the three symmetric."""

    @property
    def seconds(self) -> float:
        return sum(vars(self).values())


def least_of(pair: Pair, settings: ComparisonSettings, *, whole: bool) -> Least:
    """The least of `compare`, or of `circuit_shift`."""
    graph, sources = pair.graph, pair.sources
    size = settings.circuit_size_in(graph.num_edges)
    small = draws_over_all_edges(graph, settings) == settings
    largest = size
    if whole and not small:
        sizes = overlap_sizes(settings, graph.num_edges)
        largest = max(size, *(one for one in sizes if one <= WIDE * graph.num_edges))
    columns = (lambda *_: slice(None)) if small else candidates
    rows = drawn_rows(settings)
    samples = sampled_rows(pair, settings)
    of_rows = {
        kind: count
        * seconds_of_rows(samples[kind], largest if kind != "crossed" else size, columns)
        for kind, count in rows.items()
    }
    halved = 0.0
    if whole:  # the shift on both halves of the examples
        half = tuple(Source(scores=one.scores[: len(one.scores) // 2]) for one in sources)
        drawn = resampling.resampled(bootstrap_weights(len(half[0].scores), SAMPLED, settings.seed))
        num_rows = 2 * (settings.num_resamples + settings.num_exchanges)
        halved = num_rows * seconds_of_rows((half, drawn), size, columns)
    return Least(
        reading=seconds_of(lambda: [Source(scores=one.scores).spread for one in sources])[1],
        candidates=sum(of_rows.values()) + halved,
        all_edges=all_edge_seconds(pair, settings, small=small) if whole else 0.0,
        noise_free=noise_free_seconds(pair, size, columns, settings.seed),
        by_weight=by_weight_seconds(pair),
    )


SAMPLED = 64
"""Rows of which the time of a row is taken."""

Rows = tuple[tuple[Source, ...], resampling.Drawn]
Columns = Callable[..., slice | Int[np.ndarray, " edge"]]


def drawn_rows(settings: ComparisonSettings) -> dict[str, int]:
    """How many rows one size is measured on, of both models, by what is drawn."""
    splits = settings.num_splits_per_resample
    return {
        "resamples": settings.num_resamples,
        "halves": settings.num_splits + splits * (settings.num_resamples + NUM_BLOCKS),
        "exchanges": settings.num_exchanges,
        "crossed": splits * (1 + settings.num_exchanges),
    }


def sampled_rows(pair: Pair, settings: ComparisonSettings) -> dict[str, Rows]:
    """A few rows of each kind."""
    count, seed, sources = len(pair.sources[0].scores), settings.seed, pair.sources
    weights = bootstrap_weights(count, SAMPLED, seed)
    swapped = exchange_masks(count, SAMPLED, seed)
    (half,) = split_halves(count, 1, seed)
    of_halves = tuple(
        Source(scores=one.scores[chosen]) for chosen in (half, ~half) for one in sources
    )
    first = resampling.halves_of_resamples(weights, count, seed)
    sizes = [one.size for one in (*sources, *of_halves)]
    return {
        "resamples": (sources, resampling.resampled(weights)),
        "halves": (sources, resampling.halved(weights, first)),
        "exchanges": (sources, resampling.exchanged(swapped, *sizes[:2])),
        "crossed": (of_halves, resampling.exchanged_halves(swapped, half, sizes[2:])),
    }


def seconds_of_rows(rows: Rows, size: int, columns: Columns) -> float:
    """One row of every set: made, and the circuit found by one partition."""
    sources, drawn = rows
    few = columns(sources, drawn, size)
    scores = [source.take(few) for source in sources]

    def made_and_partitioned() -> None:
        for one in drawn:
            means = np.abs(one.of(scores))
            np.partition(means, max(0, means.shape[1] - size), axis=1)

    return best_of(made_and_partitioned) / SAMPLED


def all_edge_seconds(pair: Pair, settings: ComparisonSettings, *, small: bool) -> float:
    """Ranks of all edges in every row, sums of cross-fitted ones, and orders within groups."""
    fewer = draws_over_all_edges(pair.graph, settings)
    rows, edges = drawn_rows(fewer), pair.graph.num_edges
    scores = pair.sources[0].scores
    weights = np.random.default_rng(settings.seed).random((SAMPLED, len(scores)))
    keys = np.random.default_rng(settings.seed).integers(2**62, size=edges, dtype=np.uint64)
    product = best_of(lambda: mean_scores(weights, scores)) / SAMPLED
    ranking = best_of(lambda: np.sort(keys))
    within = WithinGroups.of(edge_groups(pair.graph))
    generator = np.random.default_rng(settings.seed)
    order = best_of(lambda: within.order(generator.random(edges)))
    values = generator.random(edges)
    partition = best_of(lambda: np.partition(values, edges - 1))
    num_ranked = 2 * (rows["resamples"] + rows["exchanges"]) + 4 * rows["halves"]
    # In a small graph rows were made and counted already.
    made = 0 if small else num_ranked + 4 * rows["crossed"]
    orders = fewer.num_shuffles * order + settings.num_shuffles * (order + partition)
    return made * product + num_ranked * ranking + orders


def noise_free_seconds(pair: Pair, size: int, columns: Columns, seed: int) -> float:
    """Sums over blocks for each dealing, rows of such sums, and what simulations draw."""
    count, effort = len(pair.sources[0].scores), noise_free.WHOLE
    num_blocks = min(effort.num_blocks, count)
    block = np.arange(count) % num_blocks
    scores = [one.scores for one in pair.sources]
    _, dealing = seconds_of(lambda: [noise_free.block_sums(one, block) for one in scores])
    blocks = tuple(Source(scores=noise_free.block_sums(one, block)) for one in scores)
    halves = np.random.default_rng(seed).random((SAMPLED, num_blocks)) < 0.5
    drawn = resampling.resampled(halves.astype(np.float64))
    of_two = seconds_of_rows((blocks, drawn), size, columns)
    few = columns(blocks, drawn, size)
    num_few = pair.graph.num_edges if isinstance(few, slice) else len(few)
    generator = np.random.default_rng(seed)
    normal = best_of(lambda: generator.normal(size=num_few))
    simulated = 2 * num_blocks * effort.num_simulations * normal
    return effort.num_deals * dealing + noise_free.NOISE_FREE_ROWS / 2 * of_two + simulated


def by_weight_seconds(pair: Pair) -> float:
    """Products of both models' scores with themselves and with each other, in float64."""
    few = slice(0, min(COLUMNS, pair.graph.num_edges))
    arm, mdm = (one.take(few).astype(np.float64) for one in pair.sources)
    ranges = pair.graph.num_edges / arm.shape[1]
    return ranges * best_of(lambda: (arm @ arm.T, mdm @ mdm.T, arm @ mdm.T))


def best_of(work: Callable[[], object]) -> float:
    """Processor seconds, the best of three."""
    return min(seconds_of(work)[1] for _ in range(3))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
