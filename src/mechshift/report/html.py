"""One self-contained HTML page from a run's records.

Everything is inline: style, script and plotly.js, which appears once. The page needs no network.
Only the links to the CSV files point outside, to files beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mechshift.comparison import Comparison
from mechshift.figures.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.report.ablation_definitions import ABLATION_TERMS, ablation_method
from mechshift.report.ablation_findings import ablation_notes
from mechshift.report.component_definitions import (
    FLOW_TERMS,
    SEMANTICS_TERMS,
    flow_method,
    semantics_method,
)
from mechshift.report.conclusions import (
    VERDICTS_NAME,
    ControlsTable,
    controls_table,
    pair_at_a_glance,
)
from mechshift.report.corrected import (
    CAUTION,
    NOT_REJECTED,
    TESTS_NAME,
    corrected_over,
    corrected_table,
)
from mechshift.report.definitions import (
    METHOD,
    RANDOM_CIRCUITS,
    TERMS,
    ablation_definition,
    completeness_meaning,
    edge_score_definition,
)
from mechshift.report.exhibit import Exhibit
from mechshift.report.exhibits import NEURONS, csv_path, exhibits, has_steps
from mechshift.report.finding import Finding
from mechshift.report.findings import findings
from mechshift.report.formats import Cell, number, percentage, percentage_cell
from mechshift.report.headline import headline
from mechshift.report.neurons import NeuronsView, neurons_views
from mechshift.report.records import ReportInput, TaskReport, task_slug
from mechshift.verdict import NOT_DECIDED, NOT_MEASURED, UNDEFINED, verdict

TOP_MARGIN = 34
"""Room above the panels for their titles [pixels]; the figure's title stands in the page."""


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """A figure as the template needs it."""

    anchor: str
    title: str
    subtitle: str
    reading: str
    csv: str
    plot: Markup
    """JSON of data and layout, safe inside a script element."""

    height: int


@dataclass(frozen=True, kw_only=True)
class FoldView:
    """Figures that follow each other."""

    title: str
    """Line under which they are folded away; empty: in view."""

    figures: tuple[FigureView, ...]


@dataclass(frozen=True, kw_only=True)
class SectionView:
    """Figures under one heading."""

    title: str
    anchor: str
    folds: tuple[FoldView, ...]


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    """A line of the pool table."""

    name: str
    count: str
    share: Cell | None = None


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task's section as the template needs it."""

    anchor: str
    task: TaskReport
    findings: tuple[Finding, ...]
    pool: tuple[PoolRow, ...]
    checks: tuple[str, ...]
    sections: tuple[SectionView, ...]
    neurons: tuple[NeuronsView, ...]
    """Stand at the end of the section on components."""
    neurons_csv: str
    has_steps: bool
    paragraph: str
    """The verdict as running text; empty without evidence."""
    controls: ControlsTable | None


