"""The verdicts of a report: as a figure of the whole pair, as JSON, and against the controls."""

import json
from dataclasses import asdict, dataclass

import plotly.graph_objects as go

from mechshift.figures import quantity_panels, quantity_panels_table
from mechshift.report.corrected import corrected_frame, corrected_over
from mechshift.report.exhibit import Exhibit
from mechshift.page.formats import Cell, estimate_cell, percentage_cell
from mechshift.report.records import ReportInput, TaskReport
from mechshift.statistics import Estimate
from mechshift.verdict import NOT_MEASURED, QUANTITIES, RULES, Evidence, quantities, verdict

VERDICTS_NAME = "verdicts.json"

CONTROL_NAMES = {
    "arm-full": "ARM, sees both sides",
    "mdm-causal": "MDM, sees the left only",
    "arm-continued": "ARM, trained on",
    "mdm-other-seed": "MDM, other seed",
}
"""How the page calls a control."""

CONTROL_MEANINGS = {
    "arm-full": "the ARM's weights with the MDM's attention and masks",
    "mdm-causal": "the MDM's weights with the ARM's attention",
    "arm-continued": "the ARM after as many steps on the same data, by its own objective",
    "mdm-other-seed": "made from the ARM as the MDM was, with another seed",
}


def pair_at_a_glance(report: ReportInput) -> go.Figure | None:
    """Every task's quantities in one figure; None if no task has evidence."""
    rows = {task.name: quantities(task.evidence) for task in report.tasks if task.evidence}
    if not rows:
        return None
    return quantity_panels(
        rows,
        title="The pair at a glance",
        subtitle="MDM against ARM; dashed: no change; filled where the interval excludes it",
    )


def control_exhibits(task: TaskReport) -> list[Exhibit]:
    """The MDM's shift beside what the controls show; none without controls."""
    if task.evidence is None or not task.evidence.controls:
        return []
    rows = {"MDM": quantities(task.evidence)}
    rows |= {CONTROL_NAMES[one.name]: quantities(one) for one in task.evidence.controls}
    return [
        Exhibit(
            name="controls",
            section="Controls",
            figure=quantity_panels(
                rows,
                title="What else could it be?",
                subtitle="each model against the ARM; dashed: as the ARM; filled where the interval"
                " excludes it",
            ),
            table=quantity_panels_table(rows),
            reading="A shift that a control shows too needs no diffusion to explain it. What a"
            " control that cannot do the task shows explains little: see its accuracy below.",
        )
    ]


@dataclass(frozen=True, kw_only=True)
class ControlsTable:
    """Weights by attention, and further controls: a column each."""

    columns: tuple[tuple[str, str], ...]
    """Name and meaning."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Quantity, and a cell for every column."""


def controls_table(task: TaskReport) -> ControlsTable | None:
    """Every quantity of every control; None without controls."""
    evidence = task.evidence
    if evidence is None or not evidence.controls:
        return None
    by_name = {one.name: quantities(one) for one in evidence.controls}
    accuracy = {one.name: one.accuracy for one in evidence.controls}
    members = ["arm", *(name for name in CONTROL_NAMES if name in by_name)]
    members.insert(1 + members.count("arm-full") + members.count("mdm-causal"), "mdm")
    titles = {"arm": ("ARM", "as it is"), "mdm": ("MDM", "as it is")}
    titles |= {name: (CONTROL_NAMES[name], CONTROL_MEANINGS[name]) for name in by_name}
    of_mdm = quantities(evidence)

    def cell(member: str, quantity: str, neutral: float) -> Cell:
        if member == "arm":
            return Cell(text=f"{neutral:g}", note="by definition")
        found = of_mdm if member == "mdm" else by_name[member]
        return _cell(found[quantity])

    solved = tuple(
        Cell(text="100\N{NO-BREAK SPACE}%", note="by selection")
        if member in ("arm", "mdm")
        else percentage_cell(accuracy[member])
        for member in members
    )
    numbers = [
        (one.name, tuple(cell(member, one.name, one.neutral) for member in members))
        for one in QUANTITIES
    ]
    return ControlsTable(
        columns=tuple(titles[member] for member in members),
        rows=(("solves of what both solve", solved), *numbers),
    )


def verdicts_json(report: ReportInput) -> str:
    """Every statement of every task, with the rules, and every test over tasks."""
    tasks = {
        task.name: _verdict_values(task.evidence)
        for task in report.tasks
        if task.evidence is not None
    }
    tests = corrected_frame(corrected_over(report.tasks)).to_dicts()
    contents = {"rules": RULES, "tasks": tasks, "tests": tests}
    return json.dumps(contents, indent=2, ensure_ascii=False) + "\n"


def _verdict_values(evidence: Evidence) -> dict[str, object]:
    found = verdict(evidence)
    return {
        "statements": [asdict(statement) for statement in found.statements],
        "paragraph": found.paragraph,
    }


def _cell(estimate: Estimate | None) -> Cell:
    return Cell(text=NOT_MEASURED) if estimate is None else estimate_cell(estimate)
