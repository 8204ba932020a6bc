"""Forest plots: an axis with round ticks, and drawings whose places are computed by hand."""

import re

import pytest

from mechshift.page.forest import EDGE, axis_drawing, axis_over, row_drawing
from mechshift.statistics import Estimate, Interval


def estimate(low: float, value: float, high: float) -> Estimate:
    return Estimate(value=value, interval=Interval(low=low, high=high, level=0.95))


def test_the_axis_holds_every_interval_and_the_neutral_value() -> None:
    axis = axis_over([estimate(0.43, 0.46, 0.50), estimate(0.77, 0.85, 0.93)], 1.0)
    assert (axis.low, axis.high) == (0.43, 1.0)
    assert axis.ticks == pytest.approx((0.6, 0.8, 1.0))  # steps of .2: of .1425 there is none
    assert axis.digits == 1
    assert axis.place(0.43) == 100 * EDGE and axis.place(1.0) == 100 * (1 - EDGE)


@pytest.mark.parametrize(
    ("low", "high", "ticks", "digits"),
    [
        (-0.17, 0.15, (-0.1, 0.0, 0.1), 1),
        (-6.0, 7.1, (-5.0, 0.0, 5.0), 0),
        (0.0, 4000.0, (0.0, 1000.0, 2000.0, 3000.0, 4000.0), 0),
        (0.001, 0.0031, (0.001, 0.002, 0.003), 3),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: tuple[float, ...], digits: int) -> None:
    axis = axis_over([estimate(low, low, high)], None)
    assert axis.ticks == pytest.approx(ticks)
    assert axis.digits == digits


def test_a_single_number_without_an_interval_has_an_axis_too() -> None:
    axis = axis_over([estimate(3.0, 3.0, 3.0)], None)
    assert axis.low < 3.0 < axis.high
    assert axis.place(3.0) == 50.0


def test_a_row_is_drawn_where_its_numbers_lie() -> None:
    axis = axis_over([estimate(0.0, 0.5, 1.0)], 0.0)
    drawn = row_drawing(axis, estimate(0.0, 0.5, 1.0), decided=True)
    assert '<circle cx="50.0%"' in drawn and 'class="forest decided"' in drawn
    whisker = re.search(r'class="whisker" x1="([\d.]+)%" x2="([\d.]+)%"', drawn)
    assert whisker is not None and [float(x) for x in whisker.groups()] == [8.0, 92.0]
    assert 'class="neutral" x1="8.0%"' in drawn
    hollow = row_drawing(
        axis_over([estimate(0.0, 0.5, 1.0)], None), estimate(0.0, 0.5, 1.0), decided=False
    )
    assert "decided" not in hollow and "neutral" not in hollow
    assert axis_drawing(axis).count("<text") == len(axis.ticks)
    assert "\N{MINUS SIGN}0.5" in axis_drawing(axis_over([estimate(-1.0, 0.0, 1.0)], None))
