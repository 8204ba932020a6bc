"""Trainings on the page: a row for each quantity, with both kinds and their difference."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mechshift.page.formats import Cell, estimate_cell
from mechshift.statistics import Estimate, Interval
from mechshift.topics.causes import trainings_of_kinds
from mechshift.topics.controls import control_title, controls_table, controls_topic
from mechshift.topics.depth import EARLY
from mechshift.topics.registry import quantities
from mechshift.topics.topic import Measured, MemberResults, TaskResults
from mechshift.topics.trainings import trainings_difference
from mechshift.topics.trainings_table import over_trainings, trainings_frame, trainings_table

QUANTITIES = quantities("members")

Planted = Callable[..., TaskResults]
ControlOf = Callable[[str, str], MemberResults]


@pytest.fixture
def three_each(planted: Planted, control_of: ControlOf) -> TaskResults:
    """Three trainings with diffusion, which move, and three without, which do not."""
    moved, identical = control_of("mdm-other-seed", "moved"), control_of("x", "identical")
    arms = [
        replace(identical, name=name)
        for name in ("arm-continued", "arm-continued-2", "arm-continued-3")
    ]
    return planted("moved", *arms, moved, replace(moved, name="mdm-other-seed-2"))


def test_the_table_shows_both_kinds_their_spread_and_their_difference(
    three_each: TaskResults,
) -> None:
    table = trainings_table(over_trainings(three_each, QUANTITIES))
    assert [name for name, _ in table.columns] == [
        "Difference",
        "With diffusion: mean",
        "With diffusion: spread of trainings",
        "With diffusion: noise of examples",
        "Without diffusion: mean",
        "Without diffusion: spread of trainings",
        "Without diffusion: noise of examples",
    ]
    meanings = dict(table.columns)
    assert (
        meanings["Without diffusion: mean"]
        == "over arm-continued, arm-continued-2, arm-continued-3"
    )
    members = (three_each.mdm, *three_each.controls)
    one, other = trainings_of_kinds({member.name: member.measured[EARLY] for member in members})
    assert one is not None and other is not None
    found = trainings_difference(one, other)
    assert found is not None
    cells = dict(table.rows)[EARLY]
    assert [cell.text for cell in cells[2:4]] == [
        f"{one.training_sd:.3f}",
        f"{one.example_error:.3f}",
    ]
    assert cells[4].note == ""  # the trainings that the column names
    assert cells[5].text == "0.000"  # the same model three times
    assert cells[0] == estimate_cell(found.estimate, signed=True)


def test_the_numbers_behind_the_table_are_a_row_for_each_kind(three_each: TaskResults) -> None:
    frame = trainings_frame(over_trainings(three_each, QUANTITIES))
    # Flow was not traced, and the noise-free overlap has no resamples.
    known = [name for name, one in three_each.mdm.measured.items() if one.draws is not None]
    assert frame["quantity"].unique(maintain_order=True).to_list() == known
    assert {"right-to-left share", "noise-free overlap"} & set(known) == set()
    assert len(frame) == 2 * len(known)
    row = frame.filter(quantity=EARLY, diffusion="with").row(0, named=True)
    assert row["trainings"] == "mdm mdm-other-seed mdm-other-seed-2"
    assert row["low"] < row["difference"] < row["high"]
    assert row["training_sd"] >= 0
    assert row["example_error"] > 0


def test_a_training_that_cannot_do_the_task_does_not_count(three_each: TaskResults) -> None:
    unable = Estimate(value=0.1, interval=Interval(low=0.05, high=0.2, level=0.95))
    controls = [
        replace(one, accuracy=unable) if one.name == "arm-continued-2" else one
        for one in three_each.controls
    ]
    table = trainings_table(
        over_trainings(replace(three_each, controls=tuple(controls)), QUANTITIES)
    )
    cells = dict(table.rows)[EARLY]
    assert dict(table.columns)["Without diffusion: mean"] == "over arm-continued, arm-continued-3"
    assert cells[0] == Cell(text="not measured", note="takes 3 trainings each")


def test_one_training_of_a_kind_has_no_spread(planted: Planted, control_of: ControlOf) -> None:
    task = planted(
        "moved", control_of("arm-continued", "identical"), control_of("mdm-other-seed", "moved")
    )
    table = trainings_table(over_trainings(task, QUANTITIES))
    cells = dict(table.rows)[EARLY]
    assert dict(table.columns)["With diffusion: mean"] == "over mdm, mdm-other-seed"
    assert cells[5] == Cell(text="not measured", note="one training")


def test_one_training_of_either_kind_has_no_table(planted: Planted, control_of: ControlOf) -> None:
    task = planted("moved", control_of("arm-full", "moved"), control_of("arm-continued", "moved"))
    assert over_trainings(task, QUANTITIES) == ()
    topic = controls_topic(QUANTITIES)
    assert topic.tables(task) == {}
    assert len(tuple(topic.parts(task))) == 1


def test_further_trainings_are_columns_rows_and_a_second_table(three_each: TaskResults) -> None:
    topic = controls_topic(QUANTITIES)
    (exhibit,) = topic.exhibits(three_each)
    rows = exhibit.table["row"].unique(maintain_order=True).to_list()
    assert rows == [
        "MDM",
        "ARM, trained on",
        "ARM, trained on (2)",
        "ARM, trained on (3)",
        "MDM, other seed",
        "MDM, other seed (2)",
    ]
    figure = exhibit.figure.to_plotly()
    assert all(set(trace.y) <= set(rows) for trace in figure.data)
    turned = replace(three_each, controls=three_each.controls[::-1])
    assert [name for name, _ in controls_table(turned, QUANTITIES).columns] == [
        "ARM",
        *rows,
    ]
    first, second = topic.parts(three_each)
    assert [part.content["table"].name for part in (first, second)] == [
        "controls-table",
        "trainings-table",
    ]
    assert list(topic.tables(three_each)) == ["trainings"]
    assert control_title("mdm-other-seed-12") == "MDM, other seed (12)"


def test_a_quantity_that_is_undefined_in_one_kind_has_no_difference(
    three_each: TaskResults,
) -> None:
    lost = Measured(reason="undefined")
    controls = tuple(
        replace(one, measured={**one.measured, EARLY: lost})
        if one.name.startswith("arm-continued")
        else one
        for one in three_each.controls
    )
    task = replace(three_each, controls=controls)
    cells = dict(trainings_table(over_trainings(task, QUANTITIES)).rows)[EARLY]
    assert "not measured" not in {cell.text for cell in cells[1:4]}
    assert {cell.text for cell in (cells[0], *cells[4:])} == {"not measured"}
    (line,) = (
        trainings_frame(over_trainings(task, QUANTITIES))
        .filter(quantity=EARLY, diffusion="without")
        .rows(named=True)
    )
    assert (line["trainings"], line["mean"], line["difference"]) == ("", None, None)


def test_a_quantity_that_a_training_lacks_says_over_which_it_is(three_each: TaskResults) -> None:
    lacking = [
        replace(one, measured={**one.measured, EARLY: Measured(reason="undefined")})
        if one.name == "arm-continued-2"
        else one
        for one in three_each.controls
    ]
    rows = over_trainings(replace(three_each, controls=tuple(lacking)), QUANTITIES)
    table = trainings_table(rows)
    assert dict(table.rows)[EARLY][4].note == "over arm-continued, arm-continued-3"
    others = [cells[4].note for name, cells in table.rows if name != EARLY]
    assert set(others) == {""}
