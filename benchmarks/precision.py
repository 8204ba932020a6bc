"""How far do edge scores of a bfloat16 model agree with those of the same weights in float32?

Sums over points, positions and heads are float32 in both, so what differs is the model's own
arithmetic. Rank agreement of the mean |score| of edges, and the overlap of the strongest ones.

    python benchmarks/precision.py --help
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import tyro
from measuring import show
from random_problem import Problem
from scipy.stats import kendalltau, spearmanr

from mechshift.attribution import eap_ig
from mechshift.circuits import select_top_edges
from mechshift.denoising import Canvas, build_canvases
from mechshift.models import LanguageModel, load_pair
from mechshift.tasks import PoolConfig, build_pool, encode_pool, load_task


@dataclass(frozen=True)
class Options:
    problem: Problem = field(
        default_factory=lambda: Problem(layers=12, heads=16, key_value_heads=4)
    )
    """The random model."""
    tasks: tuple[str, ...] = ("ioi", "greater-than", "countdown-small", "infilling")
    """Tasks of the embedded pair."""
    examples: int = 50
    edges: int = 1000
    """Of the circuits whose overlap is shown; at most a tenth of a graph."""
    threads: int = 1


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    rows = [_random_row(options), *_embedded_rows(options)]
    columns = ("", "edges", "Spearman", "Kendall", "top", "Jaccard")
    show("bfloat16 against float32, EAP-IG, logit or probability difference", columns, rows)


def _random_row(options: Options) -> Sequence[str]:
    models = [options.problem.model(dtype) for dtype in (torch.float32, torch.bfloat16)]
    canvases = options.problem.canvases(models[0])
    return _agreement("random", models, canvases, "logit_diff", options)


def _embedded_rows(options: Options) -> list[Sequence[str]]:
    precise, rounded = (load_pair("tiny", dtype=dtype) for dtype in ("float32", "bfloat16"))
    rows = []
    for name in options.tasks:
        task = load_task(name)
        config = PoolConfig(num_examples=options.examples)
        pool = build_pool(precise, task, "discovery", config)
        for models in zip(precise.models, rounded.models, strict=True):
            encoded = encode_pool(task, pool.examples, models[0])
            canvases = build_canvases(models[0], encoded, pool.schedule)
            title = f"{name}, {models[0].name}"
            rows.append(_agreement(title, models, canvases, task.metric, options))
    return rows


def _agreement(
    title: str,
    models: Sequence[LanguageModel],
    canvases: list[Canvas],
    metric: str,
    options: Options,
) -> Sequence[str]:
    graph = models[0].graph()
    size = min(options.edges, graph.num_edges // 10)
    means = []
    for model in models:
        scores = eap_ig(model, canvases, metric=metric, ig_steps=options.problem.ig_steps)
        assert scores.values.dtype == np.float32
        means.append(scores.mean())
    magnitudes = np.abs(means)
    first, second = (set(select_top_edges(graph, mean, size).edges.tolist()) for mean in means)
    return (
        title,
        f"{graph.num_edges:,}",
        f"{spearmanr(*magnitudes).statistic:.4f}",
        f"{kendalltau(*magnitudes).statistic:.4f}",
        f"{size:,}",
        f"{len(first & second) / len(first | second):.3f}",
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
