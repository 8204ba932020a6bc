"""Tests corrected over tasks, and comparisons lined up by their number of steps."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import (
    HYPOTHESES,
    ComparisonSettings,
    CorrectedTest,
    circuit_shift,
    compare,
    corrected_tests,
    sweep_over_num_steps,
)
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Interval, holm
from mechshift.testing import Noise, planted_pair

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def pools(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.normal(size=(2, GRAPH.num_edges))
    noise = 0.3 * generator.normal(size=(2, *shape, GRAPH.num_edges))
    return tuple(truth + draws for truth, draws in zip(truths, noise, strict=True))


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


def test_comparisons_line_up_by_their_number_of_steps(
    edge_scores, quick: ComparisonSettings
) -> None:
    def compared(seed: int, num_steps: int, task: str = "countdown"):
        scores = (edge_scores(GRAPH, one) for one in pools(seed, 20, num_steps))
        return compare(task, *scores, quick)

    four, one = compared(4, 4), compared(5, 1)
    found = sweep_over_num_steps({4: four, 1: one})
    assert found.depth.points.tolist() == [1, 4]
    for point, comparison in enumerate((one, four)):
        index = comparison.overlap.index_of(comparison.circuit_size)
        assert found.overlap.value[point] == comparison.overlap.edges.value[index]
        assert found.noise_p[point] == comparison.overlap.noise_p[index]
        shift = comparison.circuit_depth.source.centre_of_mass_shift
        assert found.depth.source.centre_of_mass.value[point] == shift.value
        assert found.depth.source.centre_of_mass.low[point] == shift.interval.low
        for side in ("source", "destination"):
            crossed = getattr(comparison.circuit_depth, side).cross_fitted
            np.testing.assert_array_equal(getattr(found, side).high[point], crossed.high)
    assert found.effective_number is None
    with pytest.raises(ComparisonError, match=r"must have one task, not \['countdown', 'ioi'\]"):
        sweep_over_num_steps({4: four, 1: compared(5, 1, "ioi")})
    with pytest.raises(ComparisonError, match="needs at least one comparison"):
        sweep_over_num_steps({})


def test_comparisons_of_the_compared_size_alone_line_up_with_their_concentration(
    edge_scores, quick: ComparisonSettings
) -> None:
    """`circuit_shift` measures less than `compare`, and the sweep says the same of both."""
    scores = [edge_scores(GRAPH, one) for one in pools(4, 20, 2)]
    lean, full = circuit_shift("countdown", *scores, quick), compare("countdown", *scores, quick)
    spread = Estimate(value=2.0, interval=Interval(low=1.0, high=4.0, level=0.95))
    found = sweep_over_num_steps({2: lean}, {2: spread})
    expected = sweep_over_num_steps({2: full})
    assert found.ratio.value == pytest.approx(expected.ratio.value)
    np.testing.assert_allclose(found.source.value, expected.source.value)
    assert found.depth.num_examples.tolist() == [20]
    assert found.effective_number is not None
    assert [float(getattr(found.effective_number, name)[0]) for name in ("value", "low")] == [2, 1]
    with pytest.raises(ComparisonError, match=r"at \[4\] steps do not belong to .* at \[2\] steps"):
        sweep_over_num_steps({2: lean}, {4: spread})
