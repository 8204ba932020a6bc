"""The table at the top: one row per quantity, one column per task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mechshift.comparison import CrossFitted
from mechshift.report.ablated import agreement_cell, early_cell, own_answers_cell
from mechshift.report.findings import find_series, findings
from mechshift.report.formats import (
    Cell,
    entry_cell,
    estimate_cell,
    in_words,
    percentage_cell,
)
from mechshift.report.records import TaskReport
from mechshift.statistics import Estimate
from mechshift.verdict import (
    NOT_DECIDED,
    NOT_MEASURED,
    RULES,
    UNDEFINED,
    Drop,
    Side,
    Statement,
    depth_shift,
    right_to_left_share,
    verdict,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity over all tasks."""

    name: str
    explanation: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that answer one question."""

    name: str
    rows: tuple[Row, ...]


def headline(tasks: tuple[TaskReport, ...]) -> tuple[Group, ...]:
    """Answers; then behaviour, structure, depth and faithfulness of every task, with intervals."""

    def row(name: str, explanation: str, cell: Callable[[TaskReport], Cell]) -> Row:
        return Row(name=name, explanation=explanation, cells=tuple(cell(task) for task in tasks))

    behaviour = (
        row(
            "ARM accuracy", "greedy, left to right", lambda t: percentage_cell(t.pool.arm_accuracy)
        ),
        row("MDM accuracy", "greedy, denoising", lambda t: percentage_cell(t.pool.mdm_accuracy)),
        row("Pool", "examples that both get right, scored", _pool_cell),
        row("Circuit size K", "edges, of all edges of the graph", _size_cell),
    )
    structure = (
        row("Edge overlap", "Jaccard of the top K", _overlap_cell("edges")),
        row("… if only layout mattered", "null: shuffled scores", _overlap_cell("null")),
        row("ARM ceiling", "ARM with itself, half against half", _overlap_cell("ceiling_arm")),
        row("MDM ceiling", "MDM with itself, half against half", _overlap_cell("ceiling_mdm")),
        row("Ratio to ceiling", "1: no difference to be seen", _overlap_cell("ratio")),
        row("Node overlap", "weighted, heads and MLPs", _overlap_cell("nodes")),
    )
    depth = (
        row("Early share, ARM", "first third of the layers", lambda t: _early_cell(t, "arm")),
        row("Early share, MDM", "first third of the layers", lambda t: _early_cell(t, "mdm")),
        row("Early share, shift", "MDM minus ARM, cross-fitted", _depth_cell("early")),
        row("Middle share, shift", "MDM minus ARM, cross-fitted", _depth_cell("middle")),
        row("Late share, shift", "MDM minus ARM, cross-fitted", _depth_cell("late")),
        row(
            "Centre of mass, shift",
            "layers, cross-fitted; below 0: earlier",
            _depth_cell("centre_of_mass"),
        ),
    )
    faithfulness = (
        row("ARM, own circuit", "faithfulness at K", _faithfulness_cell("arm", "arm")),
        row("ARM, random circuit", "same layers and types", _faithfulness_cell("arm", "random")),
        row("MDM, own circuit", "faithfulness at K", _faithfulness_cell("mdm", "mdm")),
        row("MDM, random circuit", "same layers and types", _faithfulness_cell("mdm", "random")),
        row("MDM on the ARM's circuit", "faithfulness at K", _faithfulness_cell("mdm", "arm")),
        row("ARM on the MDM's circuit", "faithfulness at K", _faithfulness_cell("arm", "mdm")),
    )
    components = (
        row("Right-to-left share, MDM", "of attention's flow; ARM: 0", _right_to_left_cell),
        row("Effective number, ARM", "components the work is spread over", _spread_cell("arm")),
        row("Effective number, MDM", "components the work is spread over", _spread_cell("mdm")),
        row("Effective number, shift", "above 0: more distributed", _spread_cell("shift")),
        row("Answer's rank, ARM", "log10, in the components' lenses", _rank_cell("arm")),
        row("Answer's rank, MDM", "log10, in the components' lenses", _rank_cell("mdm")),
        row("Answer's rank, shift", "above 0: says less of the answer", _rank_cell("shift")),
    )
    ablation = (
        row("Accuracy lost, ARM", "of all examples", _early_cells("arm", "accuracy_drop")),
        row("Accuracy lost, MDM", "of all examples", _early_cells("mdm", "accuracy_drop")),
        row(
            "Accuracy lost, difference",
            "MDM minus ARM",
            _early_cells("difference", "accuracy_drop"),
        ),
        row("Metric lost, ARM", "share of the clean metric", _early_cells("arm", "share_lost")),
        row("Metric lost, MDM", "share of the clean metric", _early_cells("mdm", "share_lost")),
        row("Metric lost, difference", "MDM minus ARM", _early_cells("difference", "share_lost")),
        row("Own answers right, ARM", "share", lambda t: own_answers_cell(t, "arm")),
        row("Own answers right, MDM", "share", lambda t: own_answers_cell(t, "mdm")),
    )
    single = (
        row("Rank agreement, ARM", "with attribution", lambda t: agreement_cell(t, "arm")),
        row("Rank agreement, MDM", "with attribution", lambda t: agreement_cell(t, "mdm")),
    )
    return (
        _verdicts(tasks),
        Group(name="Behaviour", rows=behaviour),
        Group(name="Shared structure", rows=structure),
        Group(name="Depth, by writing layer", rows=depth),
        Group(name="What the circuits carry", rows=faithfulness),
        *_if_measured(Group(name="Flow and components", rows=components)),
        *_if_measured(Group(name="Early layers ablated", rows=ablation)),
        *_if_measured(Group(name="Single components ablated", rows=single)),
    )


def _verdicts(tasks: tuple[TaskReport, ...]) -> Group:
    """One row an axis; where there is no evidence for a verdict, the answers of `findings`."""
    if any(task.evidence is None for task in tasks):
        return Group(name="Answers", rows=_answers(tasks))
    found = [verdict(task.evidence).statements for task in tasks if task.evidence is not None]
    rows = [
        Row(
            name=axis.capitalize(),
            explanation=rule,
            cells=tuple(
                _statement_cell([one for one in of_task if one.axis == axis]) for of_task in found
            ),
        )
        for axis, rule in RULES.items()
    ]
    return Group(name="Verdict", rows=tuple(rows))


def _statement_cell(statements: Sequence[Statement]) -> Cell:
    """Of one axis; causes are as many as there are shifts to explain."""
    if not statements:
        return Cell(text="nothing to explain")
    text = "; ".join(dict.fromkeys(one.verdict for one in statements))
    estimate = statements[0].estimate
    return Cell(text=text, interval="" if estimate is None else in_words(estimate))


def _answers(tasks: tuple[TaskReport, ...]) -> tuple[Row, ...]:
    """The verdicts of `findings`: one row per question."""
    verdicts = [{found.question: found.verdict for found in findings(task)} for task in tasks]
    questions = dict.fromkeys(question for of_task in verdicts for question in of_task)
    return tuple(
        Row(
            name=question,
            explanation="",
            cells=tuple(Cell(text=of_task.get(question, NOT_MEASURED)) for of_task in verdicts),
        )
        for question in questions
    )


def _pool_cell(task: TaskReport) -> Cell:
    return Cell(text=f"{task.pool.pool_size:,}")


def _size_cell(task: TaskReport) -> Cell:
    size, whole = task.comparison.circuit_size, task.comparison.graph.num_edges
    return Cell(text=f"{size:,}", interval=f"of {whole:,}")


def _overlap_cell(field: str) -> Callable[[TaskReport], Cell]:
    def cell(task: TaskReport) -> Cell:
        overlap = task.comparison.overlap
        index = overlap.index_of(task.comparison.circuit_size)
        return entry_cell(getattr(overlap, field), index)

    return cell


def _early_cell(task: TaskReport, model: str) -> Cell:
    return entry_cell(getattr(task.comparison.circuit_depth.source, model).thirds, 0)


def _depth_cell(of: CrossFitted) -> Callable[[TaskReport], Cell]:
    def cell(task: TaskReport) -> Cell:
        shift = depth_shift(task.comparison, of)
        return Cell(text=UNDEFINED) if shift is None else _shift_cell(shift)

    return cell


def _if_measured(group: Group) -> tuple[Group, ...]:
    """The group with the rows that some task has a number for; none if there are none."""
    rows = tuple(row for row in group.rows if any(cell.text != NOT_MEASURED for cell in row.cells))
    return (Group(name=group.name, rows=rows),) if rows else ()


def _right_to_left_cell(task: TaskReport) -> Cell:
    if task.flow is None:
        return Cell(text=NOT_MEASURED)
    return estimate_cell(right_to_left_share(task.flow))


def _spread_cell(side: str) -> Callable[[TaskReport], Cell]:
    def cell(task: TaskReport) -> Cell:
        if task.concentration is None:
            return Cell(text=NOT_MEASURED)
        found = getattr(task.concentration, side).effective_number
        return _shift_cell(found) if side == "shift" else estimate_cell(found)

    return cell


def _rank_cell(side: str) -> Callable[[TaskReport], Cell]:
    def cell(task: TaskReport) -> Cell:
        if task.semantics is None:
            return Cell(text=NOT_MEASURED)
        found = getattr(task.semantics.shift.alignment, side).weighted.log10_rank
        return _shift_cell(found) if side == "shift" else estimate_cell(found)

    return cell


def _early_cells(side: Side, drop: Drop) -> Callable[[TaskReport], Cell]:
    return lambda task: early_cell(task, side, drop, NOT_DECIDED)


def _shift_cell(shift: Estimate) -> Cell:
    note = "" if shift.excludes(0.0) else NOT_DECIDED
    return estimate_cell(shift, signed=True, note=note)


def _faithfulness_cell(model: str, circuit: str) -> Callable[[TaskReport], Cell]:
    def cell(task: TaskReport) -> Cell:
        series = find_series(task, model, circuit)
        size = task.comparison.circuit_size
        if series is None or size not in series.sizes:
            return Cell(text=NOT_MEASURED, note=f"at {size:,} edges")
        return entry_cell(series.estimates, int((series.sizes == size).argmax()))

    return cell
