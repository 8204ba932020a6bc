"""How long does it take to compare two models' scores, and how far is that from the least?

The scores are heavy-tailed noise on the edges of a real model's graph: what they say is nothing,
what they cost is what real ones do. The least that a comparison needs is every set of mean scores
once, sorted once: of resamples and of their halves for both models, of exchanges of examples and of
their halves for both sides. In a large graph these are of the edges alone that can be in a circuit
of at most a 64th of the edges (or of the circuit size, for `shift`), and of all edges, with
shuffles of them, on a quarter of the draws.

`compare` is what is measured of the MDM, `shift` what is measured of a control: the overlap and
depth of circuits of one size. Seconds are the processor's, all threads together, beside those of a
clock; memory is the process's peak, the scores included.

    python benchmarks/comparison.py --help
"""

import resource
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import tyro
from jaxtyping import Float
from measuring import seconds_of, show

from mechshift.attribution import EdgeScores
from mechshift.comparison import (
    ComparisonSettings,
    circuit_shift,
    compare,
    draws_over_all_edges,
    mean_scores,
    overlap_sizes,
)
from mechshift.comparison.draws import WIDE
from mechshift.comparison.resampling import MeanRows
from mechshift.comparison.screening import candidates
from mechshift.comparison.sources import Source
from mechshift.graph import Graph
from mechshift.statistics import bootstrap_weights

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
    rows = []
    for name in options.shapes:
        layers, heads = SHAPES[name]
        graph = Graph(num_layers=layers, num_heads=heads, num_key_value_groups=heads)
        arm, mdm = (drawn_scores(graph, options, model) for model in range(2))
        for title, method in (("compare", compare), ("shift", circuit_shift)):
            least = least_seconds(graph, arm.values[:, 0], settings, whole=method is compare)
            clock, processor = seconds_of(lambda: method(name, arm, mdm, settings))  # noqa: B023
            rows.append(
                (
                    f"{name}, {title}",
                    f"{graph.num_edges:,}",
                    f"{processor:.1f}",
                    f"{clock:.1f}",
                    f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}",
                    f"{least:.1f}",
                    f"{processor / least:.1f}",
                )
            )
    title = f"Comparing {options.num_examples} examples' scores, {settings.num_resamples} resamples"
    columns = ("", "edges", "processor s", "clock s", "peak GiB", "least s", "x least")
    show(title, columns, rows)


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


def least_seconds(
    graph: Graph,
    scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    whole: bool,
) -> float:
    """Every row of mean scores once, sorted once [processor seconds]."""
    rows = num_mean_rows(settings)
    fewer = draws_over_all_edges(graph, settings)
    if fewer == settings:  # a small graph
        return (rows + settings.num_shuffles) * seconds_of_a_row(scores, settings.seed)
    size = settings.circuit_size_in(graph.num_edges)
    if whole:
        sizes = overlap_sizes(settings, graph.num_edges)
        size = max(size, *(one for one in sizes if one <= WIDE * graph.num_edges))
    weights = bootstrap_weights(len(scores), settings.num_resamples, settings.seed)
    drawn = (MeanRows(weights={0: weights}),)
    few = candidates([Source(scores=scores)], drawn, size)
    least = rows * seconds_of_a_row(scores[:, few], settings.seed)
    if whole:
        of_all = num_mean_rows(fewer) + fewer.num_shuffles
        least += of_all * seconds_of_a_row(scores, settings.seed)
    return least


def num_mean_rows(settings: ComparisonSettings) -> int:
    """Sets of mean scores that one size is measured on."""
    splits = settings.num_splits_per_resample
    resamples = settings.num_resamples * (1 + 2 * splits) + 2 * settings.num_splits
    exchanges = settings.num_exchanges * (1 + 2 * splits)
    return 2 * resamples + 2 * exchanges


def seconds_of_a_row(scores: Float[np.ndarray, "example edge"], seed: int) -> float:
    """One set of mean scores, made and sorted [processor seconds]; the best of a few blocks."""
    weights = np.random.default_rng(seed).random((64, len(scores)))

    def row_by_row() -> None:
        for mean in mean_scores(weights, scores):
            np.sort(mean)

    return min(seconds_of(row_by_row)[1] for _ in range(3)) / len(weights)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