def render_report(report: ReportInput) -> str:
    """The page; write it beside the files that `report_tables` names.

    Names from the run are escaped. The same input gives the same bytes.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mechshift.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        facts=report.facts,
        glance=_glance(report),
        groups=headline(report.tasks),
        tests=corrected_table(corrected_over(report.tasks)),
        tests_caution=CAUTION,
        tests_csv=TESTS_NAME,
        tasks=[_task_view(task) for task in report.tasks],
        terms=(
            *TERMS,
            *(FLOW_TERMS if report.facts.flow else ()),
            *(SEMANTICS_TERMS if report.facts.semantics else ()),
            *(ABLATION_TERMS if report.facts.ablation else ()),
        ),
        method=(
            edge_score_definition(report.facts.attribution),
            *METHOD,
            ablation_definition(report.tasks[0].ablation),
            RANDOM_CIRCUITS,
            *(flow_method(report.facts.flow) if report.facts.flow else ()),
            *(semantics_method(report.facts.semantics) if report.facts.semantics else ()),
            *(ablation_method(report.facts.ablation) if report.facts.ablation else ()),
        ),
        completeness=completeness_meaning(report.facts.attribution),
        open_words=(NOT_DECIDED, NOT_MEASURED, NOT_REJECTED, UNDEFINED),
        config=json.dumps(report.facts.config, indent=2, sort_keys=True, ensure_ascii=False),
        level=percentage(report.tasks[0].comparison.settings.level).replace(".0", ""),
        arm_colour=ARM_COLOUR,
        mdm_colour=MDM_COLOUR,
        style=Markup(_template_text(environment, "report.css")),
        script=Markup(_template_text(environment, "report.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _template_text(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _task_view(task: TaskReport) -> TaskView:
    anchor = task_slug(task.name)
    return TaskView(
        anchor=anchor,
        task=task,
        findings=findings(task),
        pool=_pool_rows(task),
        checks=_checks(task),
        sections=tuple(
            SectionView(
                title=title,
                anchor=f"{anchor}-{task_slug(title).lower()}-figures",
                folds=tuple(
                    FoldView(
                        title=fold,
                        figures=tuple(_figure_view(task, anchor, one) for one in of_fold),
                    )
                    for fold, of_fold in groupby(of_section, lambda exhibit: exhibit.fold)
                ),
            )
            for title, of_section in groupby(exhibits(task), lambda exhibit: exhibit.section)
        ),
        neurons=neurons_views(task.semantics) if task.semantics else (),
        neurons_csv=csv_path(task, NEURONS),
        has_steps=has_steps(task),
        paragraph=verdict(task.evidence).paragraph if task.evidence else "",
        controls=controls_table(task),
    )


def _figure_view(task: TaskReport, anchor: str, exhibit: Exhibit) -> FigureView:
    return _view(
        exhibit.figure,
        anchor=f"{anchor}-{exhibit.name}",
        reading=exhibit.reading,
        csv=csv_path(task, exhibit.name),
    )


def _glance(report: ReportInput) -> FigureView | None:
    figure = pair_at_a_glance(report)
    if figure is None:
        return None
    return _view(
        figure,
        anchor="glance",
        reading="Where the MDM is as the ARM, a point lies on the dashed line.",
        csv=VERDICTS_NAME,
    )


def _view(figure: go.Figure, *, anchor: str, reading: str, csv: str) -> FigureView:
    """Move the title from the figure, where it cannot wrap, into the page."""
    plot = json.loads(figure.to_json())
    title = plot["layout"].pop("title")
    plot["layout"]["margin"]["t"] = TOP_MARGIN
    return FigureView(
        anchor=anchor,
        title=title["text"],
        subtitle=title["subtitle"]["text"],
        reading=reading,
        csv=csv,
        plot=_script_json({"data": plot["data"], "layout": plot["layout"]}),
        height=plot["layout"]["height"],
    )


def _script_json(value: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _pool_rows(task: TaskReport) -> tuple[PoolRow, ...]:
    pool = task.pool
    return (
        PoolRow(name="examples tried", count=f"{pool.num_candidates:,}"),
        PoolRow(
            name="ARM correct",
            count=f"{pool.num_arm_correct:,}",
            share=percentage_cell(pool.arm_accuracy),
        ),
        PoolRow(
            name="MDM correct",
            count=f"{pool.num_mdm_correct:,}",
            share=percentage_cell(pool.mdm_accuracy),
        ),
        PoolRow(name="both correct", count=f"{pool.num_both_correct:,}"),
        *(PoolRow(name=reason, count=f"{count:,}") for reason, count in pool.dropped.items()),
        PoolRow(name="in the pool", count=f"{pool.pool_size:,}"),
    )


def _checks(task: TaskReport) -> tuple[str, ...]:
    """How far the scores can be trusted: completeness, and what is undefined."""
    comparison = task.comparison
    lines = []
    for name, check in (
        ("ARM", comparison.arm_completeness),
        ("MDM", comparison.mdm_completeness),
    ):
        drop = number(check.drop.value)
        if check.relative_gap is None:
            lines.append(f"{name}: corruption changes the metric by {drop}; completeness undefined")
            continue
        lines.append(
            f"{name}: corruption lowers the metric by {drop}; the scores of the edges out of the"
            f" input sum to {number(check.attributed.value)} (gap {percentage(check.relative_gap)})"
        )
    return (*lines, *_notes(comparison), *ablation_notes(task))


def _notes(comparison: Comparison) -> tuple[str, ...]:
    """What the comparison's records say of themselves; what several of them say, once."""
    records = (
        comparison.overlap,
        comparison.agreement,
        comparison.size_sweep,
        comparison.half_sweep,
        comparison.step_sweep,
    )
    return tuple(dict.fromkeys(note for record in records for note in record.notes))
