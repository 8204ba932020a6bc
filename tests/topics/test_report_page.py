"""The report: complete, self-contained, the same every time, and safe with hostile names."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import polars as pl
import pytest
from plotly.offline import get_plotlyjs

from mechshift.errors import ReportError
from mechshift.page.figure import to_json
from mechshift.topics import registry  # pytest takes `tests_over` by itself for a test
from mechshift.topics.depth_sweeps import FOLD
from mechshift.topics.hypotheses import corrected_frame
from mechshift.topics.registry import TOPICS
from mechshift.topics.report_page import TITLE, Report, RunFacts, report
from mechshift.topics.topic import TaskResults

LOADING = {"src", "href", "srcset", "poster", "data", "action", "background"}
"""Attributes whose value a browser may fetch."""

D3 = resources.files("mechshift.page").joinpath("vendor/d3.min.js")

NAMESPACES = (
    "http://www.w3.org/2000/svg",
    "http://www.w3.org/2001/XMLSchema-instance",
    "http://graphml.graphdrawing.org/xmlns",
)
"""Of the files that the explorer exports."""

OF_EVERY_TASK = [
    "circuit-map",
    "overlap",
    "agreement",
    "stability",
    "depth",
    "depth-all-edges",
    "size-sweep",
    "concentration",
    "right-to-left",
    "span-flow",
    "lens-levels",
    "lens-components",
    "attention-roles",
    "faithfulness",
    "examples",
    "ablation-zero",
    "single-ablations",
    "controls",
]
"""Figures, in page order."""

OF_SEVERAL_STEPS = {"step-sweep": "size-sweep", "step-spans": "span-flow"}
"""Figures that a task of several steps has besides, and what they follow; `steps` comes before the
controls."""

SECTIONS = {
    "pool": "Examples",
    "circuits": "Circuits",
    "explorer": "Circuit explorer",
    "overlap": "Shared structure",
    "agreement": "Agreement beyond edges",
    "stability": "Stability",
    "depth": "Depth",
    "depth-sweeps": "Depth, swept",
    "spread": "Spread over components",
    "flow": "Flow",
    "spans": "Flow between spans",
    "lens": "Lenses",
    "attention": "Attention roles",
    "neurons": "Neurons",
    "faithfulness": "What the circuits carry",
    "examples": "Example by example",
    "ablation": "Ablation",
    "single-ablations": "Single components ablated",
    "steps": "Step by step",
    "selection": "Selection of examples",
    "wording": "Wording",
    "controls": "Controls",
}


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
def tasks(ioi: TaskResults, infilling: TaskResults) -> tuple[TaskResults, ...]:
    return infilling, ioi


@pytest.fixture(scope="module")
def made(tasks: tuple[TaskResults, ...], facts: RunFacts) -> Report:
    return report(tasks, facts)


@pytest.fixture(scope="module")
def page(made: Report) -> Page:
    return Page(made.page)


@pytest.fixture(scope="module")
def tables(made: Report) -> dict[str, pl.DataFrame]:
    """Every CSV file as a reader of it gets it."""
    return {
        name: pl.read_csv(io.StringIO(text), infer_schema_length=None)
        for name, text in made.texts.items()
        if name.endswith(".csv")
    }


def with_records(task: TaskResults, *names: str) -> TaskResults:
    """The task as if no other topic had been concluded."""
    return replace(task, records={name: task.records[name] for name in names})


def exhibit_names(task: str) -> list[str]:
    if task == "ioi":
        return OF_EVERY_TASK
    names = list(OF_EVERY_TASK)
    for name, after in OF_SEVERAL_STEPS.items():
        names.insert(names.index(after) + 1, name)
    names.insert(names.index("controls"), "steps")
    return names


def test_the_same_input_gives_the_same_bytes(
    made: Report, tasks: tuple[TaskResults, ...], facts: RunFacts
) -> None:
    again = report(tasks, facts)
    assert again.page == made.page
    assert again.texts == made.texts


def test_nothing_is_loaded_from_elsewhere(made: Report, page: Page) -> None:
    outside = [
        a for a in page.addresses() if not re.match(r"#|data:,$|[\w-]+\.csv$|verdicts\.json$", a)
    ]
    assert outside == []
    own = made.page
    for library in (get_plotlyjs(), D3.read_text(encoding="utf-8")):
        assert own.count(library) == 1
        own = own.replace(library, "")
    for namespace in NAMESPACES:  # names, which nobody fetches
        own = own.replace(namespace, "")
    assert not re.search(r"https?://|@import|url\(", own)


def test_every_link_to_a_csv_leads_to_a_table(
    page: Page, made: Report, tables: dict[str, pl.DataFrame]
) -> None:
    links = {address for address in page.addresses() if address.endswith((".csv", ".json"))}
    assert links == made.texts.keys()
    for name, table in tables.items():
        assert len(table) > 0
        assert made.texts[name].splitlines()[0] == ",".join(table.columns)


def test_the_csv_files_hold_the_numbers_of_the_figures(
    tables: dict[str, pl.DataFrame], infilling: TaskResults
) -> None:
    comparison = infilling.comparison
    np.testing.assert_array_equal(
        tables["infilling-overlap.csv"]["edges"], comparison.overlap.edges.value
    )
    np.testing.assert_array_equal(
        tables["infilling-depth.csv"]["share"][:7],
        comparison.circuit_depth.source.arm.share.value,
    )
    np.testing.assert_array_equal(
        tables["infilling-depth-all-edges.csv"]["share"][:7],
        comparison.all_depth.source.arm.share.value,
    )
    rank = tables["infilling-agreement.csv"].filter(measure="rank")
    np.testing.assert_array_equal(rank["value"], comparison.agreement.rank.value.value)
    written = tables["infilling-step-sweep.csv"].filter(side="source")
    shifts = comparison.step_sweep.source.early_share
    np.testing.assert_array_equal(written["early_share"], shifts.value)
    steps = tables["infilling-steps.csv"]["share"].to_numpy()
    both = [comparison.arm_steps.share.ravel(), comparison.mdm_steps.share.ravel()]
    np.testing.assert_array_equal(steps, np.concatenate(both))
    curves = infilling.records["faithfulness"].series
    np.testing.assert_array_equal(
        tables["infilling-faithfulness.csv"]["faithfulness"],
        np.concatenate([one.estimates.value for one in curves]),
    )
    samples = infilling.records["examples"].samples
    np.testing.assert_array_equal(
        tables["infilling-examples.csv"]["metric"], np.concatenate([one.values for one in samples])
    )


def test_tests_and_verdicts_lie_beside_the_page(
    made: Report, tables: dict[str, pl.DataFrame], tasks: tuple[TaskResults, ...]
) -> None:
    tests = corrected_frame(registry.tests_over(tasks))
    assert len(tests) == 10 * len(tasks)
    assert made.texts["tests.csv"] == tests.write_csv()
    stored = json.loads(made.texts["verdicts.json"])
    assert stored["tests"] == tests.to_dicts()
    assert list(stored["tasks"]) == ["infilling", "ioi"]


def test_every_examples_metrics_lie_beside_the_page(made: Report) -> None:
    assert made.tables.keys() == {"infilling-per-example", "ioi-per-example"}
    for name, table in made.tables.items():
        assert len(table) > 0
        assert f"{name}.parquet, beside this page" in made.page


def test_every_exhibit_is_drawn_from_its_own_figure(
    page: Page, tasks: tuple[TaskResults, ...]
) -> None:
    plots = [attributes for _, attributes in page.elements if attributes.get("class") == "plot"]
    shown = [
        (task, exhibit) for task in tasks for topic in TOPICS for exhibit in topic.exhibits(task)
    ]
    assert [plot["id"] for plot in plots] == [
        "plot-glance",
        *(f"plot-{task.task}-{exhibit.name}" for task, exhibit in shown),
    ]
    figures = [script for script in page.scripts if script.startswith('{"data":[')]
    for (_, exhibit), script in zip(shown, figures[1:], strict=True):
        drawn = json.loads(script)
        assert drawn["data"] == json.loads(to_json(exhibit.figure.data))
        assert drawn["layout"]["meta"].keys() == {"wide", "narrow"}
    glance = json.loads(figures[0])
    assert glance["data"] == json.loads(to_json(registry.glance(tasks).data))


def test_a_task_of_one_step_has_no_view_step_by_step_and_says_so(
    page: Page, tasks: tuple[TaskResults, ...]
) -> None:
    for task in tasks:
        shown = [exhibit.name for topic in TOPICS for exhibit in topic.exhibits(task)]
        assert shown == exhibit_names(task.task)
    assert page.text.count("both models answer this task in one denoising step") == 1


def test_every_topic_that_shows_something_has_a_heading(made: Report) -> None:
    headings = re.findall(
        r'<details class="card topic" id="([\w-]+-topic)">\s*<summary>\s*<h3>([^<]+)</h3>',
        made.page,
    )
    assert headings == [
        (f"{task}-{name}-topic", title)
        for task in ("infilling", "ioi")
        for name, title in SECTIONS.items()
        if (task, name) != ("ioi", "steps")
    ]
    for anchor, _ in headings:
        assert f'<a href="#{anchor}">' in made.page


def test_all_sweeps_of_a_task_lie_behind_one_line(made: Report) -> None:
    assert made.page.count(f"<summary>{FOLD}</summary>") == 2


def test_halves_too_small_to_resample_are_told_of_once(page: Page) -> None:
    """All sweeps of a task note it."""
    assert page.text.count("half 1, 2: no shift in depth, or no interval; fewer than 10") == 2


ABLATED = {
    "resample": "carries what it carries on the corrupted prompt",
    "mean": "carries its source's mean output at that position, over the clean discovery prompts",
    "zero": "carries nothing: its source counts as zero",
}


@pytest.mark.parametrize("ablation", ABLATED)
def test_the_page_says_what_ablated_edges_carry(
    infilling: TaskResults, facts: RunFacts, ablation: str
) -> None:
    """Beside the figure and among the definitions, and nowhere that they carry something else."""
    task = with_records(infilling, "pool", "faithfulness")
    record = replace(task.records["faithfulness"], ablation=ablation)
    task = replace(task, records={**task.records, "faithfulness": record})
    settings = {**facts.settings, "evaluation": {"ablation": ablation}}
    text = Page(report([task], replace(facts, settings=settings)).page).text
    assert {name: text.count(words) for name, words in ABLATED.items()} == {
        name: 2 if name == ablation else 0 for name in ABLATED
    }


@pytest.mark.parametrize(
    ("attribution", "definition", "completeness"),
    [
        (
            {"method": "eap-ig", "ig_steps": 7, "rule": "midpoint", "gim": False},
            "over 7 points (rule “midpoint”)",
            "If the path had infinitely many points",
        ),
        (
            {"method": "eap", "gradient_at": "corrupted", "gim": False},
            "on the corrupted prompt; summed",
            "only where the model is linear",
        ),
        (
            {"method": "eap", "gradient_at": "clean", "gim": True},
            "Gradients of attention follow GIM's rules",
            "those of no function",
        ),
        (
            {"method": "exact"},
            "where the destination alone reads the source's corrupted output",
            "Every score is measured, not estimated",
        ),
    ],
)
def test_the_page_says_which_method_made_the_scores_and_what_their_sum_means(
    planted: Callable[..., TaskResults],
    facts: RunFacts,
    attribution: dict,
    definition: str,
    completeness: str,
) -> None:
    """Flow takes EAP-IG's gradients whatever the method, and says so."""
    settings = {name: one for name, one in facts.settings.items() if name != "flow"}
    settings["attribution"] = {**attribution, "examples_per_shard": 1}
    html = report([planted("moved")], replace(facts, settings=settings)).page
    page = html.replace("&#39;", "'")
    assert definition in page and completeness in page
    assert ("EAP-IG" in page) == (attribution["method"] == "eap-ig")


