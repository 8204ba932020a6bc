"""Wording: do the numbers speak of the task, or of the templates that its prompts were written in?

For readers who ask whether the same task in other words would give the same result.

1. Every quantity of the MDM is measured on the examples of each template alone, by the functions
   that measure it on all, with fewer resamples. So is faithfulness at the circuit size, on the
   held-out examples of each template and with the circuits as they are.
2. The variance of the number on all examples is split into that of its examples and that of its
   templates (`comparison.variance_split`), which gives its interval for other templates as well.

A decided verdict names its level. *On this task*: it is decided also if templates were drawn again,
after the correction for all verdicts of the run. *On these templates*: all else, and whatever rests
on no quantity of the MDM. Fewer than `MIN_TEMPLATES` templates never speak of the task.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from mechshift.comparison import Groups, VarianceSplit, variance_split
from mechshift.page.elements import Definition, Exhibit, Finding, Part
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, estimate_cell, percentage
from mechshift.statistics import Estimate
from mechshift.topics.by_template import (
    MIN_TEMPLATE_CLUSTERS,
    TemplateExamples,
    WordedQuantity,
    Wording,
    measure_by_template,
    values_of,
)
from mechshift.topics.controls import Rows, quantity_panels
from mechshift.topics.decisions import MIN_CLUSTERS, TOO_FEW
from mechshift.topics.topic import Measured, Quantity, TaskResults, Topic

NAME = "wording"

MIN_TEMPLATES = 5
"""Templates below which nothing is said of the task: so few say too little of how far others would
differ."""

ON_TASK = "on this task"
ON_TEMPLATES = "on these templates"
ON_ONE_TEMPLATE = "on this one template"

ALL, ANEW = "all examples", "other templates too"
"""Rows of the figures: the number with its interval over examples, and over templates besides."""

FAITHFULNESS_FOLD = "Faithfulness by template, on held-out examples"


def wording_of(task: TaskResults) -> Wording | None:
    """The record; None where templates are not told apart."""
    found: Wording | None = task.records.get(NAME)
    return found


def whole(task: TaskResults, one: WordedQuantity) -> Measured:
    """A quantity on all examples."""
    return task.mdm.measured[one.name] if one.on_all is None else one.on_all


def split_of(
    task: TaskResults, one: WordedQuantity, examples: TemplateExamples
) -> VarianceSplit | None:
    """The split of a quantity's variance; None where it is known of fewer than two templates."""
    scatter = whole(task, one).scattered()
    if scatter is None or not np.isfinite(one.by_chance):
        return None
    return variance_split(
        Groups(values=values_of(one.by_template), num_examples=examples.num_examples),
        one.by_chance,
        examples.num_units,
        scatter.error**2,
    )


def population(task: TaskResults) -> str:
    """Of what a decided verdict speaks at least; empty where templates are not told apart."""
    found = wording_of(task)
    if found is None:
        return ""
    return ON_ONE_TEMPLATE if len(found.templates) == 1 else ON_TEMPLATES


def p_over_templates(task: TaskResults, quantity: str, p: float) -> float:
    """The p-value of a verdict if templates were drawn again; 1 where they are too few to say.

    Args:
        task: with its record.
        quantity: on which the verdict rests; empty where there is none.
        p: of the verdict over examples.
    """
    found = wording_of(task)
    for one in () if found is None else found.quantities:
        if found is not None and one.name == quantity:
            split = split_of(task, one, found.discovery)
            if split is not None and split.num_templates >= MIN_TEMPLATES:
                return split.p_over_templates(p)
    return 1.0


def _too_few(count: int) -> str:
    return f"{TOO_FEW} templates ({count})"


def _widened(task: TaskResults, one: WordedQuantity, examples: TemplateExamples) -> Estimate | None:
    """On all examples, with an interval for other templates; None where these are too few."""
    estimate, split = whole(task, one).estimate, split_of(task, one, examples)
    if estimate is None or split is None or split.num_templates < MIN_TEMPLATES:
        return None
    return split.widened(estimate)


def wording_rows(
    task: TaskResults,
    templates: Sequence[str],
    shown: Sequence[WordedQuantity],
    examples: TemplateExamples,
) -> Rows:
    """Every quantity on all examples, with other templates, and on each template's examples."""
    rows: dict[str, Mapping[str, Estimate | None]] = {
        ALL: {one.name: whole(task, one).estimate for one in shown},
        ANEW: {one.name: _widened(task, one, examples) for one in shown},
    }
    rows |= {
        template: {one.name: one.by_template[place].estimate for one in shown}
        for place, template in enumerate(templates)
    }
    return rows


