"""The registry: every topic in page order, and what is said of all of them as loops over it.

A topic that stands here has its rows in the headline, its statements in the verdict, its tests
among the corrected ones, its panels at a glance, its columns in the controls and the trajectory,
its figures, tables and definitions on the page, and its record in the run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mechshift.errors import ArtifactError
from mechshift.input_files import read_json
from mechshift.page.elements import Definition, Finding, Group, Row
from mechshift.page.figure import Figure
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, in_words, number, p_value
from mechshift.statistics import ROUNDING, holm
from mechshift.topics.ablation import ABLATION
from mechshift.topics.agreement import AGREEMENT
from mechshift.topics.alternatives import ALTERNATIVES
from mechshift.topics.areas import CIRCUIT_AREAS
from mechshift.topics.attention import ATTENTION
from mechshift.topics.circuits import CIRCUITS
from mechshift.topics.controls import controls_topic, member_estimates, quantity_panels
from mechshift.topics.decisions import MIN_CLUSTERS, decides, given_clusters
from mechshift.topics.depth import DEPTH
from mechshift.topics.depth_sweeps import DEPTH_SWEEPS
from mechshift.topics.examples import EXAMPLES
from mechshift.topics.experts import EXPERTS
from mechshift.topics.explorer import EXPLORER
from mechshift.topics.faithfulness import FAITHFULNESS
from mechshift.topics.flow import FLOW
from mechshift.topics.hypotheses import CorrectedTest, corrected_frame, corrected_tests
from mechshift.topics.lens import LENS
from mechshift.topics.neurons import NEURONS
from mechshift.topics.num_steps import NUM_STEPS
from mechshift.topics.overlap import OVERLAP
from mechshift.topics.pool import POOL
from mechshift.topics.scores import SCORES
from mechshift.topics.selection import (
    ON_ALL,
    ON_COMMON,
    common_are_all,
    note_on_all,
    p_on_candidates,
    selection_topic,
    with_all_candidates,
)
from mechshift.topics.single_ablations import SINGLE_ABLATIONS
from mechshift.topics.spans import SPANS
from mechshift.topics.spread import SPREAD
from mechshift.topics.stability import STABILITY
from mechshift.topics.steps import STEPS
from mechshift.topics.topic import Quantity, Rule, Statement, TaskResults, Topic
from mechshift.topics.wording import ON_TASK, p_over_templates, population, wording_topic

VERDICTS_NAME = "verdicts.json"

_MEASURING: tuple[Topic[Any], ...] = (
    POOL,
    SCORES,
    CIRCUITS,
    EXPLORER,
    OVERLAP,
    AGREEMENT,
    STABILITY,
    ALTERNATIVES,
    DEPTH,
    DEPTH_SWEEPS,
    SPREAD,
    FLOW,
    SPANS,
    LENS,
    ATTENTION,
    NEURONS,
    EXPERTS,
    FAITHFULNESS,
    CIRCUIT_AREAS,
    EXAMPLES,
    ABLATION,
    SINGLE_ABLATIONS,
    STEPS,
    NUM_STEPS,
)


def _quantities(topics: Sequence[Topic[Any]], of: str) -> tuple[Quantity, ...]:
    return tuple(one for topic in topics for one in topic.quantities if one.of == of)


TOPICS: tuple[Topic[Any], ...] = (
    *_MEASURING,
    selection_topic(_quantities(_MEASURING, "members")),
    wording_topic(_quantities(_MEASURING, "members")),
    controls_topic(_quantities(_MEASURING, "members")),
)


def quantities(of: Literal["members", "checkpoints"]) -> tuple[Quantity, ...]:
    """What is measured of the MDM and of controls, or of checkpoints besides, in page order."""
    return _quantities(TOPICS, of)


def tracked_quantities() -> tuple[Quantity, ...]:
    """What is followed over a post-training: everything that is measured of a checkpoint."""
    return (*quantities("members"), *quantities("checkpoints"))


def rules() -> tuple[Rule, ...]:
    """Every rule of the verdict, in its order."""
    return tuple(rule for topic in TOPICS for rule in topic.rules)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All statements on one task."""

    task: str
    statements: tuple[Statement, ...]

    @property
    def paragraph(self) -> str:
        """The statements as running text."""
        text = " ".join(one.sentence for one in self.statements)
        return f"On {self.task}, {text[0].lower()}{text[1:]}"

    def of(self, axis: str) -> Statement:
        """The first statement on an axis."""
        return next(one for one in self.statements if one.axis == axis)


