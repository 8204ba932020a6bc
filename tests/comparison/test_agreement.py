"""Agreement beyond edges, with ceilings, nulls and p-values; and scores that come as shards."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import average_over_shards
from mechshift.comparison import AgreementCurve, ComparisonSettings, agreement, compare
from mechshift.comparison.settings import agreement_sizes
from mechshift.graph import Graph
from mechshift.testing import Noise, planted_pair

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
NAMES = ("nodes", "weighted", "rank", "sign")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, GRAPH.num_edges))


def test_the_sizes_are_the_circuits_three_times_it_and_all_edges() -> None:
    settings = ComparisonSettings(circuit_size=40)
    assert agreement_sizes(settings, 1000) == (40, 120, 1000)
    assert agreement_sizes(settings, 100) == (40, 100)
    assert agreement_sizes(settings, 40) == (40,)


def test_a_model_agrees_with_itself_and_no_test_says_otherwise(quick: ComparisonSettings) -> None:
    scores = normal(0) + 0.3 * normal(1, 20)
    found = agreement(GRAPH, scores, 4 * scores, quick)
    for name in NAMES:
        curve: AgreementCurve = getattr(found, name)
        np.testing.assert_allclose(curve.value.value, 1)
        np.testing.assert_allclose(curve.ratio.value, 1)
        np.testing.assert_array_equal(curve.noise_p, 1)
    assert (found.rank.ceiling_arm.value < 1).all()


def test_unrelated_models_agree_no_more_than_layout_makes_them(quick: ComparisonSettings) -> None:
    arm, mdm = (normal(seed) + 0.1 * normal(seed + 10, 30) for seed in (2, 3))
    found = agreement(GRAPH, arm, mdm, replace(quick, num_shuffles=400, num_exchanges=100))
    for name in ("weighted", "rank"):
        curve: AgreementCurve = getattr(found, name)
        assert (curve.layout_p > 0.05 / 6).all(), name  # two measures of three sizes
        assert (curve.noise_p < 0.02).all(), name
        assert (curve.ratio.high < 1).all(), name


def test_the_union_of_unrelated_circuits_is_anticorrelated_and_its_null_says_so(
    quick: ComparisonSettings,
) -> None:
    found = agreement(GRAPH, normal(4, 1).repeat(12, 0), normal(5, 1).repeat(12, 0), quick)
    assert found.rank.value.value[0] < -0.2
    assert found.rank.null.value[0] < -0.2
    assert abs(found.rank.null.value[-1]) < 0.2


def test_undefined_agreement_is_noted(quick: ComparisonSettings) -> None:
    arm, mdm = np.zeros((2, 12, GRAPH.num_edges))
    arm[:, :3], mdm[:, 3:6] = [1, 2, 3], [3, 2, 1]
    found = agreement(GRAPH, arm, mdm, replace(quick, circuit_size=3))
    assert np.isnan(found.sign.value.value[0]) and np.isnan(found.sign.noise_p[0])
    assert (
        "Circuits of 3, 9, 100 edges: the circuits share no edge; no sign agreement." in found.notes
    )


def test_shards_give_the_same_numbers_as_their_examples_and_say_what_they_are(
    quick: ComparisonSettings,
) -> None:
    pair = planted_pair("identical", num_examples=120, noise=Noise(own=2.0), seed=5)
    settings = replace(quick, circuit_size=10, num_resamples=200, num_splits=60)
    whole = compare("ioi", pair.arm, pair.mdm, settings)
    shards = [average_over_shards(one, 4) for one in (pair.arm, pair.mdm)]
    found = compare("ioi", *shards, settings)
    assert (found.unit, found.num_examples, found.examples_per_shard) == ("shard", 30, 4)
    assert (whole.unit, whole.num_examples, whole.examples_per_shard) == ("example", 120, 1)
    assert found.overlap.unit == found.agreement.unit == found.circuit_depth.unit == "shard"
    assert found.size_sweep.unit == found.half_sweep.unit == found.step_sweep.unit == "shard"
    for record in (found.overlap, found.agreement):
        assert record.notes[0].startswith("Scores came as means over shards of examples")
    assert not any("shards" in note for note in whole.overlap.notes)
    np.testing.assert_allclose(found.overlap.edges.value, whole.overlap.edges.value)
    np.testing.assert_allclose(found.arm_scores, whole.arm_scores)
    # Half of the shards is half of the examples, so ceilings are those of single examples.
    index = whole.overlap.index_of(10)
    assert found.overlap.ceiling_arm.value[index] == pytest.approx(
        whole.overlap.ceiling_arm.value[index], abs=0.06
    )
