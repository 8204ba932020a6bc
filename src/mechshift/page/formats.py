"""Numbers as a reader wants to see them, intervals included."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mechshift.statistics import Estimate, Estimates

NOT_DECIDED = "not decided"
NOT_MEASURED = "not measured"
UNDEFINED = "undefined"
"""Words in place of a verdict or a number that there is not."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table."""

    text: str
    interval: str = ""
    note: str = ""
    """A remark such as `not decided`; empty for none."""


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign; never `-0.00`."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """`p 0.012`, or `p < 0.001`."""
    return f"p {number(p, 3)}" if p >= 0.0005 else "p < 0.001"


def percentage(value: float) -> str:
    """A share as per cent with one decimal."""
    return f"{number(100 * value, 1)}\N{NO-BREAK SPACE}%"


def estimate_cell(estimate: Estimate, *, signed: bool = False, note: str = "") -> Cell:
    """A number and its interval."""
    interval = estimate.interval
    bounds = (number(bound, signed=signed) for bound in (interval.low, interval.high))
    return Cell(
        text=number(estimate.value, signed=signed),
        interval="[{}, {}]".format(*bounds),
        note=note,
    )


def shift_cell(shift: Estimate) -> Cell:
    """A difference and its interval, with a remark where it may be 0."""
    return estimate_cell(shift, signed=True, note="" if shift.excludes(0.0) else NOT_DECIDED)


def percentage_cell(estimate: Estimate) -> Cell:
    """A share and its interval in per cent."""
    low, high = (number(100 * b, 1) for b in (estimate.interval.low, estimate.interval.high))
    return Cell(text=percentage(estimate.value), interval=f"[{low}, {high}]")


def entry_cell(estimates: Estimates, index: int | None, *, missing: str = UNDEFINED) -> Cell:
    """One entry of several estimates; words instead of a number where it does not exist."""
    if index is None:
        return Cell(text=NOT_MEASURED, note=missing)
    estimate = estimates.at(index)
    if estimate is not None:
        return estimate_cell(estimate)
    value = float(estimates.value[index])
    if np.isfinite(value):
        return Cell(text=number(value), note="no interval")
    return Cell(text=UNDEFINED)


def in_words(estimate: Estimate, *, signed: bool = False) -> str:
    """`0.23 [0.20, 0.26]`."""
    cell = estimate_cell(estimate, signed=signed)
    return f"{cell.text} {cell.interval}"


def csv_text(table: pl.DataFrame) -> str:
    """The table as CSV that a spreadsheet shows and does not run.

    A text that begins with =, +, -, @, a tab or a line end would be a formula there; an apostrophe
    before it keeps it a text. Numbers stay numbers.
    """
    texts = pl.col(pl.String)
    formula = texts.str.contains(r"^[=+\-@\t\r\n]")
    return table.with_columns(
        pl.when(formula).then(pl.lit("'") + texts).otherwise(texts).name.keep()
    ).write_csv()