def test_the_page_says_how_it_was_made(page: Page, infilling: TaskResults) -> None:
    for fact in (
        "2.4.6",
        "9f" * 32,
        '"circuit_size": null',
        "Numbers of denoising steps were not compared on infilling: `mechshift sweep RUN` does it.",
        "K is 1,000 or a tenth of all edges, whichever is less",
        f"Metric: {infilling.metric}.",
        infilling.description,
        infilling.example,
        "right but not needed",
        "tiny-arm",
        TITLE,
    ):
        assert fact in page.text


def test_the_page_says_beside_the_tests_where_they_reject_too_often(made: Report) -> None:
    assert 'id="tests"' in made.page
    assert "Where one was three times as noisy, they rejected" in made.page


def test_what_the_scores_explain_is_reported(page: Page, tasks: tuple[TaskResults, ...]) -> None:
    for task in tasks:
        for check in (task.comparison.arm_completeness, task.comparison.mdm_completeness):
            lost = f"{check.drop.value:.2f}".replace("-", "−")
            assert f"corruption lowers the metric by {lost}" in page.text


def test_what_was_not_concluded_is_not_shown(
    planted: Callable[..., TaskResults], facts: RunFacts
) -> None:
    kept = ("pool", "attribution", "evaluation", "comparison")
    settings = {name: facts.settings[name] for name in kept}
    made = report([planted("moved")], replace(facts, settings=settings))
    assert "whichever method scored the edges" not in made.page
    assert "Attention roles" not in made.page
    assert "What was not done" in made.page
    assert made.tables == {}
    assert "moved-neurons.csv" not in made.texts


