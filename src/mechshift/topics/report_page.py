"""The report of a run: one page, the numbers behind each of its figures, and its verdicts.

Everything shown was concluded before (`topic.TaskResults`); here it is only put into words, tables
and figures, each of them once.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl
from markupsafe import Markup

from mechshift.page.elements import Exhibit, Finding
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, UNDEFINED, csv_text, percentage
from mechshift.page.html import (
    FigureView,
    check_file_names,
    figure_view,
    render_page,
    render_part,
    task_slug,
)
from mechshift.topics.claims import Claim, claims
from mechshift.topics.decisions import too_few_clusters
from mechshift.topics.explorer import EXPLORER
from mechshift.topics.hypotheses import (
    CAUTION,
    NOT_REJECTED,
    TESTS_NAME,
    corrected_frame,
    corrected_table,
)
from mechshift.topics.registry import (
    TOPICS,
    VERDICTS_NAME,
    Verdict,
    correction,
    findings,
    glance,
    headline,
    method,
    not_done,
    num_clusters,
    terms,
    tests_over,
    verdicts,
    verdicts_json,
)
from mechshift.topics.scores import completeness_meaning
from mechshift.topics.summary import Summary, listed, summary
from mechshift.topics.topic import TaskResults, Topic

TITLE = "What changed inside the model"

OPEN_WORDS = (NOT_DECIDED, NOT_MEASURED, NOT_REJECTED, UNDEFINED)
"""Verdicts that the page greys, because they decide nothing."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts on how the numbers were made, so that somebody else can make them again."""

    arm_name: str
    mdm_name: str
    seed: int
    settings: Mapping[str, Any]
    """Stage -> its settings, as JSON values; a stage that was left out is missing."""
    analysis: str
    """When circuit size and verdicts were chosen."""
    versions: Mapping[str, str]
    """Package -> version, `python` included."""
    model_hashes: Mapping[str, str]
    """Model name -> sha256 over its weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The files of a report."""

    page: str
    """HTML; its links name the files below."""
    texts: Mapping[str, str]
    """File name -> verdicts as JSON, or a table as CSV."""
    tables: Mapping[str, pl.DataFrame]
    """Name, without suffix -> a table of single examples."""


@dataclass(frozen=True, kw_only=True)
class FoldView:
    """Figures that follow each other."""

    title: str
    """Line under which they are folded away; empty: in view."""
    figures: tuple[FigureView, ...]


@dataclass(frozen=True, kw_only=True)
class SectionView:
    """Section of a topic on one task."""

    title: str
    anchor: str
    verdicts: tuple[str, ...]
    """What its rules say, each once."""
    holds: str
    """What is folded away in it: `2 answers and 1 figure`."""
    findings: tuple[Finding, ...]
    folds: tuple[FoldView, ...]
    parts: tuple[Markup, ...]

    @property
    def figures(self) -> tuple[FigureView, ...]:
        """All, folded away or not."""
        return tuple(figure for fold in self.folds for figure in fold.figures)


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A claim, and where on the page its evidence is."""

    claim: Claim
    anchor: str
    section: SectionView | None
    """Of its topic; None where that shows nothing of this task."""


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task's section as the template needs it."""

    anchor: str
    task: TaskResults
    summary: Summary
    claims: tuple[ClaimView, ...]
    notes: tuple[str, ...]
    sections: tuple[SectionView, ...]
    paragraph: str
    """The verdict as running text."""


