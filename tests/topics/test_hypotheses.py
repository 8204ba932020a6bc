"""Tests over tasks: Holm's correction by hand, and the words beside it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, compare
from mechshift.errors import ComparisonError
from mechshift.page.formats import Cell
from mechshift.statistics import holm
from mechshift.testing import Noise, planted_pair
from mechshift.topics import registry  # pytest takes `tests_over` by itself for a test
from mechshift.topics.hypotheses import (
    CorrectedTest,
    corrected_frame,
    corrected_table,
    corrected_tests,
)
from mechshift.topics.topic import TaskResults, Test

TESTS = [test for topic in registry.TOPICS for test in topic.tests]

QUICK = ComparisonSettings(
    num_resamples=60,
    num_splits=20,
    num_splits_per_resample=2,
    num_shuffles=20,
    num_exchanges=60,
    circuit_size=10,
    sizes=(10,),
)

WORDS = {
    "Edges, beyond layout": "the circuits share no more edges than their layers and edge types make"
    " them",
    "Edges, beyond node strengths": "the circuits share no more edges than the strengths of their"
    " nodes, their layers and edge types make them",
    "Edges, beyond noise": "the circuits differ in their edges by no more than sampling noise",
    "Nodes": "they differ in their nodes' scores by no more than sampling noise",
    "Weights": "they differ in their edges' weights by no more than sampling noise",
    "Order": "they differ in the order of their edges by no more than sampling noise",
    "Signs": "their common edges differ in sign by no more than sampling noise",
    "Early share": "the early layers write the same share of both circuits",
    "Centre of mass": "the centre of mass, by writing layer, did not move",
    "Depth profile": "the profiles, by writing layer, differ by no more than sampling noise",
}
"""Title of each test -> what a small p-value speaks against."""

Planted = Callable[..., TaskResults]


def with_edges_noise_p(task: TaskResults, p: float) -> TaskResults:
    overlap = task.comparison.overlap
    overlap = replace(overlap, noise_p=np.full(len(overlap.sizes), p))
    return replace(task, comparison=replace(task.comparison, overlap=overlap))


@pytest.fixture
def two(planted: Planted) -> tuple[TaskResults, ...]:
    """P-values of 0.02 and 0.04; by Holm 2 x 0.02 and 1 x 0.04."""
    return with_edges_noise_p(planted("moved"), 0.02), with_edges_noise_p(planted("rewired"), 0.04)


def by_name(tests: tuple[CorrectedTest, ...]) -> dict[str, CorrectedTest]:
    return {one.test.name: one for one in tests}


def test_every_hypothesis_is_corrected_over_tasks() -> None:
    found = []
    for task, plant in (("same", "identical"), ("other", "rewired"), ("earlier", "moved")):
        pair = planted_pair(plant, num_examples=40)
        found.append(compare(task, pair.arm, pair.mdm, QUICK))
    tests = by_name(corrected_tests(TESTS, found))
    assert list(tests) == [
        "edges_layout",
        "edges_strength",
        "edges_noise",
        "nodes_noise",
        "weighted_noise",
        "rank_noise",
        "sign_noise",
        "early_share",
        "centre_of_mass",
        "profile_distance",
    ]
    for test in tests.values():
        assert test.tasks == ("same", "other", "earlier")
        np.testing.assert_array_equal(test.adjusted_p, holm(test.p))
    smallest = 1 / (QUICK.num_exchanges + 1)
    edges = tests["edges_noise"]
    np.testing.assert_allclose(edges.p[1:], smallest)
    np.testing.assert_allclose(edges.adjusted_p[1:], 3 * smallest)
    assert edges.rejected.tolist() == [False, True, True]
    moved = found[2].circuit_depth.source
    assert tests["centre_of_mass"].p[2] == moved.centre_of_mass_p
    assert tests["early_share"].p[2] == moved.thirds_p[0]
    assert tests["profile_distance"].p[2] == moved.distance.noise_p
    overlap = found[2].overlap
    assert edges.statistic[2] == overlap.edges.value[overlap.index_of(10)]
    assert tests["edges_layout"].p[2] == overlap.layout_p[overlap.index_of(10)]
    assert tests["edges_strength"].p[2] == found[2].strength_null.p
    agreement = found[2].agreement
    assert tests["nodes_noise"].statistic[2] == agreement.nodes.value.value[0]
    for name, curve in {
        "nodes_noise": agreement.nodes,
        "weighted_noise": agreement.weighted,
        "rank_noise": agreement.rank,
        "sign_noise": agreement.sign,
    }.items():
        np.testing.assert_array_equal(tests[name].p[2], curve.noise_p[0])


def test_what_is_tested_of_a_shift_without_noise_is_the_shift_that_was_planted() -> None:
    """Two layers earlier; ten edges that write in the first layers of six instead of the middle."""
    pair = planted_pair("moved", num_examples=20, noise=Noise(own=0.0))
    comparison = compare("earlier", pair.arm, pair.mdm, QUICK)
    tests = by_name(corrected_tests(TESTS, [comparison]))
    assert tests["centre_of_mass"].statistic[0] == pytest.approx(-2)
    assert tests["profile_distance"].statistic[0] == pytest.approx(2)
    shift = comparison.circuit_depth.source.thirds_shift.value[0]
    assert tests["early_share"].statistic[0] == pytest.approx(shift)
    assert shift > 0.1
    assert tests["edges_noise"].statistic[0] == 0


def test_a_shift_that_is_undefined_has_neither_number_nor_p_value(planted: Planted) -> None:
    comparison = planted("moved").comparison
    depth = comparison.circuit_depth
    distance = replace(depth.source.distance, tested=None, noise_p=None)
    source = replace(depth.source, centre_of_mass_p=None, distance=distance)
    comparison = replace(comparison, circuit_depth=replace(depth, source=source))
    tests = by_name(corrected_tests(TESTS, [comparison]))
    for name in ("centre_of_mass", "profile_distance"):
        assert np.isnan(tests[name].p).all()
        assert tests[name].rejected.tolist() == [False]
    assert np.isnan(tests["profile_distance"].statistic).all()


def test_a_test_without_a_p_value_rejects_nothing() -> None:
    corrected = CorrectedTest(
        test=Test(
            name="rank_noise",
            title="Order",
            hypothesis="the same order",
            statistic_name="correlation",
            measure=lambda _: (0.5, 0.01),
        ),
        tasks=("ioi", "infilling", "countdown"),
        statistic=np.array([0.5, np.nan, 0.5]),
        p=np.array([0.01, np.nan, 0.04]),
        adjusted_p=np.array([0.02, np.nan, 0.1]),
        level=0.9,
    )
    assert corrected.rejected.tolist() == [True, False, True]


def test_tests_are_corrected_at_one_level() -> None:
    pair = planted_pair("identical", num_examples=12)
    found = [
        compare(task, pair.arm, pair.mdm, replace(QUICK, level=level))
        for task, level in (("ioi", 0.9), ("infilling", 0.95))
    ]
    with pytest.raises(ComparisonError, match=r"at one level, not at \[0.9, 0.95\]"):
        corrected_tests(TESTS, found)


def test_tests_are_corrected_over_different_tasks(planted: Planted) -> None:
    one = replace(planted("identical").comparison, task="ioi")
    with pytest.raises(ComparisonError, match=r"each compared once, not \['ioi', 'ioi'\]"):
        corrected_tests(TESTS, [one, one])
    with pytest.raises(ComparisonError, match=r"not \[\]"):
        corrected_tests(TESTS, [])


def test_a_cell_tells_decision_number_and_both_p_values(two: tuple[TaskResults, ...]) -> None:
    rows = {row.name: row for row in corrected_table(registry.tests_over(two)).rows}
    cells = rows["Edges, beyond noise"].cells
    assert [cell.text for cell in cells] == ["rejected", "rejected"]
    assert [cell.note for cell in cells] == ["p 0.020, corrected 0.040", "p 0.040, corrected 0.040"]
    comparison = two[0].comparison
    overlap = comparison.overlap.edges.value[comparison.overlap.index_of(comparison.circuit_size)]
    assert cells[0].interval == f"{overlap:.2f}"


def test_a_p_value_that_stands_alone_can_fall_with_another_task(planted: Planted) -> None:
    """0.03 twice becomes 0.06 twice."""
    tasks = [with_edges_noise_p(planted(plant), 0.03) for plant in ("moved", "rewired")]
    name = "edges_noise"
    assert by_name(registry.tests_over(tasks[:1]))[name].rejected.tolist() == [True]
    assert by_name(registry.tests_over(tasks))[name].rejected.tolist() == [False, False]


def test_what_has_no_p_value_is_undefined_and_corrects_nothing(
    two: tuple[TaskResults, ...],
) -> None:
    tasks = two[0], with_edges_noise_p(two[1], np.nan)
    (row,) = [
        r
        for r in corrected_table(registry.tests_over(tasks)).rows
        if r.name == "Edges, beyond noise"
    ]
    assert row.cells[0].note == "p 0.020, corrected 0.020"
    assert row.cells[1] == Cell(text="undefined")


def test_every_hypothesis_has_a_row_with_its_words(two: tuple[TaskResults, ...]) -> None:
    rows = corrected_table(registry.tests_over(two)).rows
    assert {row.name: row.hypothesis for row in rows} == WORDS
    assert [row.name for row in rows] == list(WORDS)


def test_the_caption_states_the_correction(two: tuple[TaskResults, ...]) -> None:
    both = corrected_table(registry.tests_over(two)).caption
    assert "corrected over the 2 tasks by Holm's method" in both
    assert (
        "with a probability of at most 5\N{NO-BREAK SPACE}%" in both and "is at most 0.05." in both
    )
    alone = corrected_table(registry.tests_over(two[:1])).caption
    assert "nothing to correct for" in alone and "Holm" not in alone


def test_the_table_of_tests_has_a_row_for_each_test_and_task(two: tuple[TaskResults, ...]) -> None:
    table = corrected_frame(registry.tests_over(two))
    assert len(table) == len(WORDS) * len(two)
    ranks = table.filter(test="rank_noise")
    expected = by_name(registry.tests_over(two))["rank_noise"]
    assert ranks["p"].to_list() == expected.p.tolist()
    assert ranks["corrected_p"].to_list() == holm(expected.p).tolist()
    assert ranks["rejected"].to_list() == expected.rejected.tolist()
    undefined = corrected_frame(registry.tests_over((two[0], with_edges_noise_p(two[1], np.nan))))
    assert undefined.filter(test="edges_noise")["p"].to_list() == [0.02, None]
