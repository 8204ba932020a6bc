"""Which numbers of the ablations does the page single out, and where do they stand?"""

from typing import Literal

from mechshift.report.formats import NOT_MEASURED, UNDEFINED, Cell, estimate_cell
from mechshift.report.records import TaskAblations, TaskReport
from mechshift.statistics import Estimate

EARLY = "early layers"
"""The plan that the headline is about."""

Side = Literal["arm", "mdm", "difference"]
Drop = Literal["accuracy_drop", "share_lost"]


def replacement_of(ablations: TaskAblations) -> str:
    """What findings are about: zeroing, as published, or the first replacement that was run."""
    replacements = ablations.structures.replacements
    return "zero" if "zero" in replacements else replacements[0]


def drop_of(ablations: TaskAblations, side: Side, drop: Drop, plan: str) -> Estimate | None:
    """What one plan costs a model, or MDM minus ARM; None where it was not run or is undefined."""
    structures = ablations.structures
    if plan not in structures.arm.labels.names:
        return None
    if side == "difference":
        estimates = getattr(structures, f"{drop}_difference")
    else:
        estimates = getattr(getattr(structures, side), drop)
    found: Estimate | None = estimates.at(*_place(ablations, plan))
    return found


def mdm_excess(ablations: TaskAblations, drop: Drop, control: str) -> Estimate | None:
    """What the plan of this control costs the MDM beyond the control; None where there is none."""
    mdm = ablations.structures.mdm
    if control not in mdm.labels.names:
        return None
    excess = mdm.accuracy_excess if drop == "accuracy_drop" else mdm.share_excess
    return excess.at(*_place(ablations, control))


def early_cell(task: TaskReport, side: Side, drop: Drop, undecided: str) -> Cell:
    """The drop without early layers; `undecided` is noted at a difference that may be 0."""
    if task.ablations is None or EARLY not in task.ablations.structures.arm.labels.names:
        return Cell(text=NOT_MEASURED)
    found = drop_of(task.ablations, side, drop, EARLY)
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


def _place(ablations: TaskAblations, plan: str) -> tuple[int, int]:
    structures = ablations.structures
    return (
        structures.arm.labels.names.index(plan),
        structures.replacements.index(replacement_of(ablations)),
    )
