import csv
import io

import numpy as np
import polars as pl
import pytest

from mechshift.page.formats import (
    Cell,
    csv_text,
    entry_cell,
    estimate_cell,
    in_words,
    number,
    percentage,
    percentage_cell,
    shift_cell,
)
from mechshift.statistics import Estimate, Estimates, Interval

ESTIMATE = Estimate(value=-0.123, interval=Interval(low=-0.2, high=0.004, level=0.95))


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.126, False, "0.13"),
        (-0.126, False, "\N{MINUS SIGN}0.13"),
        (0.126, True, "+0.13"),
        (-0.001, True, "0.00"),
        (-0.0, False, "0.00"),
    ],
)
def test_numbers_have_a_true_minus_and_no_negative_zero(
    value: float, signed: bool, text: str
) -> None:
    assert number(value, signed=signed) == text


def test_estimates_come_with_their_interval() -> None:
    assert in_words(ESTIMATE) == "−0.12 [−0.20, 0.00]"
    assert estimate_cell(ESTIMATE, signed=True, note="n") == Cell(
        text="−0.12", interval="[−0.20, 0.00]", note="n"
    )
    share = Estimate(value=0.5, interval=Interval(low=0.25, high=0.9, level=0.95))
    assert percentage_cell(share) == Cell(text=percentage(0.5), interval="[25.0, 90.0]")


def test_a_shift_that_may_be_zero_says_that_nothing_is_decided() -> None:
    assert shift_cell(ESTIMATE) == Cell(text="−0.12", interval="[−0.20, 0.00]", note="not decided")
    less = Estimate(value=-0.123, interval=Interval(low=-0.2, high=-0.1, level=0.95))
    assert shift_cell(less) == Cell(text="−0.12", interval="[−0.20, −0.10]")


def test_what_does_not_exist_is_said_in_words() -> None:
    nan = np.nan
    estimates = Estimates(
        value=np.array([0.5, 0.5, nan]),
        low=np.array([0.4, nan, nan]),
        high=np.array([0.6, nan, nan]),
        level=0.95,
    )
    assert entry_cell(estimates, 0) == Cell(text="0.50", interval="[0.40, 0.60]")
    assert entry_cell(estimates, 1) == Cell(text="0.50", note="no interval")
    assert entry_cell(estimates, 2) == Cell(text="undefined")
    assert entry_cell(estimates, None) == Cell(text="not measured", note="undefined")


def test_texts_that_a_spreadsheet_would_run_are_marked_as_texts_and_numbers_are_not() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "a=1", "", None]
    table = pl.DataFrame({"name": texts, "number": [-1.5] * len(texts)})
    rows = list(csv.reader(io.StringIO(csv_text(table), newline="")))
    assert rows[0] == ["name", "number"]
    shown = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "a=1", "", ""]
    assert rows[1:] == [[text, "-1.5"] for text in shown]