def verdicts(tasks: Sequence[TaskResults]) -> tuple[Verdict, ...]:
    """Apply every rule to what was concluded on each task, and correct for all that they say.

    The p-values of all statements of these tasks are adjusted together by Holm's method, so that a
    run says anything that is not so as rarely as its level allows. A statement that does not
    survive becomes `not decided`, and its sentence keeps what it would be by itself. One without a
    number to decide on is no test. One that survives says whether it does so too with the p-values
    that count templates as drawn (`wording`), and with those on all candidates (`selection`),
    corrected in the same way.
    """
    by_axis = {rule.axis: rule for rule in rules()}
    alone = [_by_itself(task) for task in tasks]
    given = [statement.p for one in alone for statement in one.statements]
    p = np.array([np.nan if one is None else one for one in given])
    num_tests, corrected = int(np.isfinite(p).sum()), iter(holm(p).tolist())
    wide = [
        np.nan if s.p is None else p_over_templates(task, s.quantity, s.p)
        for task, one in zip(tasks, alone, strict=True)
        for s in one.statements
    ]
    over_templates = iter(holm(np.array(wide)).tolist())
    everywhere = [
        np.nan
        if s.p is None
        else p_on_candidates(task, by_axis[s.axis], _quantity(by_axis[s.axis]), s)
        for task, one in zip(tasks, alone, strict=True)
        for s in one.statements
    ]
    on_candidates = iter(holm(np.array(everywhere)).tolist())

    def decided(task: TaskResults, statement: Statement) -> Statement:
        level = task.comparison.settings.level
        found = _corrected(statement, next(corrected), num_tests, level)
        return _with_population(found, task, next(over_templates), next(on_candidates))

    return tuple(
        replace(one, statements=tuple(decided(task, s) for s in one.statements))
        for task, one in zip(tasks, alone, strict=True)
    )


def _by_itself(task: TaskResults) -> Verdict:
    """Every rule on one task."""
    return Verdict(
        task=task.task,
        statements=tuple(
            _about(rule, task, _given_clusters(statement, num_clusters(topic, task)))
            for topic in TOPICS
            for rule in topic.rules
            for statement in rule.decide(task)
        ),
    )


def _about(rule: Rule, task: TaskResults, statement: Statement) -> Statement:
    """With the quantity on which it rests, and what that is on all candidates."""
    quantity = _quantity(rule)
    if quantity is None:
        return statement
    return with_all_candidates(task, replace(statement, quantity=rule.quantity), quantity)


def _quantity(rule: Rule) -> Quantity | None:
    """On which it rests; None where that is none of the MDM's."""
    return next((one for one in quantities("members") if one.name == rule.quantity), None)


def findings(topic: Topic[Any], task: TaskResults) -> tuple[Finding, ...]:
    """A topic's answers in words, open where too few clusters of examples stand behind them."""
    return tuple(
        replace(one, verdict=given_clusters(one.verdict, num_clusters(topic, task)))
        for one in topic.findings(task)
    )


def num_clusters(topic: Topic[Any], task: TaskResults) -> int:
    """Clusters of the examples on which a topic's verdicts rest."""
    if topic.rests_on == "held-out":
        pool = POOL.of(task)
        assert pool is not None  # there is no run without a pool
        return pool.num_held_out_clusters
    return task.comparison.num_clusters


def _given_clusters(statement: Statement, count: int) -> Statement:
    decided = given_clusters(statement.verdict, count)
    if decided == statement.verdict:
        return statement
    return replace(_said_instead(statement, decided, decided), by_itself=decided, p=None)


def _corrected(statement: Statement, p: float, num_tests: int, level: float) -> Statement:
    """With its corrected p-value (NaN: it is no test), and open if that is too large."""
    if np.isnan(p):
        return statement
    detectable = None
    if statement.estimate is not None:  # the first of Holm's steps, at which all tests count
        detectable = statement.estimate.detectable(1 - (1 - level) / num_tests)
    statement = replace(statement, corrected_p=p, detectable=detectable)
    if not decides(statement.verdict) or p <= 1 - level + ROUNDING:
        return statement
    return _said_instead(statement, NOT_DECIDED, f"{NOT_DECIDED} ({statement.verdict} by itself)")


def _with_population(
    statement: Statement, task: TaskResults, over_templates: float, on_candidates: float
) -> Statement:
    """With what a decided verdict speaks of.

    Args:
        statement: corrected.
        task: of which it speaks.
        over_templates: its p-value if templates were drawn again.
        on_candidates: the same on all candidates.
    """
    if not decides(statement.verdict):
        return statement
    at_most = 1 - task.comparison.settings.level + ROUNDING
    on_all = common_are_all(task) or on_candidates <= at_most  # NaN, of no test, is not
    said = [ON_ALL if on_all else ON_COMMON]
    if least := population(task):
        said = [ON_TASK if over_templates <= at_most else least, *said]
    words = ", ".join(said)
    return replace(
        statement, population=words, sentence=f"{statement.sentence.removesuffix('.')}, {words}."
    )


def _said_instead(statement: Statement, verdict: str, words: str) -> Statement:
    """The same statement with another verdict, and its words at the sentence's end."""
    kept = statement.sentence.removesuffix(f"{statement.verdict}.")
    return replace(statement, verdict=verdict, sentence=f"{kept}{words}.")


def correction(verdicts: Sequence[Verdict]) -> str:
    """A sentence on what the verdicts of a run are corrected for."""
    tested = sum(one.p is not None for verdict in verdicts for one in verdict.statements)
    return (
        f"{tested} verdicts of this run have a number to decide on. Their p-values are corrected"
        " for each other by Holm's method, so each interval must decide at a stricter level than"
        " the one that is printed. “Would find 0.20”: so far from a threshold of the rule, the"
        " number would be decided in four of five runs like this one; what is smaller may be there"
        " and not be seen."
    )


