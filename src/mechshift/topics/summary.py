"""Summary: what a task's verdicts say in one sentence, for a reader who wants nothing else first.

1. Of every rule that decided something, its plain words (`topic.Plain`), first those by which the
   MDM stayed as the ARM, then those by which it did not.
2. Whose doing each shift is that controls can explain, or that this is not decided.
3. How sure: the largest corrected p-value among what was said; and of which examples it is said.
4. All that is open, with the words of the rule for why.

It decides nothing: it is made from the corrected verdicts alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mechshift.page.formats import NOT_DECIDED, p_value
from mechshift.topics.causes import can_do_the_task, shifts_to_explain
from mechshift.topics.decisions import decides
from mechshift.topics.registry import Verdict, quantities, rules
from mechshift.topics.topic import Plain, Statement, TaskResults

CAUSE = "cause"
"""The axis whose statements speak of shifts on other axes."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A task in a few sentences; empty where there is nothing to say."""

    said: str
    """What stayed and what moved."""
    cause: str
    """Whose doing it is."""
    certainty: str
    """How sure all that is."""
    speaks_of: str
    """Of which examples, axis by axis."""
    open: str
    """Which axes are not decided, not measured, or rest on too little."""


def summary(task: TaskResults, verdict: Verdict) -> Summary:
    """Put a task's corrected verdicts into words.

    Args:
        task: whose controls say what could be explained.
        verdict: every statement on this task.
    """
    decided = [(plain, one) for one in verdict.statements if (plain := _plain(one)) is not None]
    explained = _causes(task, verdict)
    sure = [one for _, one in decided]
    sure += [one for _, one in explained if decides(one.verdict)]
    return Summary(
        said=_stayed_and_moved([plain for plain, _ in decided]),
        cause=" ".join(_in_words(task, explained)),
        certainty=_certainty(sure),
        speaks_of=_speaks_of(sure),
        open=_open([one for one in verdict.statements if one.axis != CAUSE]),
    )


def _plain(statement: Statement) -> Plain | None:
    """A decided verdict in plain words; None where nothing is decided, and of causes."""
    if statement.axis == CAUSE or not decides(statement.verdict):
        return None
    (rule,) = (rule for rule in rules() if rule.axis == statement.axis)
    return rule.plain[statement.verdict]


def _stayed_and_moved(decided: Sequence[Plain]) -> str:
    stayed = listed(one.words for one in decided if not one.moved)
    moved = listed(one.words for one in decided if one.moved)
    if stayed and moved:
        return f"The MDM {stayed}, but {moved}."
    if moved:
        return f"The MDM {moved}. Nothing is shown to have stayed."
    if stayed:
        return f"The MDM {stayed}. Nothing is shown to have moved."
    return "Nothing is decided: neither that anything stayed nor that anything moved."


def _causes(task: TaskResults, verdict: Verdict) -> list[tuple[str, Statement]]:
    """Axis of a shift, and whose doing it is; left out where neither survives the correction."""
    axes = {rule.quantity: rule.axis for rule in rules()}
    shifts = [axes[one.name] for one in shifts_to_explain(task, quantities("members"))]
    causes = [one for one in verdict.statements if one.axis == CAUSE]
    return [
        (axis, one)
        for axis, one in zip(shifts, causes, strict=True)
        if decides(one.verdict) or decides(verdict.of(axis).verdict)
    ]


def _in_words(task: TaskResults, explained: Sequence[tuple[str, Statement]]) -> Iterable[str]:
    """A sentence for each cause, about all shifts that have it."""
    if not explained:
        axes = [
            rule.axis
            for rule in rules()
            for one in quantities("members")
            if one.explained and rule.quantity == one.name
        ]
        yield f"No shift in {listed(axes, 'or')} to explain."
    for cause in dict.fromkeys(one.verdict for _, one in explained):
        axes = [axis for axis, one in explained if one.verdict == cause]
        shifts = f"{'the shifts' if len(axes) > 1 else 'the shift'} in {listed(axes)}"
        yield _cause_in_words(task, cause, shifts, "are" if len(axes) > 1 else "is")


def _cause_in_words(task: TaskResults, cause: str, shifts: str, be: str) -> str:
    if not decides(cause):
        if not any(can_do_the_task(one) for one in task.controls):
            return f"Whose doing {shifts} {be} cannot be said: no control can do the task."
        if cause == NOT_DECIDED:
            return f"Whose doing {shifts} {be}, is not decided."
        return f"Whose doing {shifts} {be}, is open: {cause}."
    begin = shifts[0].upper() + shifts[1:]
    if cause.startswith("also without diffusion"):
        return f"{begin} {be} there {cause}."
    return f"{begin} {be} {cause} doing."


def _certainty(sure: Sequence[Statement]) -> str:
    p = [one.corrected_p for one in sure if one.corrected_p is not None]
    if not p:
        return ""
    several = " at most" if len(p) > 1 and max(p) >= 0.0005 else ""
    return f"How sure: corrected {p_value(max(p))}{several}."


def _speaks_of(sure: Sequence[Statement]) -> str:
    """Axes of one population together."""
    populations = dict.fromkeys(one.population for one in sure if one.population)
    groups = (
        f"{listed(dict.fromkeys(one.axis for one in sure if one.population == population))}"
        f" {population}"
        for population in populations
    )
    said = "; ".join(groups)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _open(statements: Sequence[Statement]) -> str:
    """Grouped by why."""
    open_ = [one for one in statements if not decides(one.verdict)]
    reasons = dict.fromkeys(one.verdict for one in open_)
    groups = (
        f"{reason[0].upper()}{reason[1:]}:"
        f" {', '.join(dict.fromkeys(one.axis for one in open_ if one.verdict == reason))}."
        for reason in reasons
    )
    return " ".join(groups)


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, end = list(words) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end
