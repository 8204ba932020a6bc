"""Which numbers of the ablations does the page single out, and where do they stand?"""

from typing import Literal

from mechshift.page.formats import Cell, estimate_cell
from mechshift.report.records import TaskReport
from mechshift.verdict import NOT_MEASURED, UNDEFINED, Drop, Side, drop_of

EARLY = "early layers"
"""The plan that the headline is about."""


def early_cell(task: TaskReport, side: Side, drop: Drop, undecided: str) -> Cell:
    """The drop without early layers; `undecided` is noted at a difference that may be 0."""
    if task.ablations is None or EARLY not in task.ablations.structures.arm.labels.names:
        return Cell(text=NOT_MEASURED)
    found = drop_of(task.ablations.structures, side, drop, EARLY)
    if found is None:
        return Cell(text=UNDEFINED)
    if side != "difference":
        return estimate_cell(found)
    return estimate_cell(found, signed=True, note="" if found.excludes(0.0) else undecided)


def own_answers_cell(task: TaskReport, side: Literal["arm", "mdm"]) -> Cell:
    """How often the model's own answers are right without early layers, where it was asked."""
    answers = task.ablations and getattr(task.ablations, f"{side}_answers")
    if not answers or EARLY not in answers.plans:
        return Cell(text=NOT_MEASURED)
    found = answers.accuracy.at(answers.plans.index(EARLY), 0)
    return Cell(text=UNDEFINED) if found is None else estimate_cell(found)


def agreement_cell(task: TaskReport, side: Literal["arm", "mdm"]) -> Cell:
    """Rank agreement of attribution with single ablations."""
    if task.ablations is None:
        return Cell(text=NOT_MEASURED)
    return estimate_cell(getattr(task.ablations, f"{side}_agreement"))
