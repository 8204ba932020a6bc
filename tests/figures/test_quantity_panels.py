import pytest
from mechshift.figures import quantity_panels, quantity_panels_table
from mechshift.figures.theme import NEUTRAL_COLOUR, PAIR_COLOUR
from mechshift.verdict import QUANTITIES

from mechshift.statistics import Estimate, Interval


def found(shift):
    interval = Interval(low=shift - 0.1, high=shift + 0.1, level=0.95)
    return {
        quantity.name: None
        if quantity.name == "right-to-left share"
        else Estimate(value=quantity.neutral + shift, interval=interval)
        for quantity in QUANTITIES
    }


@pytest.fixture
def rows():
    return {"ioi": found(0.05), "infilling": found(0.5)}


def test_every_panel_has_a_line_of_no_change_and_the_rows_that_were_measured(rows):
    rows["ioi"]["effective components shift"] = None
    figure = quantity_panels(rows, title="a title", subtitle="with words")
    for line, points in zip(figure.data[::2], figure.data[1::2], strict=True):
        assert line.name == "no change"
        only_one = points.name == "effective components shift"
        assert list(points.y) == (["infilling"] if only_one else ["ioi", "infilling"])
    assert list(figure.data[2].x) == [0.0, 0.0]


def test_what_no_row_has_a_number_of_has_no_panel(rows):
    figure = quantity_panels(rows, title="a title", subtitle="with words")
    assert [trace.name for trace in figure.data[1::2]] == [
        "overlap ratio",
        "early share shift",
        "effective components shift",
    ]


def test_a_point_is_filled_where_its_interval_excludes_no_change(rows):
    figure = quantity_panels(rows, title="a title", subtitle="with words")
    early = next(trace for trace in figure.data if trace.name == "early share shift")
    assert list(early.marker.symbol) == ["circle-open", "circle"]
    assert list(early.marker.color) == [NEUTRAL_COLOUR, PAIR_COLOUR]
    assert list(early.error_x.arrayminus) == pytest.approx([0.1, 0.1])


def test_the_table_holds_every_quantity_and_nulls_where_nothing_was_measured(rows):
    table = quantity_panels_table(rows)
    assert len(table) == 2 * len(QUANTITIES)
    assert table.filter(quantity="right-to-left share")["value"].to_list() == [None, None]
    assert table.filter(quantity="centre of mass shift")["value"].to_list() == [0.05, 0.5]
