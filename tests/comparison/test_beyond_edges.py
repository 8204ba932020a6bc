"""Agreement beyond the edge sets, for models alike and unrelated."""

from dataclasses import replace

import numpy as np

from mechshift.comparison import AgreementCurve, ComparisonSettings, agreement, agreement_sizes
from mechshift.graph import Graph

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