def test_hostile_names_stay_text(
    hostile: TaskResults, tame: TaskResults, facts: RunFacts, hostile_facts: RunFacts
) -> None:
    """No element more than the same page with tame names has, and no script but our own."""
    attacked = Page(report([hostile], hostile_facts).page)
    expected = Page(report([tame], facts).page)
    assert [tag for tag, _ in attacked.elements] == [tag for tag, _ in expected.elements]
    assert attacked.addresses() == [
        address.replace("infilling", "script-script-alert-1-script-img-src-x-onerror-alert-2")
        for address in expected.addresses()
    ]
    assert attacked.text.count("</script><script>alert(1)</script>") >= 10
    assert not any("alert(" in script and "Plotly" in script for script in attacked.scripts)
    for script in attacked.scripts:
        if script.startswith('{"data":['):
            json.loads(script)


def test_a_report_of_nothing_is_refused(facts: RunFacts) -> None:
    with pytest.raises(ReportError, match="at least one task"):
        report([], facts)


def test_tasks_that_would_share_their_files_are_refused(ioi: TaskResults, facts: RunFacts) -> None:
    with pytest.raises(ReportError, match=re.escape("tasks ['ioi', 'ioi!'] would share file")):
        report([ioi, replace(ioi, task="ioi!")], facts)
