"""Selection: whether the numbers hold on all candidates, not only on examples that both solve.

For readers who ask whether a shift was made by the choice of examples. Both models must solve an
example of the pool; where each solves what suits it, that alone can make equal models differ.

1. Every quantity of the MDM and the controls is measured on all candidates too, from the pool and a
   sample of the candidates that not both models solve (`comparison.candidates`), beside its value
   on these and the difference from the pool's.
2. Where the sample is too small, or a quantity is not measured on it, a share of score has bounds:
   what it would be on all candidates if it were anything at all on the others, and one of these
   carried as much score as an example of the pool. They are wider than any interval.

A decided verdict names its population. *On all candidates*: its rule says the same of its quantity
there, after the correction for all verdicts of the run. *On examples that both models solve*: all
else, and whatever rests on no quantity of the MDM.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from mechshift.comparison import worst_case
from mechshift.page.elements import Definition, Exhibit, Finding, Part
from mechshift.page.formats import (
    NOT_DECIDED,
    NOT_MEASURED,
    UNDEFINED,
    Cell,
    estimate_cell,
    in_words,
    number,
    percentage_cell,
)
from mechshift.statistics import Estimate, Interval
from mechshift.topics.controls import Rows, quantity_panels
from mechshift.topics.decisions import MIN_CLUSTERS, TOO_FEW, p_of_decision
from mechshift.topics.on_candidates import (
    OnCandidates,
    Selection,
    in_range,
    measure_on_candidates,
    on_all_of,
)
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    MemberResults,
    Quantity,
    Rule,
    Statement,
    TaskResults,
    Topic,
)

NAME = "selection"

ON_ALL = "on all candidates"
ON_COMMON = "on examples that both models solve"

COMMON, OTHERS, ALL = "both models solve", "not both solve", "all candidates"
DIFFERENCE, BOUNDS = "all candidates minus both solve", "all candidates, worst case"
"""Rows of the figure, and further rows of its table."""


def selection_of(task: TaskResults) -> Selection | None:
    """The record; None where no candidates but the pool's were scored."""
    found: Selection | None = task.records.get(NAME)
    return found


def common_are_all(task: TaskResults) -> bool:
    """Whether both models solve all candidates, so that whatever is said is said of them all."""
    found = selection_of(task)
    return found is not None and not found.num_others


def on_candidates(task: TaskResults, member: str = "mdm") -> tuple[OnCandidates, ...]:
    """All quantities of a member; none where the task has no record, or no others."""
    found = selection_of(task)
    one = None if found is None else found.members.get(member)
    return () if one is None else one.quantities


def measured_on_all(task: TaskResults, quantity: Quantity) -> Measured:
    """A quantity of the MDM on all candidates, or why it is not known."""
    if common_are_all(task):
        return task.mdm.measured[quantity.name]
    for one in on_candidates(task):
        if one.name == quantity.name:
            return on_all_of(task.mdm.measured[one.name], one, quantity.limits)
    return Measured(reason=NOT_MEASURED)


def bounds_on_all(task: TaskResults, quantity: Quantity, member: MemberResults) -> Interval | None:
    """Between which a share lies on all candidates; None of others, and without its value."""
    found, common = selection_of(task), member.measured[quantity.name].estimate
    if found is None or common is None or quantity.limits is None or not quantity.mixes:
        return None
    return worst_case(common, found.share, *quantity.limits)


def p_on_candidates(
    task: TaskResults, rule: Rule, quantity: Quantity | None, statement: Statement
) -> float:
    """The p-value of what a rule says, on all candidates; 1 where it says something else there.

    Args:
        task: with its record.
        rule: of the statement.
        quantity: on which it rests; None where that is none of the MDM's.
        statement: as it is by itself.
    """
    if quantity is None or rule.reads is None:
        return 1.0
    measured, reads = measured_on_all(task, quantity), rule.reads
    estimate = measured.estimate
    if estimate is None or reads(task, measured) != statement.by_itself:
        return 1.0
    return p_of_decision(
        lambda errors: reads(task, replace(measured, estimate=estimate.reaching(errors))),
        estimate.interval.level,
    )


def with_all_candidates(task: TaskResults, statement: Statement, quantity: Quantity) -> Statement:
    """A statement with its number on all candidates, or the bounds of that."""
    found = measured_on_all(task, quantity).estimate
    bounds = bounds_on_all(task, quantity, task.mdm) if found is None else None
    return replace(statement, on_all=found, bounds_on_all=bounds)


def note_on_all(statement: Statement) -> str:
    """A remark beside a number; empty where nothing is known of all candidates."""
    if statement.on_all is not None:
        return f"{ON_ALL}: {in_words(statement.on_all)}"
    if statement.bounds_on_all is not None:
        return f"{ON_ALL}: {_between(statement.bounds_on_all)} at worst"
    return ""


