"""Forest plots: intervals below each other on one axis, as small drawings in the rows of a table.

Beside each drawing its number stands as text, so that rows can be read, searched, hidden and
printed like any others. Places are in per cent of the drawing's width, so it is as wide as its
cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mechshift.page.formats import number
from mechshift.statistics import Estimate

EDGE = 0.08
"""Part of the width that is left free at either end, for the ticks' numbers."""

MAX_TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The axis that all rows of a forest plot share."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int
    """After the point, of the ticks' numbers."""
    neutral: float | None
    """Where a dashed line stands; None: there is none."""

    def place(self, value: float) -> float:
        """Where a value lies [per cent of the width]."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * (EDGE + (1 - 2 * EDGE) * share), 2)


def axis_over(estimates: Sequence[Estimate], neutral: float | None) -> Axis:
    """The axis that holds these intervals and the neutral value, with ticks at round numbers.

    Args:
        estimates: at least one.
        neutral: a value that the axis reaches too.
    """
    ends = [bound for one in estimates for bound in (one.interval.low, one.interval.high)]
    ends += [one.value for one in estimates]
    if neutral is not None:
        ends.append(neutral)
    low, high = min(ends), max(ends)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    step = _step((high - low) / (MAX_TICKS - 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(
        low=low,
        high=high,
        ticks=tuple(step * index for index in range(first, last + 1)),
        digits=max(0, -math.floor(math.log10(step) + 1e-9)),
        neutral=neutral,
    )


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    ten = 10.0 ** math.floor(math.log10(least))
    return next(factor * ten for factor in (1, 2, 5, 10) if factor * ten >= least * (1 - 1e-9))


def axis_drawing(axis: Axis) -> Markup:
    """The ticks' numbers, to stand above the rows."""
    texts = (
        f'<text x="{axis.place(tick)}%" y="14">{number(tick, axis.digits)}</text>'
        for tick in axis.ticks
    )
    return Markup(f'<svg class="forest ticks" aria-hidden="true">{"".join(texts)}</svg>')


def row_drawing(axis: Axis, estimate: Estimate, *, decided: bool) -> Markup:
    """One interval and its value: filled where something is decided, hollow elsewhere."""
    ticks = "".join(
        f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>'
        for x in map(axis.place, axis.ticks)
    )
    neutral = ""
    if axis.neutral is not None:
        x = axis.place(axis.neutral)
        neutral = f'<line class="neutral" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>'
    low, high = axis.place(estimate.interval.low), axis.place(estimate.interval.high)
    ends = "".join(
        f'<line class="interval-end" x1="{x}%" x2="{x}%" y1="8" y2="18"/>' for x in (low, high)
    )
    return Markup(
        f'<svg class="forest{" decided" if decided else ""}" aria-hidden="true">{ticks}{neutral}'
        f'<line class="whisker" x1="{low}%" x2="{high}%" y1="13" y2="13"/>{ends}'
        f'<circle cx="{axis.place(estimate.value)}%" cy="13" r="5"/></svg>'
    )
