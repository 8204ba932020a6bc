"""The page: complete, self-contained, the same every time, and safe with hostile names."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from mechshift.report import ReportInput, exhibits, render_report, report_tables
from plotly.offline import get_plotlyjs

LOADING = {"src", "href", "srcset", "poster", "data", "action", "background"}
"""Attributes whose value a browser may fetch."""


class Page(HTMLParser):
    """What of a page matters here: its elements, its text, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def addresses(self) -> list[str]:
        return [
            value or ""
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in LOADING
        ]


@pytest.fixture(scope="module")
def html(report: ReportInput) -> str:
    return render_report(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_same_input_gives_the_same_bytes(html: str, report: ReportInput) -> None:
    assert render_report(report) == html


def test_nothing_is_loaded_from_elsewhere(html: str, page: Page) -> None:
    outside = [a for a in page.addresses() if not re.match(r"#|data:,$|[\w-]+\.csv$", a)]
    assert outside == []
    own = html.replace(get_plotlyjs(), "")
    assert len(own) < len(html) - 1_000_000  # plotly.js is in the page, once
    assert not re.search(r"https?://|@import|url\(", own)


def test_every_link_to_a_csv_leads_to_a_table(page: Page, report: ReportInput) -> None:
    links = {address for address in page.addresses() if address.endswith(".csv")}
    tables = report_tables(report)
    assert links == tables.keys()
    for table in tables.values():
        assert len(table) > 0
        assert table.write_csv().splitlines()[0] == ",".join(table.columns)


def test_the_csv_files_hold_the_numbers_of_the_figures(report: ReportInput) -> None:
    comparison = report.tasks[0].comparison
    tables = report_tables(report)
    np.testing.assert_array_equal(
        tables["countdown-overlap.csv"]["edges"], comparison.overlap.edges.value
    )
    np.testing.assert_array_equal(
        tables["countdown-depth.csv"]["share"][:4],
        comparison.circuit_depth.source.arm.share.value,
    )
    np.testing.assert_array_equal(
        tables["countdown-depth-all-edges.csv"]["share"][:4],
        comparison.all_depth.source.arm.share.value,
    )
    rank = tables["countdown-agreement.csv"].filter(measure="rank")
    np.testing.assert_array_equal(rank["value"], comparison.agreement.rank.value.value)
    written = tables["countdown-step-sweep.csv"].filter(side="source")
    shifts = comparison.step_sweep.source.early_share
    np.testing.assert_array_equal(written["early_share"], shifts.value)
    steps = tables["countdown-steps.csv"]["share"].to_numpy()
    both = [comparison.arm_steps.share.ravel(), comparison.mdm_steps.share.ravel()]
    np.testing.assert_array_equal(steps, np.concatenate(both))
    faithfulness = tables["countdown-faithfulness.csv"]
    own_and_cross = [0.9, 1, 0.5, 1, 0.5, 1, 0.9, 1]
    assert faithfulness["faithfulness"].to_list() == [*own_and_cross, 0.3, 0, 0.3, 0]
    assert tables["countdown-examples.csv"]["metric"].to_list() == 8 * list(range(12))


def test_every_exhibit_is_drawn_from_its_own_figure(page: Page, report: ReportInput) -> None:
    plots = [attributes for _, attributes in page.elements if attributes.get("class") == "plot"]
    shown = [(task, exhibit) for task in report.tasks for exhibit in exhibits(task)]
    assert [plot["id"] for plot in plots] == [
        f"plot-{task.name}-{exhibit.name}" for task, exhibit in shown
    ]
    figures = [script for script in page.scripts if script.startswith('{"data"')]
    for (_, exhibit), script in zip(shown, figures, strict=True):
        drawn = json.loads(script)
        assert drawn["data"] == json.loads(exhibit.figure.to_json())["data"]
        assert drawn["layout"]["meta"].keys() == {"wide", "narrow"}


def test_a_task_of_one_step_has_no_view_step_by_step_and_says_so(
    page: Page, report: ReportInput
) -> None:
    countdown, ioi = ([exhibit.name for exhibit in exhibits(task)] for task in report.tasks)
    assert countdown == [
        "circuit-map",
        "overlap",
        "agreement",
        "depth",
        "depth-all-edges",
        "size-sweep",
        "step-sweep",
        "faithfulness",
        "examples",
        "steps",
        "right-to-left",
        "span-flow",
        "step-spans",
        "concentration",
        "lens-levels",
        "lens-components",
        "attention-roles",
    ]
    assert ioi == [
        "circuit-map",
        "overlap",
        "agreement",
        "depth",
        "depth-all-edges",
        "size-sweep",
    ]
    assert page.text.count("Both models answer this task in one denoising step") == 1


ABLATED = {
    "resample": "carries what it carries on the corrupted prompt",
    "mean": "carries its source's mean output at that position, over the clean discovery prompts",
    "zero": "carries nothing: its source counts as zero",
}


@pytest.mark.parametrize("ablation", ABLATED)
def test_the_page_says_what_ablated_edges_carry(report: ReportInput, ablation: str) -> None:
    """Beside the figure and among the definitions, and nowhere that they carry something else."""
    first, *others = report.tasks
    tasks = (replace(first, ablation=ablation), *others)
    text = Page(render_report(replace(report, tasks=tasks))).text
    assert {name: text.count(words) for name, words in ABLATED.items()} == {
        name: 2 if name == ablation else 0 for name in ABLATED
    }


def test_the_page_says_how_it_was_made(page: Page, report: ReportInput) -> None:
    for fact in (
        "2.4.6",
        "9f" * 32,
        '"circuit_size": null',
        "No control was trained.",
        "K is 1,000 or a tenth of all edges, whichever is less",
        "log_prob",
        "Reach the number.",
        "right but not needed",
    ):
        assert fact in page.text


def test_what_the_scores_explain_is_reported(page: Page, report: ReportInput) -> None:
    for task in report.tasks:
        for check in (task.comparison.arm_completeness, task.comparison.mdm_completeness):
            lost = f"{check.drop.value:.2f}".replace("-", "−")
            assert f"corruption lowers the metric by {lost}" in page.text


def test_hostile_names_stay_text(hostile: ReportInput, report: ReportInput) -> None:
    """No element more than the same page with tame names has, and no script but our own."""
    tame = replace(report, tasks=report.tasks[:1])
    attacked, expected = Page(render_report(hostile)), Page(render_report(tame))
    assert [tag for tag, _ in attacked.elements] == [tag for tag, _ in expected.elements]
    assert attacked.addresses() == [
        address.replace("countdown", "script-script-alert-1-script-img-src-x-onerror-alert-2")
        for address in expected.addresses()
    ]
    assert attacked.text.count("</script><script>alert(1)</script>") >= 10
    assert not any("alert(" in script and "Plotly" in script for script in attacked.scripts)
    for script in attacked.scripts:
        if script.startswith('{"data"'):
            json.loads(script)
