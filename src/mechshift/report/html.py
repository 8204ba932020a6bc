"""The page that shows a run, from its records (`page.py` says what every page is like)."""

import json
from dataclasses import dataclass
from itertools import groupby

from mechshift.comparison import Comparison
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
    Definition,
    ablation_definition,
    completeness_meaning,
    edge_score_definition,
    shards_definition,
)
from mechshift.report.exhibit import Exhibit
from mechshift.report.exhibits import NEURONS, csv_path, exhibits, has_steps
from mechshift.report.finding import Finding
from mechshift.report.findings import findings
from mechshift.page.formats import Cell, number, percentage, percentage_cell
from mechshift.report.headline import headline
from mechshift.report.neurons import NeuronsView, neurons_views
from mechshift.page.html import FigureView, figure_view, render_page
from mechshift.report.records import ReportInput, TaskReport, task_slug
from mechshift.verdict import NOT_DECIDED, NOT_MEASURED, UNDEFINED, verdict


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
    return render_page(
        "report.html.j2",
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
            *_shards(report.tasks[0].comparison),
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
    )


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
    return figure_view(
        exhibit.figure,
        anchor=f"{anchor}-{exhibit.name}",
        reading=exhibit.reading,
        csv=csv_path(task, exhibit.name),
    )


def _glance(report: ReportInput) -> FigureView | None:
    figure = pair_at_a_glance(report)
    if figure is None:
        return None
    return figure_view(
        figure,
        anchor="glance",
        reading="Where the MDM is as the ARM, a point lies on the dashed line.",
        csv=VERDICTS_NAME,
    )


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
        *_shard_rows(task.comparison),
    )


def _shard_rows(comparison: Comparison) -> tuple[PoolRow, ...]:
    if comparison.unit == "example":
        return ()
    name = f"shards of {comparison.examples_per_shard} of them"
    return (PoolRow(name=name, count=f"{comparison.num_examples:,}"),)


def _shards(comparison: Comparison) -> tuple[Definition, ...]:
    """All tasks of a run have pools of one size; where a row is an example, there is none."""
    if comparison.unit == "example":
        return ()
    return (shards_definition(comparison.num_examples, comparison.examples_per_shard),)


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