def report(tasks: Sequence[TaskResults], facts: RunFacts) -> Report:
    """Page, tables and verdicts of a run. Names from the run are escaped; same input, same bytes.

    Raises:
        ReportError: no task, or tasks that would share file names.
    """
    check_file_names([task.task for task in tasks])
    shown = {
        task.task: {topic.name: tuple(topic.exhibits(task)) for topic in TOPICS} for task in tasks
    }
    decided, tests = verdicts(tasks), tests_over(tasks)
    texts = {
        csv_name(task, exhibit.name): csv_text(exhibit.table)
        for task in tasks
        for exhibits in shown[task.task].values()
        for exhibit in exhibits
    }
    texts |= {
        csv_name(task, name): csv_text(table)
        for task in tasks
        for topic in TOPICS
        for name, table in topic.tables(task).items()
    }
    texts[TESTS_NAME] = csv_text(corrected_frame(tests))
    texts[VERDICTS_NAME] = verdicts_json(decided, tests)
    page = render_page(
        "report.html.j2",
        title=TITLE,
        facts=facts,
        glance=figure_view(
            glance(tasks),
            anchor="glance",
            reading="Where the MDM is as the ARM, a point lies on the dashed line.",
            csv=VERDICTS_NAME,
        ),
        groups=headline(tasks, decided),
        correction=correction(decided),
        tests=corrected_table(tests),
        tests_caution=CAUTION,
        tests_csv=TESTS_NAME,
        tasks=[
            _task_view(task, one, shown[task.task])
            for task, one in zip(tasks, decided, strict=True)
        ],
        explored=[task_slug(task.task) for task in tasks if EXPLORER.of(task) is not None],
        terms=terms(tasks),
        method=method(facts.settings),
        not_done=not_done(tasks),
        completeness=completeness_meaning(facts.settings["attribution"]),
        open_words=_open_words(tasks),
        config=json.dumps(facts.settings, indent=2, sort_keys=True, ensure_ascii=False),
        level=percentage(tasks[0].comparison.settings.level).replace(".0", ""),
    )
    examples = {
        f"{task_slug(task.task)}-{name}": table
        for task in tasks
        for topic in TOPICS
        for name, table in topic.examples(task).items()
    }
    return Report(page=page, texts=texts, tables=examples)


def _open_words(tasks: Sequence[TaskResults]) -> tuple[str, ...]:
    """The verdicts of these tasks that decide nothing."""
    counts = {num_clusters(topic, task) for topic in TOPICS for task in tasks}
    return (*OPEN_WORDS, *(too_few_clusters(count) for count in sorted(counts)))


def csv_name(task: TaskResults, name: str) -> str:
    """Name of the file beside the report that holds a table's numbers."""
    return f"{task_slug(task.task)}-{name}.csv"


def _task_view(
    task: TaskResults, decided: Verdict, shown: Mapping[str, Sequence[Exhibit]]
) -> TaskView:
    anchor = task_slug(task.task)
    claimed = claims(task, decided)
    sections = {
        topic.name: _section(topic, task, anchor, shown[topic.name], claimed) for topic in TOPICS
    }
    return TaskView(
        anchor=anchor,
        task=task,
        summary=summary(task, decided),
        claims=tuple(
            ClaimView(
                claim=claim,
                anchor=f"{anchor}-{claim.rule.axis}-verdict",
                section=sections[claim.topic.name],
            )
            for claim in claimed
        ),
        # What several records say of themselves is said once.
        notes=tuple(dict.fromkeys(note for topic in TOPICS for note in topic.notes(task))),
        sections=tuple(one for one in sections.values() if one is not None),
        paragraph=decided.paragraph,
    )


def _section(
    topic: Topic[Any],
    task: TaskResults,
    anchor: str,
    exhibits: Sequence[Exhibit],
    claimed: Sequence[Claim],
) -> SectionView | None:
    """A topic's section; None where it has nothing to show."""
    answers, parts = findings(topic, task), tuple(_parts(topic, task, anchor))
    if not (answers or exhibits or parts):
        return None
    counts = {"answer": len(answers), "figure": len(exhibits)}
    words = (f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items() if count)
    said = (one.verdict for claim in claimed if claim.topic is topic for one in claim.statements)
    return SectionView(
        title=topic.title,
        anchor=f"{anchor}-{topic.name}-topic",
        verdicts=tuple(dict.fromkeys(said)),
        holds=listed(words),
        findings=answers,
        folds=tuple(
            FoldView(
                title=fold,
                figures=tuple(_figure_view(task, anchor, one) for one in of_fold),
            )
            for fold, of_fold in groupby(exhibits, lambda exhibit: exhibit.fold)
        ),
        parts=parts,
    )


def _parts(topic: Topic[Any], task: TaskResults, anchor: str) -> Iterable[Markup]:
    for part in topic.parts(task):
        yield render_part(
            part.template,
            anchor=anchor,
            part=part.content,
            csv=lambda name: csv_name(task, name),
            open_words=_open_words([task]),
        )


def _figure_view(task: TaskResults, anchor: str, exhibit: Exhibit) -> FigureView:
    return figure_view(
        exhibit.figure,
        anchor=f"{anchor}-{exhibit.name}",
        reading=exhibit.reading,
        csv=csv_name(task, exhibit.name),
    )
