"""Scores that exceed memory: only single examples of them may be held."""

import tracemalloc

import numpy as np
import pytest

from mechshift.artifacts import write_artifact
from mechshift.attribution import EdgeScores
from mechshift.flat_records import read_record, record_files
from mechshift.graph import Graph
from mechshift.run.folders import SCORES

GRAPH = Graph(num_layers=8, num_heads=12, num_key_value_groups=12)
EXAMPLE_BYTES = 4 * GRAPH.num_edges
NUM_EXAMPLES = 60


@pytest.fixture
def stored(tmp_path):
    zeros = np.zeros((NUM_EXAMPLES, 1))
    values = np.random.default_rng(0).standard_normal((NUM_EXAMPLES, 1, GRAPH.num_edges))
    scores = EdgeScores(
        graph=GRAPH,
        values=values.astype(np.float32),
        num_steps=np.ones(NUM_EXAMPLES, dtype=np.int64),
        clean_metric=zeros,
        corrupted_metric=zeros,
        input_score=zeros,
    )
    graph = {"num_layers": 8, "num_heads": 12, "num_key_value_groups": 12}
    write_artifact(
        tmp_path / "arm",
        stage="scores",
        config={"graph": graph},
        inputs={},
        **vars(record_files(scores)),
    )
    return tmp_path / "arm", scores


def test_stored_scores_are_averaged_without_being_loaded(stored):
    folder, scores = stored
    tracemalloc.start()
    read = read_record(EdgeScores, folder, stage=SCORES)
    mean = read.mean()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(read.values, scores.values)
    np.testing.assert_allclose(mean, scores.values[:, 0].mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert peak < 10 * EXAMPLE_BYTES


def test_what_is_read_does_not_write_to_the_file(stored):
    folder, scores = stored
    read_record(EdgeScores, folder, stage=SCORES).values[:] = 0
    np.testing.assert_array_equal(
        read_record(EdgeScores, folder, stage=SCORES).values, scores.values
    )
