"""The memory that comparing is planned to take, held against what it takes."""

import tracemalloc

import numpy as np
import pytest

from mechshift.attribution import EdgeScores, average_over_shards
from mechshift.comparison import ComparisonSettings, compare, resampling
from mechshift.graph import Graph
from mechshift.run.planning import comparing
from mechshift.run.planning.comparing import comparison_bytes

GRAPH = Graph(num_layers=6, num_heads=8, num_key_value_groups=8)
SETTINGS = ComparisonSettings(
    num_resamples=20, num_splits=4, num_splits_per_resample=1, num_shuffles=4, num_exchanges=20
)


def random_scores(seed, num_examples, num_steps):
    shape = (num_examples, num_steps)
    values = np.random.default_rng(seed).standard_normal((*shape, GRAPH.num_edges))
    return EdgeScores(
        graph=GRAPH,
        values=values.astype(np.float32),
        num_steps=np.full(num_examples, num_steps),
        clean_metric=np.ones(shape),
        corrupted_metric=np.zeros(shape),
        input_score=np.ones(shape),
    )


@pytest.mark.parametrize(("num_steps", "per_shard"), [(2, 1), (2, 10)])
def test_a_comparison_takes_what_is_planned_and_little_less(num_steps, per_shard, monkeypatch):
    """In pieces of 17 resamples, as of a graph of Dream-7B's size."""
    for module in (resampling, comparing):
        monkeypatch.setattr(module, "CHUNK_BYTES", 17 * 8 * GRAPH.num_edges)
    pair = [average_over_shards(random_scores(seed, 240, num_steps), per_shard) for seed in (0, 1)]
    tracemalloc.start()
    compare("t", *pair, SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    planned = comparison_bytes(GRAPH, 240 // per_shard, SETTINGS)
    assert 0.8 * planned < peak <= planned


def test_shards_take_so_many_times_less_beside_the_pieces_of_resamples():
    graph = Graph(num_layers=28, num_heads=28, num_key_value_groups=28)
    settings = ComparisonSettings()
    whole, fifth, none = (comparison_bytes(graph, rows, settings) for rows in (500, 100, 0))
    assert whole - none == 4 * 500 * graph.num_edges * 4
    assert whole - none == 5 * (fifth - none)