def wording_table(
    task: TaskResults,
    templates: Sequence[str],
    shown: Sequence[WordedQuantity],
    examples: TemplateExamples,
) -> pl.DataFrame:
    """One row for each quantity and row of the figure, with what an interval rests on."""
    rows = wording_rows(task, templates, shown, examples)
    every = [int(examples.num_examples.sum())] * 2
    counts = dict(zip(rows, [*every, *examples.num_examples.tolist()], strict=True))
    clusters = dict(zip(templates, examples.num_clusters.tolist(), strict=True))
    lines = [
        {
            "quantity": one.name,
            "row": row,
            "num_examples": counts[row],
            "num_clusters": clusters.get(row),
            "value": None if (found := of_row[one.name]) is None else found.value,
            "low": None if found is None else found.interval.low,
            "high": None if found is None else found.interval.high,
            "reason": "" if found is not None else _reason(one, templates, row),
        }
        for one in shown
        for row, of_row in rows.items()
    ]
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    schema = {"quantity": pl.String, "row": pl.String, "num_examples": pl.Int64}
    return pl.DataFrame(
        lines, schema={**schema, "num_clusters": pl.Int64, **numbers, "reason": pl.String}
    )


def _reason(one: WordedQuantity, templates: Sequence[str], row: str) -> str:
    if row in templates:
        return one.by_template[templates.index(row)].reason
    return _too_few(_num_known(one)) if row == ANEW else "undefined on all examples"


def _num_known(one: WordedQuantity) -> int:
    """Templates on whose examples it is known."""
    return sum(found.estimate is not None for found in one.by_template)


def _exhibits(task: TaskResults) -> Iterable[Exhibit]:
    found = wording_of(task)
    if found is None:
        return
    groups = (
        (NAME, found.quantities, found.discovery, "By template", ""),
        (
            "wording-faithfulness",
            found.faithfulness,
            found.held_out,
            "Faithfulness by template",
            FAITHFULNESS_FOLD,
        ),
    )
    for name, shown, examples, title, fold in groups:
        if not any(_num_known(one) for one in shown):
            continue
        rows = wording_rows(task, found.templates, shown, examples)
        few = [
            template
            for template, count in zip(found.templates, examples.num_clusters, strict=True)
            if count < MIN_CLUSTERS
        ]
        if task.comparison.num_clusters < MIN_CLUSTERS:
            few += [ALL, ANEW]
        yield Exhibit(
            name=name,
            figure=quantity_panels(
                rows,
                shown,
                title=title,
                subtitle="the MDM on the examples of each template; dashed: no change; filled"
                f" where the interval excludes it and rests on {MIN_CLUSTERS} clusters",
                undecided=few,
            ),
            table=wording_table(task, found.templates, shown, examples),
            reading="Does every template show the same? The second row is the number of the first"
            " with an interval that lets the templates vary too: what it excludes is said of the"
            " task, and not only of the templates that are listed here.",
            fold=fold,
        )


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """A line of the table of variances."""

    name: str
    on_templates: Cell
    on_task: Cell
    of_templates: str
    """Share of the variance."""
    of_examples: str
    num_templates: str


def split_rows(task: TaskResults, found: Wording) -> tuple[SplitRow, ...]:
    """The variance of every quantity that is known of a template, split."""
    return tuple(
        _split_row(task, found, one, examples)
        for shown, examples in (
            (found.quantities, found.discovery),
            (found.faithfulness, found.held_out),
        )
        for one in shown
        if _num_known(one) and whole(task, one).estimate is not None
    )


def _split_row(
    task: TaskResults, found: Wording, one: WordedQuantity, examples: TemplateExamples
) -> SplitRow:
    estimate, split = whole(task, one).estimate, split_of(task, one, examples)
    assert estimate is not None  # others have no row
    widened, known = _widened(task, one, examples), _num_known(one)
    shares = {level: NOT_MEASURED for level in ("templates", "examples")}
    if widened is not None and split is not None and split.variance > 0:
        shares = {level: percentage(split.share(level)) for level in shares}
        if split.between < 0:
            shares["templates"] += " (estimated below 0)"
    return SplitRow(
        name=one.name,
        on_templates=estimate_cell(estimate),
        on_task=Cell(text=_too_few(known)) if widened is None else estimate_cell(widened),
        of_templates=shares["templates"],
        of_examples=shares["examples"],
        num_templates=f"{known} of {len(found.templates)}",
    )