def tests_over(tasks: Sequence[TaskResults]) -> tuple[CorrectedTest, ...]:
    """Every test of every topic, corrected over these tasks."""
    tests = [test for topic in TOPICS for test in topic.tests]
    return corrected_tests(tests, [task.comparison for task in tasks])


def verdicts_json(verdicts: Sequence[Verdict], tests: Sequence[CorrectedTest]) -> str:
    """Every statement of every task, with the rules, and every test over tasks."""
    contents = {
        "rules": {rule.axis: rule.words for rule in rules()},
        "tasks": {
            one.task: {
                "statements": [asdict(statement) for statement in one.statements],
                "paragraph": one.paragraph,
            }
            for one in verdicts
        },
        "tests": corrected_frame(tests).to_dicts(),
    }
    return json.dumps(contents, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, kw_only=True)
class _OnTask:
    """Part of `verdicts_json` on one task."""

    statements: tuple[Statement, ...]
    paragraph: str


@dataclass(frozen=True, kw_only=True)
class StoredVerdicts:
    """Contents of `verdicts_json`, read back."""

    rules: Mapping[str, str]
    """Axis -> the rule by which it was decided, in words."""
    tasks: Mapping[str, _OnTask]
    tests: tuple[dict[str, Any], ...]

    def verdict(self, task: str) -> Verdict:
        """Of one of its tasks."""
        return Verdict(task=task, statements=self.tasks[task].statements)


def read_verdicts(path: Path) -> StoredVerdicts:
    """The verdicts beside a report.

    Raises:
        ArtifactError: no such file, or another version of mechshift wrote it.
    """
    stored: StoredVerdicts = read_json(
        path,
        StoredVerdicts,
        error=ArtifactError,
        advice="`mechshift report` writes it anew",
    )
    return stored


def headline(tasks: Sequence[TaskResults], verdicts: Sequence[Verdict]) -> tuple[Group, ...]:
    """The table at the top: the verdict, then the rows of every topic that some task measured."""
    rows: dict[str, list[Row]] = {}
    for topic in TOPICS:
        for row in topic.headline:
            cells = tuple(row.cell(task) for task in tasks)
            if any(cell.text != NOT_MEASURED for cell in cells):
                shown = Row(name=row.name, explanation=row.explanation, cells=cells)
                rows.setdefault(topic.headline_name, []).append(shown)
    groups = (Group(name=name, rows=tuple(of_group)) for name, of_group in rows.items())
    return (_verdict_rows(verdicts), *groups)


def _verdict_rows(verdicts: Sequence[Verdict]) -> Group:
    """One row an axis."""
    return Group(
        name="Verdict",
        rows=tuple(
            Row(
                name=rule.axis.capitalize(),
                explanation=rule.words,
                cells=tuple(
                    statement_cell([s for s in one.statements if s.axis == rule.axis])
                    for one in verdicts
                ),
            )
            for rule in rules()
        ),
    )


def statement_cell(statements: Sequence[Statement]) -> Cell:
    """Of one axis; causes are as many as there are shifts to explain."""
    if not statements:
        return Cell(text="nothing to explain")
    text = "; ".join(dict.fromkeys(one.verdict for one in statements))
    estimate, detectable = statements[0].estimate, statements[0].detectable
    p = [one.corrected_p for one in statements if one.corrected_p is not None]
    note = ""
    if p and decides(text):
        spoken = dict.fromkeys(one.population for one in statements if one.population)
        note = ", ".join((f"corrected {p_value(min(p))}", *spoken))
    elif detectable is not None:
        note = f"would find {number(detectable)}"
    note = "; ".join(filter(None, (note, note_on_all(statements[0]))))
    return Cell(text=text, interval="" if estimate is None else in_words(estimate), note=note)


def glance(tasks: Sequence[TaskResults]) -> Figure:
    """Every task's quantities in one figure."""
    return quantity_panels(
        {task.task: member_estimates(task.mdm) for task in tasks},
        quantities("members"),
        title="The pair at a glance",
        subtitle="MDM against ARM; dashed: no change; filled where the interval excludes it",
        undecided=[one.task for one in tasks if one.comparison.num_clusters < MIN_CLUSTERS],
    )


def terms(tasks: Sequence[TaskResults]) -> tuple[Definition, ...]:
    """Words for readers who are new here, of every topic that some task has."""
    return tuple(
        term
        for topic in TOPICS
        if topic.record_type is None or any(topic.of(task) is not None for task in tasks)
        for term in topic.terms
    )


def method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    """How everything was computed, from the settings of the stages by name."""
    return tuple(definition for topic in TOPICS for definition in topic.method(settings))


def not_done(tasks: Sequence[TaskResults]) -> tuple[str, ...]:
    """Sentences on what a reader might expect and this run did not do."""
    sentences = []
    for topic in TOPICS:
        missing = [task.task for task in tasks if topic.of(task) is None]
        if topic.absent and missing:
            sentences.append(topic.absent.format(tasks=", ".join(missing)))
    return tuple(sentences)
