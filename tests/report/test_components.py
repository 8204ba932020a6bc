"""What the page shows of flow and components: numbers of the records, and text that stays text."""

import re
from dataclasses import replace

import pytest
from mechshift.report import ReportInput, TaskReport, render_report
from mechshift.report.headline import headline


@pytest.fixture(scope="module")
def page(report: ReportInput) -> str:
    return render_report(report)


def test_a_headline_without_flow_and_components_has_no_rows_for_them(ioi: TaskReport) -> None:
    assert "Flow and components" not in [group.name for group in headline((ioi,))]


def test_figures_stand_under_headings_where_there_are_several_kinds(page: str) -> None:
    assert re.findall(r'<h3 class="part" id="([\w-]+)">(\w+)</h3>', page) == [
        ("countdown-circuits-figures", "Circuits"),
        ("countdown-flow-figures", "Flow"),
        ("countdown-components-figures", "Components"),
    ]  # ioi has circuits alone


def test_the_definitions_are_those_of_the_run(page: str, report: ReportInput) -> None:
    assert "averaged over 9 points (rule “right”), whichever method" in page
    assert "whole interval lies above 0.25;" in page
    facts = replace(report.facts, flow=None, semantics=None)
    bare = render_report(replace(report, facts=facts, tasks=report.tasks[1:]))
    assert "whichever method scored the edges" not in bare and "Attention roles" not in bare