def _parts(task: TaskResults) -> tuple[Part, ...]:
    found = wording_of(task)
    rows = () if found is None else split_rows(task, found)
    return (Part(template="wording.html.j2", content={"rows": rows}),) if rows else ()


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    found = wording_of(task)
    if found is None:
        return ()
    question = "Would other templates show the same?"
    decided = {
        one.name: _widened(task, one, found.discovery)
        for one in found.quantities
        if one.at_a_glance and _excludes(whole(task, one).estimate, one)
    }
    enough = int((found.discovery.num_clusters >= MIN_TEMPLATE_CLUSTERS).sum())
    if enough < MIN_TEMPLATES:
        return (
            Finding(
                question=question,
                verdict=_too_few(enough),
                sentence=f"The examples are written in {', '.join(found.templates)}, and at least"
                f" {MIN_TEMPLATES} templates with examples of {MIN_TEMPLATE_CLUSTERS} clusters are"
                " needed to speak of others.",
            ),
        )
    if not decided:
        return (
            Finding(
                question=question,
                verdict=NOT_DECIDED,
                sentence="No headline number differs from what no change would give, so there is"
                " nothing for other templates to show.",
            ),
        )
    by_name = {one.name: one for one in found.quantities}
    kept = [name for name, one in decided.items() if _excludes(one, by_name[name])]
    lost = [name for name in decided if name not in kept]
    words = []
    if kept:
        words.append(f"{', '.join(kept)} would still differ from no change")
    if lost:
        words.append(f"{', '.join(lost)} might not")
    shares = [
        f"{percentage(split.share('templates'))} ({name})"
        for name in decided
        if (split := split_of(task, by_name[name], found.discovery)) is not None
    ]
    return (
        Finding(
            question=question,
            verdict="yes" if not lost else "in part" if kept else NOT_DECIDED,
            sentence=f"With its {len(found.templates)} templates drawn again as well as its"
            f" examples, {'; '.join(words)}. Of the variance, templates make"
            f" {', '.join(shares)}.",
        ),
    )


def _excludes(estimate: Estimate | None, one: WordedQuantity) -> bool:
    """Whether a number differs from what no change would give."""
    return estimate is not None and one.neutral is not None and estimate.excludes(one.neutral)


def wording_topic(quantities: Sequence[Quantity]) -> Topic[Wording]:
    """The topic, over the quantities that other topics measure of members."""
    return Topic(
        name=NAME,
        title="Wording",
        record_type=Wording,
        conclude=partial(measure_by_template, quantities=quantities),
        reads=("flow", "faithfulness"),
        absent="Templates are not told apart on {tasks}, where examples name none or scores are"
        " means over shards of examples.",
        findings=_findings,
        exhibits=_exhibits,
        parts=_parts,
        terms=(
            Definition(
                term="Template",
                meaning="The wording of a prompt, into which names, years and things are put. A"
                " result that holds in one wording only says little of the task.",
            ),
        ),
        method=lambda _: (
            Definition(
                term="Wording",
                meaning="The MDM's numbers on the examples of each template, on fewer resamples"
                f" than on all; none where these are of fewer than {MIN_TEMPLATE_CLUSTERS}"
                " clusters. The variance between templates is what their numbers scatter"
                " beyond those of random groups of the same examples, as large as they are (method"
                " of moments; below 0 counts as 0). It is added to the variance over examples"
                " for the interval with other templates, Student's t with one degree of freedom"
                " less than templates. Faithfulness: held-out examples alone, circuits as they"
                " are, so the templates of discovery do not vary in it.",
            ),
            Definition(
                term="On this task, on these templates",
                meaning=f"“{ON_TASK}”: with the variance between at least {MIN_TEMPLATES}"
                " templates in it, the verdict is still decided, corrected for all verdicts of"
                f" the run. “{ON_TEMPLATES}”: it is not, or the verdict rests on no number that"
                " was measured by template. Templates count as a random sample of wordings of"
                " the task, which those of a built-in task, written by hand, are not quite.",
            ),
        ),
    )
