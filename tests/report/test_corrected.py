"""Tests over tasks: Holm's correction by hand, the words beside it, and the numbers everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mechshift.report import ReportInput, TaskReport, render_report, report_tables, verdicts_json
from mechshift.report.corrected import TITLES, corrected_over, corrected_table
from mechshift.report.formats import Cell

from mechshift.comparison import HYPOTHESES, CorrectedTest
from mechshift.statistics import holm


def with_edges_noise_p(task: TaskReport, p: float) -> TaskReport:
    overlap = task.comparison.overlap
    overlap = replace(overlap, noise_p=np.full(len(overlap.sizes), p))
    return replace(task, comparison=replace(task.comparison, overlap=overlap))


@pytest.fixture
def two(countdown: TaskReport, ioi: TaskReport) -> tuple[TaskReport, ...]:
    """P-values of 0.02 and 0.04; by Holm 2 x 0.02 and 1 x 0.04."""
    return with_edges_noise_p(countdown, 0.02), with_edges_noise_p(ioi, 0.04)


def by_name(tests: tuple[CorrectedTest, ...]) -> dict[str, CorrectedTest]:
    return {test.name: test for test in tests}


def test_a_cell_tells_decision_number_and_both_p_values(two: tuple[TaskReport, ...]) -> None:
    rows = {row.name: row for row in corrected_table(corrected_over(two)).rows}
    cells = rows["Edges, beyond noise"].cells
    assert [cell.text for cell in cells] == ["rejected", "rejected"]
    assert [cell.note for cell in cells] == ["p 0.020, corrected 0.040", "p 0.040, corrected 0.040"]
    comparison = two[0].comparison
    overlap = comparison.overlap.edges.value[comparison.overlap.index_of(comparison.circuit_size)]
    assert cells[0].interval == f"{overlap:.2f}"


def test_a_p_value_that_stands_alone_can_fall_with_another_task(
    countdown: TaskReport, ioi: TaskReport
) -> None:
    """0.03 twice becomes 0.06 twice."""
    tasks = with_edges_noise_p(countdown, 0.03), with_edges_noise_p(ioi, 0.03)
    name = "edges_noise"
    assert by_name(corrected_over(tasks[:1]))[name].rejected.tolist() == [True]
    assert by_name(corrected_over(tasks))[name].rejected.tolist() == [False, False]


def test_what_has_no_p_value_is_undefined_and_corrects_nothing(
    two: tuple[TaskReport, ...],
) -> None:
    tasks = two[0], with_edges_noise_p(two[1], np.nan)
    (row,) = [
        r for r in corrected_table(corrected_over(tasks)).rows if r.name == "Edges, beyond noise"
    ]
    assert row.cells[0].note == "p 0.020, corrected 0.020"
    assert row.cells[1] == Cell(text="undefined")


def test_every_hypothesis_has_a_row_with_its_words(two: tuple[TaskReport, ...]) -> None:
    rows = corrected_table(corrected_over(two)).rows
    assert [row.hypothesis for row in rows] == list(HYPOTHESES.values())
    assert [row.name for row in rows] == [TITLES[name] for name in HYPOTHESES]


def test_the_caption_states_the_correction(two: tuple[TaskReport, ...]) -> None:
    both = corrected_table(corrected_over(two)).caption
    assert "corrected over the 2 tasks by Holm's method" in both
    assert (
        "with a probability of at most 5\N{NO-BREAK SPACE}%" in both and "is at most 0.05." in both
    )
    alone = corrected_table(corrected_over(two[:1])).caption
    assert "nothing to correct for" in alone and "Holm" not in alone


def test_table_and_json_hold_the_numbers_of_every_test(report: ReportInput) -> None:
    table = report_tables(report)["tests.csv"]
    assert len(table) == len(HYPOTHESES) * len(report.tasks)
    ranks = table.filter(test="rank_noise")
    expected = by_name(corrected_over(report.tasks))["rank_noise"]
    assert ranks["p"].to_list() == expected.p.tolist()
    assert ranks["corrected_p"].to_list() == holm(expected.p).tolist()
    assert ranks["rejected"].to_list() == expected.rejected.tolist()
    assert json.loads(verdicts_json(report))["tests"] == table.to_dicts()


def test_the_page_says_beside_the_tests_where_they_reject_too_often(report: ReportInput) -> None:
    page = render_report(report)
    assert 'id="tests"' in page
    assert "Where one was three times as noisy, they rejected" in page