def _between(bounds: Interval) -> str:
    return f"{number(bounds.low)} to {number(bounds.high)}"


def by_row(member: MemberResults, one: OnCandidates, quantity: Quantity) -> Mapping[str, Measured]:
    """A member's quantity on common examples, on the others, on all, and the difference."""
    common = member.measured[one.name]
    return {
        COMMON: common,
        OTHERS: in_range(one.others, quantity.limits),
        ALL: on_all_of(common, one, quantity.limits),
        DIFFERENCE: one.difference,
    }


def selection_rows(task: TaskResults, quantities: Sequence[Quantity]) -> Rows:
    """Every quantity of the MDM on common examples, on the others and on all."""
    by_name = {one.name: one for one in quantities}
    found = {one.name: by_row(task.mdm, one, by_name[one.name]) for one in on_candidates(task)}
    return {
        row: {name: rows[row].estimate for name, rows in found.items()}
        for row in (COMMON, OTHERS, ALL)
    }


def selection_table(task: TaskResults, quantities: Sequence[Quantity]) -> pl.DataFrame:
    """One row for each member, quantity and row of the figure; then differences and bounds."""
    by_name = {one.name: one for one in quantities}
    lines = [
        {
            "member": member.name,
            "quantity": one.name,
            "row": row,
            "value": None if measured.estimate is None else measured.estimate.value,
            "low": None if measured.estimate is None else measured.estimate.interval.low,
            "high": None if measured.estimate is None else measured.estimate.interval.high,
            "reason": measured.reason,
        }
        for member in (task.mdm, *task.controls)
        for one in on_candidates(task, member.name)
        for row, measured in by_row(member, one, by_name[one.name]).items()
    ]
    lines += [
        {
            "member": member.name,
            "quantity": one.name,
            "row": BOUNDS,
            "value": None,
            "low": bounds.low,
            "high": bounds.high,
            "reason": "",
        }
        for member in (task.mdm, *task.controls)
        for one in on_candidates(task, member.name)
        if (bounds := bounds_on_all(task, by_name[one.name], member)) is not None
    ]
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    names = dict.fromkeys(("member", "quantity", "row"), pl.String)
    return pl.DataFrame(lines, schema={**names, **numbers, "reason": pl.String})


def _exhibits(quantities: Sequence[Quantity], task: TaskResults) -> Iterable[Exhibit]:
    shown, found = on_candidates(task), selection_of(task)
    rows = selection_rows(task, quantities)
    drawn = [one.name for one in shown if one.at_a_glance]
    if found is None or not any(of_row[name] for of_row in rows.values() for name in drawn):
        return
    few = [OTHERS] if found.num_clusters < MIN_CLUSTERS else []
    if task.comparison.num_clusters < MIN_CLUSTERS:
        few += [COMMON, ALL]
    yield Exhibit(
        name=NAME,
        figure=quantity_panels(
            rows,
            shown,
            title="All candidates, and those that both models solve",
            subtitle=f"{found.num_candidates:,} candidates, of which both models solve"
            f" {found.solved['both']:,}; {found.num_sampled:,} of the others were scored; dashed:"
            " no change",
            undecided=few,
        ),
        table=selection_table(task, quantities),
        reading="Is a shift the models', or that of the examples that were chosen? What holds in"
        " the first row and not in the last may come from what each model solves.",
    )


@dataclass(frozen=True, kw_only=True)
class SelectionRow:
    """A line of the table: one quantity of the MDM."""

    name: str
    common: Cell
    others: Cell
    on_all: Cell
    difference: Cell
    bounds: str
    """Of shares, between which the number on all candidates lies at worst; empty of others."""


