"""What the page shows of flow and components: numbers of the records, and text that stays text."""

import re
from dataclasses import replace

import polars as pl
import pytest

from mechshift.comparison import RIGHT_TO_LEFT
from mechshift.report import ReportInput, TaskReport, render_report, report_tables
from mechshift.report.formats import Cell, estimate_cell
from mechshift.report.headline import headline
from mechshift.report.neurons import neurons_views


@pytest.fixture(scope="module")
def page(report: ReportInput) -> str:
    return render_report(report)


def test_the_headline_has_the_numbers_of_flow_and_components(
    countdown: TaskReport, ioi: TaskReport
) -> None:
    rows = {row.name: row.cells for group in headline((countdown, ioi)) for row in group.rows}
    assert countdown.flow is not None and countdown.semantics is not None
    concentration = countdown.semantics.shift.concentration
    rank = countdown.semantics.shift.alignment
    share = countdown.flow.mdm.overall.at(RIGHT_TO_LEFT)
    assert share is not None and share.value == pytest.approx(0.25)
    for name, estimate in {
        "Right-to-left share, MDM": share,
        "Effective number, ARM": concentration.arm.effective_number,
        "Effective number, MDM": concentration.mdm.effective_number,
        "Answer's rank, ARM": rank.arm.weighted.log10_rank,
        "Answer's rank, MDM": rank.mdm.weighted.log10_rank,
    }.items():
        assert rows[name] == (estimate_cell(estimate), Cell(text="not measured"))
    for name, shift in {
        "Effective number, shift": concentration.shift.effective_number,
        "Answer's rank, shift": rank.shift.weighted.log10_rank,
    }.items():
        note = "" if shift.excludes(0.0) else "not decided"
        assert rows[name][0] == estimate_cell(shift, signed=True, note=note)


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


def test_neurons_are_shown_where_they_fire_and_what_they_promote(countdown: TaskReport) -> None:
    """The second neuron's weaker context, in which it does not fire, is left out."""
    assert countdown.semantics is not None
    arm, mdm = neurons_views(countdown.semantics)
    assert (arm.model, mdm.model, arm.num_scored) == ("ARM", "MDM", 1234)
    first, second = arm.rows
    assert [context.text for context in first.contexts] == ["When⟨ Mary⟩⏎", "⟨ Mary⟩⏎"]
    assert [context.text for context in second.contexts] == ["When⟨ Mary⟩"]
    assert (first.promoted, first.suppressed) == ((" Mary", "⏎"), ("When", "⏎"))
    assert (first.share, first.selectivity, second.selectivity) == (
        "25.0\N{NO-BREAK SPACE}%",
        "0.50",
        "undefined",
    )
    assert [row.name for row in mdm.rows] == ["m0.n5", "m0.n4"]


def test_the_table_of_neurons_lies_beside_the_page(report: ReportInput) -> None:
    table = report_tables(report)["countdown-neurons.csv"]
    assert table["neuron"].to_list() == ["m0.n5", "m0.n3", "m0.n5", "m0.n4"]
    assert table["fires_on"][0] == "When⟨ Mary⟩⏎ | ⟨ Mary⟩⏎"
    assert table.filter(pl.col("selectivity").is_null())["neuron"].to_list() == ["m0.n3", "m0.n4"]
    assert "ioi-neurons.csv" not in report_tables(report)


def test_tokens_that_would_turn_the_text_around_are_not_printed(countdown: TaskReport) -> None:
    assert countdown.semantics is not None
    turned = replace(countdown.semantics, tokens={0: "a\u202eb", 1: "c\x07", 2: "d"})
    arm, _ = neurons_views(turned)
    assert arm.rows[0].contexts[0].text == "a\ufffdb⟨c\ufffd⟩d"


def test_a_piece_of_text_begins_with_a_word(countdown: TaskReport) -> None:
    assert countdown.semantics is not None
    arm, _ = neurons_views(replace(countdown.semantics, tokens={0: " a", 1: " b", 2: " c"}))
    assert arm.rows[0].contexts[0].text == "a⟨ b⟩ c"
