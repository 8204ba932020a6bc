"""How long does it take to compare two models' scores, and how far is that from the least?

The scores are heavy-tailed noise on the edges of a real model's graph: what they say is nothing,
what they cost is what real ones do. The least that a comparison needs is every set of mean scores
once, sorted once: of resamples and of their halves for both models, of exchanges of examples and of
their halves for both sides, and of shuffles.

    python benchmarks/comparison.py --help
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tyro
from jaxtyping import Float
from measuring import show

from mechshift.attribution import EdgeScores
from mechshift.comparison import ComparisonSettings, compare, mean_scores
from mechshift.graph import Graph

SHAPES: dict[Literal["embedded pair", "SmolLM2-135M"], tuple[int, int]] = {
    "embedded pair": (6, 4),
    "SmolLM2-135M": (30, 9),
}
"""Layers and query heads."""


@dataclass(frozen=True)
class Options:
    shapes: tuple[Literal["embedded pair", "SmolLM2-135M"], ...] = tuple(SHAPES)
    """Of these models."""
    num_examples: int = 60
    num_resamples: int = 100
    """Of examples; exchanges and shuffles are as many, halvings a tenth."""
    seed: int = 0


def main(options: Options) -> None:
    count = options.num_resamples
    settings = ComparisonSettings(
        num_resamples=count,
        num_shuffles=count,
        num_exchanges=count,
        num_splits=max(1, count // 10),
        seed=options.seed,
    )
    rows = []
    for name in options.shapes:
        layers, heads = SHAPES[name]
        graph = Graph(num_layers=layers, num_heads=heads, num_key_value_groups=heads)
        arm, mdm = (drawn_scores(graph, options, model) for model in range(2))
        start = time.perf_counter()
        compare(name, arm, mdm, settings)
        seconds = time.perf_counter() - start
        least = num_mean_rows(settings) * seconds_of_a_row(arm.values[:, 0], options.seed)
        rows.append(
            (
                name,
                f"{graph.num_edges:,}",
                f"{num_mean_rows(settings):,}",
                f"{seconds:.1f}",
                f"{least:.1f}",
                f"{seconds / least:.1f}",
            )
        )
    title = f"Comparing {options.num_examples} examples' scores, {count:,} resamples"
    show(title, ("", "edges", "mean rows", "seconds", "least", "x least"), rows)


def drawn_scores(graph: Graph, options: Options, model: int) -> EdgeScores:
    """Edges of one strength in both models, and noise of each example."""
    strength = np.random.default_rng(options.seed).standard_t(1.5, size=graph.num_edges)
    noise = np.random.default_rng((options.seed, model))
    shape = (options.num_examples, graph.num_edges)
    values = strength * (1 + noise.normal(size=shape)) + 0.1 * noise.normal(size=shape)
    return EdgeScores(
        graph=graph,
        values=values[:, None].astype(np.float32),
        num_steps=np.ones(len(values), dtype=int),
        clean_metric=np.ones((len(values), 1)),
        corrupted_metric=np.zeros((len(values), 1)),
        input_score=np.ones((len(values), 1)),
    )


def num_mean_rows(settings: ComparisonSettings) -> int:
    """Sets of mean scores that a comparison is made from."""
    splits = settings.num_splits_per_resample
    resamples = settings.num_resamples * (1 + 2 * splits) + 2 * settings.num_splits
    exchanges = settings.num_exchanges * (1 + 2 * splits)
    return 2 * resamples + 2 * exchanges + settings.num_shuffles


def seconds_of_a_row(scores: Float[np.ndarray, "example edge"], seed: int) -> float:
    """One set of mean scores, made and sorted; the best of a few blocks of them."""
    weights = np.random.default_rng(seed).random((32, len(scores)))
    best = np.inf
    for _ in range(7):
        start = time.perf_counter()
        np.sort(mean_scores(weights, scores), axis=1)
        best = min(best, time.perf_counter() - start)
    return best / len(weights)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
