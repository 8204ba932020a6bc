"""Laws of clusters: near-copies of an example add nothing, wherever they stand in the pool."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from mechshift.comparison import (
    ComparisonSettings,
    circuit_stability,
    compare,
    depth_profile,
    overlap_curve,
    sweep_over_halves,
    sweep_over_sizes,
)
from mechshift.comparison.draws import MeasuredPair, Wanted
from mechshift.comparison.scores import check_same_examples, drawn_rows, row_clusters
from mechshift.errors import ComparisonError
from mechshift.evaluation import FaithfulnessCurve
from mechshift.graph import Graph
from mechshift.statistics import split_halves
from mechshift.testing import planted_pair

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)

SETTINGS = ComparisonSettings(
    circuit_size=8,
    sizes=(4, 8),
    num_resamples=60,
    num_splits=6,
    num_splits_per_resample=2,
    num_shuffles=5,
    num_exchanges=20,
)

CLUSTERS = np.repeat(np.arange(12), [2, 4, 6] * 4)


def clustered(generator, clusters, num_edges, correlation, effects=0.0):
    """Scores whose examples are alike within a cluster to this degree."""
    shared = generator.normal(size=(clusters.max() + 1, num_edges))[clusters]
    own = generator.normal(size=(len(clusters), num_edges))
    return effects + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own


@pytest.fixture(scope="module")
def pair():
    generator = np.random.default_rng(0)
    effects = generator.standard_t(2, size=GRAPH.num_edges)
    return [clustered(generator, CLUSTERS, GRAPH.num_edges, 0.5, effects) for _ in range(2)]


def numbers_of(record):
    """Every array of a record of dataclasses, but those that say how many examples there are."""
    if isinstance(record, np.ndarray):
        return [record] if record.dtype.kind == "f" else []
    if not is_dataclass(record):
        return []
    named = [getattr(record, field.name) for field in fields(record)]
    return [array for value in named for array in numbers_of(value)]


MEASURES = {
    "overlap": overlap_curve,
    "depth": lambda *given, **named: depth_profile(*given, scope="circuit", **named),
    "sizes": sweep_over_sizes,
    "halves": sweep_over_halves,
}


def assert_same_numbers(one, other):
    ours, theirs = numbers_of(one), numbers_of(other)
    assert len(ours) == len(theirs) > 3
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
def test_doubling_every_example_within_its_cluster_changes_no_number(pair, measure):
    once = measure(GRAPH, *pair, SETTINGS, clusters=CLUSTERS)
    twice = measure(
        GRAPH,
        *(np.repeat(scores, 2, axis=0) for scores in pair),
        SETTINGS,
        clusters=np.repeat(CLUSTERS, 2),
    )
    assert_same_numbers(once, twice)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
def test_examples_may_stand_in_any_order_and_clusters_have_any_ascending_numbers(pair, measure):
    order = np.random.default_rng(1).permutation(len(CLUSTERS))
    given = measure(GRAPH, *pair, SETTINGS, clusters=CLUSTERS)
    moved = measure(
        GRAPH, *(scores[order] for scores in pair), SETTINGS, clusters=5 * CLUSTERS[order] + 3
    )
    assert_same_numbers(given, moved)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
def test_examples_that_share_no_cluster_are_compared_as_without_clusters(pair, measure):
    alone = measure(GRAPH, *pair, SETTINGS)
    assert_same_numbers(alone, measure(GRAPH, *pair, SETTINGS, clusters=np.arange(len(CLUSTERS))))


def test_an_interval_of_faithfulness_is_that_of_the_clusters():
    generator = np.random.default_rng(2)
    # Alike within a cluster, so that more examples of it say nothing.
    metric = generator.normal(2.0, 1.0, size=(2, 12))[:, CLUSTERS]
    empty = generator.normal(size=12)[CLUSTERS]
    curve = FaithfulnessCurve(
        sizes=np.array([1, 2]),
        num_edges=4,
        metric=metric,
        full=generator.normal(5.0, 1.0, size=12)[CLUSTERS],
        empty=empty,
        clusters=CLUSTERS,
    )
    twice = replace(
        curve,
        metric=np.repeat(metric, 2, axis=1),
        full=np.repeat(curve.full, 2),
        empty=np.repeat(empty, 2),
        clusters=np.repeat(CLUSTERS, 2),
    )
    one, other = curve.interval(), twice.interval()
    np.testing.assert_allclose(one.low, other.low)
    np.testing.assert_allclose(one.high, other.high)
    narrow = replace(twice, clusters=None).interval()
    assert (narrow.high - narrow.low < other.high - other.low).all()


def ratio_of_identical_models(clusters, drawn, num_tables=12, num_edges=400, size=40):
    """Mean ratio to the ceiling of two models of one circuit, whose noise is correlated."""
    generator, ratios = np.random.default_rng(3), []
    for table in range(num_tables):
        effects = 0.5 * generator.standard_t(2, size=num_edges)
        measured = MeasuredPair.of(
            arm_scores=clustered(generator, clusters, num_edges, 0.6, effects),
            mdm_scores=clustered(generator, clusters, num_edges, 0.6, effects),
            graph=GRAPH,
            wanted=Wanted(edges=(size,)),
        )
        first = split_halves(drawn, 20, seed=table)
        found = measured.on_halves(np.ones(first.shape), first)[size]["edges"]
        arm, mdm, one_way, other_way = found.mean(axis=0)
        ratios.append((one_way + other_way) / 2 / np.sqrt(arm * mdm))
    return float(np.mean(ratios))


def test_identical_models_read_a_ratio_of_one_where_whole_clusters_are_halved():
    """26 clusters of 8 examples with a correlation of .6. Halving examples reads far less."""
    clusters = np.repeat(np.arange(26), 8)
    assert ratio_of_identical_models(clusters, clusters) == pytest.approx(1.0, abs=0.03)
    assert ratio_of_identical_models(clusters, len(clusters)) < 0.9


def test_stability_resamples_whole_clusters():
    """Twice the examples in the same clusters are no more evidence."""
    pair = planted_pair("moved")
    scores = [replace(one, clusters=np.arange(one.num_examples)) for one in (pair.arm, pair.mdm)]

    def doubled(clusters):
        twice = [
            replace(
                one,
                values=np.repeat(one.values, 2, axis=0),
                num_steps=np.repeat(one.num_steps, 2),
                clean_metric=np.repeat(one.clean_metric, 2, axis=0),
                corrupted_metric=np.repeat(one.corrupted_metric, 2, axis=0),
                input_score=np.repeat(one.input_score, 2, axis=0),
                clusters=clusters,
            )
            for one in scores
        ]
        return circuit_stability(*twice, SETTINGS)

    once = circuit_stability(*scores, SETTINGS)
    num_examples = scores[0].num_examples
    same = doubled(np.repeat(np.arange(num_examples), 2))
    np.testing.assert_allclose(same.arm, once.arm)
    np.testing.assert_array_equal(same.edges, once.edges)
    apart = doubled(np.arange(2 * num_examples))
    assert apart.arm.shape != once.arm.shape or (apart.arm != once.arm).any()


def test_shards_that_share_a_cluster_move_together():
    pair = planted_pair("identical")
    num_examples = pair.arm.num_examples
    own = np.arange(num_examples)
    shared = np.where(np.isin(own, (1, 4)), 1, own)  # the second and the fifth example
    scores = replace(
        pair.arm,
        values=pair.arm.values[::2],
        examples_per_shard=2,
        clusters=shared,
        by_source=np.zeros((num_examples, pair.arm.graph.num_sources)),
    )
    rows = row_clusters(scores)
    assert rows[0] == rows[2] and len(np.unique(rows)) == num_examples // 2 - 1
    np.testing.assert_array_equal(row_clusters(replace(pair.arm, clusters=None)), own)


def test_rows_of_one_cluster_are_drawn_one_by_one_and_count_as_one_cluster():
    pair = planted_pair("identical")
    one = np.zeros(pair.arm.num_examples, dtype=np.int64)
    arm, mdm = (replace(scores, clusters=one) for scores in (pair.arm, pair.mdm))
    np.testing.assert_array_equal(drawn_rows(arm), np.arange(pair.arm.num_examples))
    settings = ComparisonSettings(
        circuit_size=10, num_resamples=20, num_splits=4, num_shuffles=5, num_exchanges=5
    )
    found = compare("one", arm, mdm, settings)
    assert found.num_clusters == 1
    alone = compare("one", pair.arm, pair.mdm, settings)
    np.testing.assert_array_equal(found.overlap.ratio.low, alone.overlap.ratio.low)


def test_scores_in_other_clusters_are_refused():
    pair = planted_pair("identical")
    other = replace(pair.mdm, clusters=np.zeros(pair.mdm.num_examples, dtype=np.int64))
    with pytest.raises(ComparisonError, match="not in the clusters of the MDM's"):
        check_same_examples(pair.arm, other)
