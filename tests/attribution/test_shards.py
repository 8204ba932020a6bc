"""Shards of examples: equal to averaging by hand, and to nothing lost where nothing need be."""

import numpy as np
import pytest

from mechshift.attribution import (
    EdgeScores,
    average_over_shards,
    chunk_canvases,
    concatenate_scores,
    eap,
    source_scores,
)
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.graph import Graph
from mechshift.testing import Noise, planted_pair, random_examples, random_language_model

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
NUM_EXAMPLES = 12


def scores_of(values, num_steps, dtype=np.float64):
    values = np.asarray(values, dtype=dtype)
    metric = np.arange(values.shape[0] * values.shape[1], dtype=float).reshape(values.shape[:2])
    return EdgeScores(
        graph=GRAPH,
        values=values,
        num_steps=np.asarray(num_steps),
        clean_metric=metric,
        corrupted_metric=-metric,
        input_score=2 * metric,
    )


@pytest.fixture(scope="module")
def mdm():
    return random_language_model("llama", "mdm")


@pytest.fixture(scope="module")
def canvases(mdm):
    """Of examples that differ in length, and in their number of steps within every shard."""
    lengths = [1 + row % 3 for row in range(NUM_EXAMPLES)]
    examples = [
        random_examples(1, kind=mdm.kind, num_targets=length, suffix_length=1, seed=row)[0]
        for row, length in enumerate(lengths)
    ]
    return build_canvases(mdm, examples, left_to_right(lengths))


@pytest.fixture(scope="module")
def scored(mdm, canvases):
    return eap(mdm, canvases, metric="logit_diff", batch_size=5)


def test_a_shard_is_the_mean_of_its_examples_and_a_missing_step_counts_as_nothing():
    values = np.zeros((4, 2, GRAPH.num_edges))
    values[:, 0, 3] = 1.0, 2.0, 5.0, 7.0
    values[0, 1, 3] = 4.0  # of the first shard, only this example has a second step
    shards = average_over_shards(scores_of(values, [2, 1, 1, 1]), 2)
    assert shards.values[:, :, 3].tolist() == [[1.5, 2.0], [6.0, 0.0]]
    assert (shards.examples_per_shard, shards.num_examples) == (2, 4)
    assert shards.mean()[3] == (1 + 2 + 5 + 7 + 4) / 4


def test_only_the_scores_of_edges_are_averaged(scored):
    shards = average_over_shards(scored, 4)
    for name in ("num_steps", "clean_metric", "corrupted_metric", "input_score"):
        np.testing.assert_array_equal(getattr(shards, name), getattr(scored, name))
    np.testing.assert_array_equal(shards.completeness_gap, scored.completeness_gap)
    np.testing.assert_array_equal(source_scores(shards), source_scores(scored))
    assert shards.values.nbytes * 4 == scored.values.nbytes


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_scores_are_added_up_in_float32_in_the_order_of_examples(scored, size):
    expected = []
    for start in range(0, NUM_EXAMPLES, size):
        total = np.float32(0) * scored.values[0]
        for values in scored.values[start : start + size]:
            total = total + values
        expected.append(total / np.float32(size))
    found = average_over_shards(scored, size).values
    assert found.dtype == scored.values.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize("num_examples", [3, 6, 9, 99])
def test_shards_made_chunk_by_chunk_are_those_made_in_one_go(scored, canvases, mdm, num_examples):
    chunks = [
        average_over_shards(eap(mdm, chunk, metric="logit_diff", batch_size=5), 3)
        for chunk in chunk_canvases(canvases, num_examples)
    ]
    joined, whole = concatenate_scores(chunks), average_over_shards(scored, 3)
    # Other batches pad otherwise, as without shards.
    np.testing.assert_allclose(joined.values, whole.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(joined.by_source, whole.by_source, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(joined.num_steps, whole.num_steps)
    assert joined.examples_per_shard == 3


def test_joining_shards_changes_no_bit_of_them(scored):
    halves = [
        EdgeScores(
            graph=scored.graph,
            **{
                name: getattr(scored, name)[rows]
                for name in (
                    "values",
                    "num_steps",
                    "clean_metric",
                    "corrupted_metric",
                    "input_score",
                )
            },
        )
        for rows in (slice(0, 8), slice(8, 12))
    ]
    joined = concatenate_scores([average_over_shards(half, 4) for half in halves])
    whole = average_over_shards(scored, 4)
    np.testing.assert_array_equal(joined.values, whole.values)
    np.testing.assert_array_equal(joined.by_source, whole.by_source)


@pytest.mark.parametrize("size", [2, 5, 12])
def test_the_mean_over_shards_is_the_mean_over_examples(size):
    arm = planted_pair("identical", num_examples=60, noise=Noise(own=2.0)).arm
    shards = average_over_shards(arm, size)
    np.testing.assert_allclose(shards.mean(), arm.mean(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        shards.values.mean(axis=(0, 1)), arm.values.mean(axis=(0, 1)), rtol=0, atol=1e-12
    )


def test_shards_of_one_example_are_the_examples(scored):
    assert average_over_shards(scored, 1) is scored


def test_a_smaller_last_shard_is_refused_since_it_would_count_as_much_as_the_others():
    """Of 5 examples in shards of 2, 2 and 1, the mean over shards is not that over examples."""
    values = np.zeros((5, 1, GRAPH.num_edges))
    values[:, 0, 0] = 1.0, 1.0, 1.0, 1.0, 6.0
    shards = [values[:2], values[2:4], values[4:]]
    assert np.mean([shard.mean(axis=0)[0, 0] for shard in shards]) == pytest.approx(8 / 3)
    scores = scores_of(values, [1] * 5)
    assert scores.mean()[0] == 2
    with pytest.raises(AttributionError, match="5 examples cannot be cut into shards of 2; shards"):
        average_over_shards(scores, 2)
