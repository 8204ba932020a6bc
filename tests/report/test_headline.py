import pytest
from mechshift.report import TaskReport
from mechshift.report.findings import findings
from mechshift.report.formats import Cell, estimate_cell
from mechshift.report.headline import Row, headline


@pytest.fixture
def rows(countdown: TaskReport, ioi: TaskReport) -> dict[str, Row]:
    return {row.name: row for group in headline((countdown, ioi)) for row in group.rows}


def test_every_number_of_the_headline_is_the_records_with_its_interval(
    rows: dict[str, Row], countdown: TaskReport, ioi: TaskReport
) -> None:
    for column, task in enumerate((countdown, ioi)):
        comparison = task.comparison
        index = comparison.overlap.index_of(comparison.circuit_size)
        assert index is not None
        source = comparison.circuit_depth.source
        for name, estimate in {
            "Edge overlap": comparison.overlap.edges.at(index),
            "… if only layout mattered": comparison.overlap.null.at(index),
            "ARM ceiling": comparison.overlap.ceiling_arm.at(index),
            "MDM ceiling": comparison.overlap.ceiling_mdm.at(index),
            "Ratio to ceiling": comparison.overlap.ratio.at(index),
            "Node overlap": comparison.overlap.nodes.at(index),
            "Early share, ARM": source.arm.thirds.at(0),
            "Early share, MDM": source.mdm.thirds.at(0),
        }.items():
            assert estimate is not None
            assert rows[name].cells[column] == estimate_cell(estimate)


def test_shifts_carry_their_sign_and_say_where_nothing_is_decided(
    rows: dict[str, Row], countdown: TaskReport
) -> None:
    source = countdown.comparison.circuit_depth.source
    shifts = {
        "Early share, shift": source.cross_fitted_shift("early"),
        "Middle share, shift": source.cross_fitted_shift("middle"),
        "Late share, shift": source.cross_fitted_shift("late"),
        "Centre of mass, shift": source.cross_fitted_shift("centre_of_mass"),
    }
    for name, shift in shifts.items():
        assert shift is not None
        note = "" if shift.excludes(0.0) else "not decided"
        assert rows[name].cells[0] == estimate_cell(shift, signed=True, note=note)


def test_the_circuit_size_is_stated_with_the_size_of_the_graph(rows: dict[str, Row]) -> None:
    """A tenth of 100 edges, the default."""
    assert rows["Circuit size K"].cells[0] == Cell(text="10", interval="of 100")


def test_faithfulness_is_read_at_the_circuits_size_or_not_measured(rows: dict[str, Row]) -> None:
    own, cross = rows["MDM, own circuit"], rows["MDM on the ARM's circuit"]
    assert own.cells[0] == Cell(text="0.90", interval="[0.80, 0.95]")
    assert cross.cells[0] == Cell(text="0.50", interval="[0.40, 0.60]")
    assert cross.cells[1] == Cell(text="not measured", note="at 10 edges")
    for model in ("ARM", "MDM"):
        cell = rows[f"{model}, random circuit"].cells[0]
        assert cell == Cell(text="0.30", interval="[0.30, 0.60]")


def test_the_answers_are_the_verdicts_of_the_findings(
    rows: dict[str, Row], countdown: TaskReport, ioi: TaskReport
) -> None:
    for column, task in enumerate((countdown, ioi)):
        for finding in findings(task):
            assert rows[finding.question].cells[column] == Cell(text=finding.verdict)
    serves = rows["Does the ARM's circuit serve the MDM as well as its own?"]
    assert serves.cells[1] == Cell(text="not measured")