def table_rows(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[SelectionRow, ...]:
    """Every quantity of the MDM that is known on common examples."""
    by_name = {one.name: one for one in quantities}
    rows = []
    for one in on_candidates(task):
        found = by_row(task.mdm, one, by_name[one.name])
        if found[COMMON].estimate is not None:
            bounds = bounds_on_all(task, by_name[one.name], task.mdm)
            rows.append(
                SelectionRow(
                    name=one.name,
                    common=_cell(found[COMMON]),
                    others=_cell(found[OTHERS]),
                    on_all=_cell(found[ALL]),
                    difference=_cell(found[DIFFERENCE], signed=True),
                    bounds="" if bounds is None else _between(bounds),
                )
            )
    return tuple(rows)


def _cell(measured: Measured, *, signed: bool = False) -> Cell:
    if measured.estimate is not None:
        return estimate_cell(measured.estimate, signed=signed)
    few = measured.reason.startswith(TOO_FEW)
    return Cell(text=measured.reason) if few else Cell(text=UNDEFINED, note=measured.reason)


def _parts(quantities: Sequence[Quantity], task: TaskResults) -> tuple[Part, ...]:
    rows = table_rows(task, quantities)
    return (Part(template="selection.html.j2", content={"rows": rows}),) if rows else ()


def _findings(quantities: Sequence[Quantity], task: TaskResults) -> tuple[Finding, ...]:
    found = selection_of(task)
    if found is None:
        return ()
    question = "Would all candidates show the same?"
    share = percentage_cell(found.share)
    asked = (
        f"Both models solve {share.text} {share.interval} of the {found.num_candidates:,}"
        " candidates"
    )
    if not found.num_others:
        return (Finding(question=question, verdict="yes", sentence=f"{asked}, which is all."),)
    parts = [f"{count:,} by {who}" for who, count in found.sampled.items() if count]
    asked += (
        f"; of the other {found.num_others:,} a sample of {found.num_sampled:,} was scored (solved:"
        f" {', '.join(parts)})."
    )
    decided = [
        one for one in quantities if one.at_a_glance and _excludes(task.mdm.estimate(one.name), one)
    ]
    if not decided:
        return (
            Finding(
                question=question,
                verdict=NOT_DECIDED,
                sentence=f"{asked} No headline number differs from what no change would give, so"
                " there is nothing for all candidates to show.",
            ),
        )
    kept = [one.name for one in decided if _same_side(task, one)]
    lost = [one.name for one in decided if one.name not in kept]
    words = []
    if kept:
        words.append(f"{', '.join(kept)} still differs from no change on all candidates")
    if lost:
        words.append(f"{', '.join(lost)} may not")
    return (
        Finding(
            question=question,
            verdict="yes" if not lost else "in part" if kept else NOT_DECIDED,
            sentence=f"{asked} {'; '.join(words)}.",
        ),
    )


def _excludes(estimate: Estimate | None, one: Quantity) -> bool:
    """Whether a number differs from what no change would give."""
    return estimate is not None and one.neutral is not None and estimate.excludes(one.neutral)


def _same_side(task: TaskResults, one: Quantity) -> bool:
    """Whether it differs on all candidates too, in the direction of the common examples."""
    common, found = task.mdm.estimate(one.name), measured_on_all(task, one).estimate
    if common is None or found is None or one.neutral is None or not _excludes(found, one):
        return False
    return (common.value > one.neutral) == (found.value > one.neutral)


def _share_cell(task: TaskResults) -> Cell:
    found = selection_of(task)
    return Cell(text=NOT_MEASURED) if found is None else percentage_cell(found.share)


def selection_topic(quantities: Sequence[Quantity]) -> Topic[Selection]:
    """The topic, over the quantities that other topics measure of members."""
    return Topic(
        name=NAME,
        title="Selection of examples",
        record_type=Selection,
        conclude=partial(measure_on_candidates, quantities=quantities),
        reads=("others", "flow", "others-flow"),
        absent="Numbers on all candidates were not measured on {tasks}: no sample was kept, or"
        " scored, of the candidates that not both models solve (--pool.num-others).",
        headline_name="Behaviour",
        headline=(
            HeadlineRow(
                name="Solved by both",
                explanation="of all candidates; verdicts are of these examples",
                cell=_share_cell,
            ),
        ),
        findings=partial(_findings, quantities),
        exhibits=partial(_exhibits, quantities),
        parts=partial(_parts, quantities),
        terms=(
            Definition(
                term="Candidates",
                meaning="All examples that both models were asked. The pool holds those that both"
                " solve; a sample of the others is scored too, so that numbers are known on all.",
            ),
        ),
        method=lambda _: (
            Definition(
                term="On all candidates",
                meaning="The mean scores over all candidates are p times those of the pool plus"
                " 1 − p times those of a random sample of the candidates that not both models"
                " solve, where p is the share that both solve; every number is had from these mean"
                " scores by the function that measures it on the pool. Interval: all of it again"
                " without each of 32 random blocks of whole clusters, p included (delete-a-group"
                f" jackknife). The sample needs {MIN_CLUSTERS} clusters, or to hold all others."
                " Both models are scored on the right answer, in the order in which the MDM wrote"
                " its own. At worst: bounds of a share of score if it were anything at all on the"
                " others and one of these carried as much score as an example of the pool.",
            ),
            Definition(
                term="On all candidates, on examples that both models solve",
                meaning=f"“{ON_ALL}”: the rule of the verdict says the same of the number there,"
                f" corrected for all verdicts of the run. “{ON_COMMON}”: it does not, or the"
                " verdict rests on no number that was measured there.",
            ),
        ),
    )
