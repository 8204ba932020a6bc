from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import (
    HYPOTHESES,
    ComparisonSettings,
    CorrectedTest,
    compare,
    corrected_tests,
)
from mechshift.errors import ComparisonError
from mechshift.statistics import holm
from mechshift.testing import Noise, planted_pair


def test_every_hypothesis_is_corrected_over_tasks(quick: ComparisonSettings) -> None:
    settings = replace(quick, circuit_size=10, sizes=(10,))
    found = []
    for task, plant in (("same", "identical"), ("other", "rewired"), ("earlier", "moved")):
        pair = planted_pair(plant, num_examples=40)
        found.append(compare(task, pair.arm, pair.mdm, settings))
    tests = {test.name: test for test in corrected_tests(found)}
    assert set(tests) == set(HYPOTHESES)
    for test in tests.values():
        assert test.tasks == ("same", "other", "earlier")
        np.testing.assert_array_equal(test.adjusted_p, holm(test.p))
    smallest = 1 / (quick.num_exchanges + 1)
    edges = tests["edges_noise"]
    np.testing.assert_allclose(edges.p[1:], smallest)
    np.testing.assert_allclose(edges.adjusted_p[1:], 3 * smallest)
    assert edges.rejected.tolist() == [False, True, True]
    moved = found[2].circuit_depth.source
    assert tests["centre_of_mass"].p[2] == moved.centre_of_mass_p
    assert tests["profile_distance"].p[2] == moved.distance.noise_p
    overlap = found[2].overlap
    assert edges.statistic[2] == overlap.edges.value[overlap.index_of(10)]
    nodes = found[2].agreement.nodes
    assert tests["nodes_noise"].statistic[2] == nodes.value.value[0]


def test_what_is_tested_of_a_shift_without_noise_is_the_shift_that_was_planted(
    quick: ComparisonSettings,
) -> None:
    """Two layers earlier; ten edges that write in the first layers of six instead of the middle."""
    pair = planted_pair("moved", num_examples=20, noise=Noise(own=0.0))
    settings = replace(quick, circuit_size=10, sizes=(10,))
    comparison = compare("earlier", pair.arm, pair.mdm, settings)
    tests = {test.name: test for test in corrected_tests([comparison])}
    assert tests["centre_of_mass"].statistic[0] == pytest.approx(-2)
    assert tests["profile_distance"].statistic[0] == pytest.approx(2)
    shift = comparison.circuit_depth.source.thirds_shift.value[0]
    assert tests["early_share"].statistic[0] == pytest.approx(shift)
    assert shift > 0.1
    assert tests["edges_noise"].statistic[0] == 0


def test_a_test_without_a_p_value_rejects_nothing() -> None:
    test = CorrectedTest(
        name="rank_noise",
        hypothesis="the same order",
        statistic_name="correlation",
        tasks=("ioi", "infilling", "countdown"),
        statistic=np.array([0.5, np.nan, 0.5]),
        p=np.array([0.01, np.nan, 0.04]),
        adjusted_p=np.array([0.02, np.nan, 0.1]),
        level=0.9,
    )
    assert test.rejected.tolist() == [True, False, True]


def test_tests_are_corrected_at_one_level(quick: ComparisonSettings) -> None:
    pair = planted_pair("identical", num_examples=12)
    found = [
        compare(task, pair.arm, pair.mdm, replace(quick, level=level))
        for task, level in (("ioi", 0.9), ("infilling", 0.95))
    ]
    with pytest.raises(ComparisonError, match=r"at one level, not at \[0.9, 0.95\]"):
        corrected_tests(found)


def test_tests_are_corrected_over_different_tasks(quick: ComparisonSettings) -> None:
    pair = planted_pair("identical", num_examples=12)
    one = compare("ioi", pair.arm, pair.mdm, quick)
    with pytest.raises(ComparisonError, match=r"each compared once, not \['ioi', 'ioi'\]"):
        corrected_tests([one, one])
    with pytest.raises(ComparisonError, match=r"not \[\]"):
        corrected_tests([])
