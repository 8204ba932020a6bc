"""How long does it take to make the graph of a published model, and how much memory does it hold?

A graph is arrays over its edges; nothing of the model is loaded.

    python benchmarks/graphs.py --help
"""

import time
import tracemalloc
from dataclasses import dataclass

import tyro
from measuring import show

from mechshift.graph import Graph

SHAPES = {"GPT-2": (12, 12), "Qwen2.5-7B": (28, 28), "LLaMA-2-7B": (32, 32)}
"""Layers and query heads."""

ARRAYS = ("edge_source", "edge_destination", "edge_offset", "num_parents")
"""What the stages ask of a graph."""


@dataclass(frozen=True)
class Options:
    rounds: int = 7


def main(options: Options) -> None:
    rows = []
    for name, (layers, heads) in SHAPES.items():
        seconds = min(build(layers, heads).seconds for _ in range(options.rounds))
        tracemalloc.start()
        built = build(layers, heads)
        held, peak = (size / 1e6 for size in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        rows.append((name, f"{built.num_edges:,}", f"{seconds:.3f}", f"{held:.1f}", f"{peak:.1f}"))
    show("Graphs, ungrouped", ("", "edges", "seconds", "held MB", "peak MB"), rows)


@dataclass(frozen=True)
class Built:
    graph: Graph
    seconds: float
    num_edges: int


def build(layers: int, heads: int) -> Built:
    start = time.perf_counter()
    graph = Graph(num_layers=layers, num_heads=heads, num_key_value_groups=heads)
    for name in ARRAYS:
        getattr(graph, name)
    return Built(graph, time.perf_counter() - start, graph.num_edges)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
