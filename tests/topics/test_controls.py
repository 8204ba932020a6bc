"""Controls: panels and table of every quantity beside the MDM's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.page.formats import Cell, estimate_cell, percentage_cell
from mechshift.page.theme import NEUTRAL_COLOUR, PAIR_COLOUR
from mechshift.statistics import Estimate, Interval, share_correct
from mechshift.topics.controls import (
    ACCURACY,
    controls_table,
    controls_topic,
    quantity_panels,
    quantity_panels_table,
)
from mechshift.topics.registry import quantities
from mechshift.topics.topic import (
    Measured,
    MemberResults,
    StoredMember,
    TaskResults,
)

QUANTITIES = quantities("members")

CONTROLS = controls_topic(QUANTITIES)

Planted = Callable[..., TaskResults]
ControlOf = Callable[[str, str], MemberResults]


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, interval=Interval(low=low, high=high, level=0.95))


def found(shift: float) -> dict[str, Estimate | None]:
    """Every quantity shifted, but flow, which was not traced."""
    return {
        quantity.name: None
        if quantity.name == "right-to-left share"
        else estimate(
            quantity.neutral + shift,
            quantity.neutral + shift - 0.1,
            quantity.neutral + shift + 0.1,
        )
        for quantity in QUANTITIES
    }


@pytest.fixture
def rows() -> dict[str, dict[str, Estimate | None]]:
    return {"ioi": found(0.05), "infilling": found(0.5)}


def test_every_panel_has_a_line_of_no_change_and_the_rows_that_were_measured(rows) -> None:
    rows["ioi"]["effective components shift"] = None
    figure = quantity_panels(rows, QUANTITIES, title="a title", subtitle="with words").to_plotly()
    for line, points in zip(figure.data[::2], figure.data[1::2], strict=True):
        assert line.name == "no change"
        only_one = points.name == "effective components shift"
        assert list(points.y) == (["infilling"] if only_one else ["ioi", "infilling"])
    assert list(figure.data[2].x) == [0.0, 0.0]


def test_what_no_row_has_a_number_of_has_no_panel(rows) -> None:
    figure = quantity_panels(rows, QUANTITIES, title="a title", subtitle="with words").to_plotly()
    assert [trace.name for trace in figure.data[1::2]] == [
        "noise-free overlap",
        "early share shift",
        "effective components shift",
    ]


def test_a_point_is_filled_where_its_interval_excludes_no_change(rows) -> None:
    figure = quantity_panels(rows, QUANTITIES, title="a title", subtitle="with words").to_plotly()
    early = next(trace for trace in figure.data if trace.name == "early share shift")
    assert list(early.marker.symbol) == ["circle-open", "circle"]
    assert list(early.marker.color) == [NEUTRAL_COLOUR, PAIR_COLOUR]
    assert list(early.error_x.arrayminus) == pytest.approx([0.1, 0.1])


def test_the_table_holds_every_quantity_and_nulls_where_nothing_was_measured(rows) -> None:
    table = quantity_panels_table(rows, QUANTITIES)
    assert len(table) == 2 * len(QUANTITIES)
    assert table.filter(quantity="right-to-left share")["value"].to_list() == [None, None]
    assert table.filter(quantity="centre of mass shift")["value"].to_list() == [0.05, 0.5]


def test_the_mdm_stands_beside_its_controls_in_a_fixed_order(ioi: TaskResults) -> None:
    """By weights and attention, whatever order the run holds them in; then further controls."""
    by_name = {one.name: one for one in ioi.controls}
    trained = ["arm-continued", "arm-continued-2", "arm-continued-3"]
    seeds = ["mdm-other-seed", "mdm-other-seed-2"]
    assert by_name.keys() == {"arm-full", "mdm-causal", *trained, *seeds}
    turned = replace(ioi, controls=ioi.controls[::-1])
    table = controls_table(turned, QUANTITIES)
    assert [name for name, _ in table.columns] == [
        "ARM",
        "ARM, sees both sides",
        "MDM, sees the left only",
        "MDM",
        "ARM, trained on",
        "ARM, trained on (2)",
        "ARM, trained on (3)",
        "MDM, other seed",
        "MDM, other seed (2)",
    ]
    without = [by_name[name] for name in ("arm-full", "mdm-causal")]
    further = [by_name[name] for name in (*trained, *seeds)]
    assert [name for name, _ in table.rows] == [
        "solves of what both solve",
        "noise-free overlap",
        "likeness by weight",
        "core kept",
        "early share shift",
        "centre of mass shift",
        "early share shift, as read",
        "centre of mass shift, as read",
        "effective components shift",
        "right-to-left share",
    ]
    cells = dict(table.rows)
    for quantity in QUANTITIES:
        arm, *others = cells[quantity.name]
        assert arm == Cell(text=f"{quantity.neutral:g}", note="by definition")
        for cell, member in zip(others, [*without, ioi.mdm, *further], strict=True):
            number = member.estimate(quantity.name)
            assert cell == (Cell(text="not measured") if number is None else estimate_cell(number))
    selected = Cell(text="100\N{NO-BREAK SPACE}%", note="by selection")
    before, after = ([percentage_cell(one.accuracy) for one in of] for of in (without, further))
    assert cells["solves of what both solve"] == (selected, *before, selected, *after)


def test_a_control_that_was_not_asked_has_no_accuracy(
    planted: Planted, control_of: ControlOf
) -> None:
    control = replace(control_of("arm-full", "moved"), accuracy=None)
    table = controls_table(planted("moved", control), QUANTITIES)
    assert dict(table.rows)["solves of what both solve"][1] == Cell(text="not measured")
    # And explains nothing.
    (rule,) = CONTROLS.rules
    statement = rule.decide(planted("moved", control))[0]
    assert "not held against any" in statement.sentence


def test_a_task_without_controls_shows_none(planted: Planted, ioi: TaskResults) -> None:
    assert CONTROLS.exhibits(planted("moved")) == () == CONTROLS.parts(planted("moved"))
    (shown,) = CONTROLS.exhibits(ioi)
    assert shown.name == "controls"
    assert shown.table["row"].unique(maintain_order=True).to_list()[0] == "MDM"
    overlap = shown.table.filter(row="MDM", quantity="noise-free overlap")["value"].to_list()
    ratio = ioi.mdm.estimate("noise-free overlap")
    assert overlap == [None if ratio is None else ratio.value]


class Checkpoint(StoredMember):
    """A checkpoint that was asked four examples, or none."""

    name = "diffusion-32"
    settings = ComparisonSettings()

    def __init__(self, *correct: bool) -> None:
        self.answers = correct

    def accuracy(self) -> Estimate | None:
        return share_correct(np.array(self.answers), 4) if self.answers else None


def test_a_checkpoints_accuracy_is_of_all_examples_that_it_was_asked() -> None:
    (quantity,) = CONTROLS.quantities
    assert (quantity.name, quantity.of, quantity.neutral) == (ACCURACY, "checkpoints", None)
    measured = quantity.measure(Checkpoint(True, False, True, True))
    answered = np.array([True, False, True, True])
    assert measured == Measured(estimate=share_correct(answered, 4, 0.95))
    assert quantity.measure(Checkpoint()).reason == "it was not asked the held-out examples"
