"""Controls: whose doing a shift is, and panels and table of every quantity beside the MDM's."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.page.formats import NOT_DECIDED, Cell, estimate_cell, percentage_cell
from mechshift.page.theme import NEUTRAL_COLOUR, PAIR_COLOUR
from mechshift.statistics import Estimate, Estimates, Interval, proportion_interval, share_correct
from mechshift.topics.controls import (
    ACCURACY,
    causes,
    controls_table,
    controls_topic,
    quantity_panels,
    quantity_panels_table,
)
from mechshift.topics.depth import EARLY
from mechshift.topics.registry import quantities
from mechshift.topics.topic import (
    Measured,
    MemberResults,
    Statement,
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


def cause(task: TaskResults) -> Statement:
    """Of the shift in the early share, which comes first."""
    (rule,) = CONTROLS.rules
    statements = rule.decide(task)
    assert statements == causes(task, QUANTITIES)
    assert {one.axis for one in statements} == {rule.axis} == {"cause"}
    assert "early share shift" in statements[0].sentence
    return statements[0]


def test_a_shift_that_no_control_shares_is_this_checkpoints(
    planted: Planted, control_of: ControlOf
) -> None:
    decided = cause(planted("moved", control_of("arm-continued", "identical")))
    assert decided.verdict == "this checkpoint's"
    assert decided.estimate is None
    assert re.search(
        r"early share shift is beyond a control's by \+0\.\d\d \[\+0\.\d\d, \+0\.\d\d\]"
        r" \(arm-continued\): this checkpoint's\.$",
        decided.sentence,
    )


def test_a_shift_that_training_without_diffusion_shares_is_not(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (control_of("arm-full", "identical"), control_of("arm-continued", "moved"))
    decided = cause(planted("moved", *controls))
    assert decided.verdict == "also without diffusion (arm-continued)"


def with_shift(member: MemberResults, draws: np.ndarray) -> MemberResults:
    """The member with an early share shift of these draws, which its interval is made from."""
    rows = np.concatenate([[draws.mean()], draws])[:, None]
    measured = Measured(estimate=Estimates.from_rows(rows).at(0), draws=draws)
    return replace(member, measured={**member.measured, EARLY: measured})


@pytest.mark.parametrize(
    ("shared", "own_control", "verdict"),
    [
        (0.10, 0.18, "this checkpoint's"),
        (0.00, 0.18, NOT_DECIDED),
        (0.10, 0.30, "also without diffusion (arm-continued)"),
        (0.00, 0.30, NOT_DECIDED),
    ],
)
def test_a_cause_rests_on_the_paired_difference_and_not_on_two_intervals(
    planted: Planted,
    control_of: ControlOf,
    shared: float,
    own_control: float,
    verdict: str,
) -> None:
    """The MDM shifts by 0.3; both scatter by 0.1, of which `shared` comes from the ARM.

    Shared, it cancels, and a difference of 0.12 excludes 0 though the intervals overlap, or one of
    0 lies within half of 0.3. Not shared, the same two intervals decide nothing: neither that the
    shift is the MDM's alone, nor that training without diffusion does as much.
    """
    generator = np.random.default_rng(0)
    common = generator.normal(size=2000)
    mdm, control = (
        value + shared * common + np.sqrt(0.1**2 - 0.98 * shared**2) * generator.normal(size=2000)
        for value in (0.3, own_control)
    )
    task = planted("moved", with_shift(control_of("arm-continued", "identical"), control))
    task = replace(task, mdm=with_shift(task.mdm, mdm))
    assert cause(task).verdict == verdict


def test_a_control_that_training_never_touched_leaves_the_cause_open(
    planted: Planted, control_of: ControlOf
) -> None:
    """What the mask alone does not do may still be what any training does."""
    assert cause(planted("moved", control_of("arm-full", "identical"))).verdict == NOT_DECIDED


def test_a_control_that_shifts_further_than_the_mdm_leaves_the_cause_open(
    planted: Planted, control_of: ControlOf
) -> None:
    task = planted("moved")
    draws = task.mdm.measured[EARLY].draws
    assert draws is not None
    control = with_shift(control_of("arm-continued", "identical"), 2 * draws)
    assert cause(replace(task, controls=(control,))).verdict == NOT_DECIDED


def test_an_mdm_of_another_seed_reaches_the_shift_and_takes_nothing_from_it(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (control_of("arm-continued", "identical"), control_of("mdm-other-seed", "moved"))
    decided = cause(planted("moved", *controls))
    assert decided.verdict == "this checkpoint's"
    assert "(mdm-other-seed)" in decided.sentence


def test_a_shift_that_an_mdm_of_another_seed_does_not_reach_is_this_seeds(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (
        control_of("arm-continued", "identical"),
        control_of("mdm-other-seed", "identical"),
    )
    assert cause(planted("moved", *controls)).verdict == "this seed's"


def test_without_a_control_that_lacks_diffusion_a_cause_is_not_decided(
    planted: Planted, control_of: ControlOf
) -> None:
    task = planted("moved", control_of("mdm-other-seed", "moved"))
    assert cause(task).verdict == "not decided"


def test_a_shift_without_any_control_has_an_open_cause(planted: Planted) -> None:
    decided = cause(planted("moved"))
    assert decided.verdict == "not decided"
    assert "not held against any control that can do the task" in decided.sentence


def test_nothing_is_explained_that_did_not_shift(planted: Planted, control_of: ControlOf) -> None:
    assert causes(planted("rewired", control_of("arm-full", "moved")), QUANTITIES) == ()


def test_a_control_that_cannot_do_the_task_explains_nothing(
    planted: Planted, control_of: ControlOf
) -> None:
    lost = replace(control_of("arm-full", "moved"), accuracy=estimate(0.1, 0.05, 0.2))
    task = planted("moved", lost, control_of("arm-continued", "identical"))
    assert cause(task).verdict == "this checkpoint's"


@pytest.mark.parametrize("name", ["arm-full", "arm-continued", "mdm-other-seed"])
def test_an_undefined_control_proves_nothing(
    planted: Planted, control_of: ControlOf, name: str
) -> None:
    """Not that a shift is this checkpoint's, nor that it is this seed's."""
    defined = control_of(name, "identical")
    undefined = Measured(reason="scores on one half do not carry over to the other half")
    lost = replace(defined, measured={**defined.measured, EARLY: undefined})
    controls = [lost]
    if name == "mdm-other-seed":
        controls.append(control_of("arm-continued", "identical"))
    found = cause(planted("moved", *controls))
    assert found.verdict == ("this checkpoint's" if name == "mdm-other-seed" else NOT_DECIDED)
    assert name not in found.sentence


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
    assert by_name.keys() == {"arm-full", "mdm-causal", "arm-continued", "mdm-other-seed"}
    turned = replace(ioi, controls=ioi.controls[::-1])
    table = controls_table(turned, QUANTITIES)
    assert [name for name, _ in table.columns] == [
        "ARM",
        "ARM, sees both sides",
        "MDM, sees the left only",
        "MDM",
        "ARM, trained on",
        "MDM, other seed",
    ]
    without = [by_name[name] for name in ("arm-full", "mdm-causal")]
    further = [by_name[name] for name in ("arm-continued", "mdm-other-seed")]
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
    assert "not held against any" in cause(planted("moved", control)).sentence


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
    interval = proportion_interval(3, 4, 0.95)
    assert measured == Measured(estimate=Estimate(value=0.75, interval=interval))
    assert quantity.measure(Checkpoint()).reason == "it was not asked the held-out examples"
