"""Claims: a task's verdict axis by axis, each with the rows of the headline that it rests on.

For a reader who was sent one claim: what is said, by which rule, on which numbers.
"""

from dataclasses import dataclass
from typing import Any

from mechshift.page.elements import Row
from mechshift.page.formats import NOT_MEASURED, Cell
from mechshift.topics.registry import TOPICS, Verdict, statement_cell
from mechshift.topics.topic import Rule, Statement, TaskResults, Topic


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Claim of a rule on a task."""

    rule: Rule
    topic: Topic[Any]
    """To which it belongs, with the figures."""
    statements: tuple[Statement, ...]
    """One; causes are as many as there are shifts to explain."""
    cell: Cell
    """As in the table of all tasks."""
    rows: tuple[Row, ...]
    """The topic's numbers on this task, one cell each."""


def claims(task: TaskResults, verdict: Verdict) -> tuple[Claim, ...]:
    """Every axis of the verdict, in its order."""
    return tuple(
        Claim(
            rule=rule,
            topic=topic,
            statements=(said := tuple(s for s in verdict.statements if s.axis == rule.axis)),
            cell=statement_cell(said),
            rows=_rows(topic, task),
        )
        for topic in TOPICS
        for rule in topic.rules
    )


def _rows(topic: Topic[Any], task: TaskResults) -> tuple[Row, ...]:
    """What was measured."""
    made = (
        Row(name=row.name, explanation=row.explanation, cells=(row.cell(task),))
        for row in topic.headline
    )
    return tuple(row for row in made if row.cells[0].text != NOT_MEASURED)
