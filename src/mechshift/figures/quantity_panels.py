"""Figure: the quantities that sum up a shift, side by side, a row for each task or control."""

from collections.abc import Mapping

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.page.theme import (
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    stacked,
)
from mechshift.statistics import Estimate
from mechshift.verdict import QUANTITIES, Quantity

Rows = Mapping[str, Mapping[str, Estimate | None]]
"""For each row its quantities by name."""

SHOWN = ("overlap ratio", "early share shift", "effective components shift", "right-to-left share")
"""Names of the quantities that have a panel, if some row has a number of theirs."""

ROW_HEIGHT = 34
"""Of each row in a panel [pixels]."""


def quantity_panels(rows: Rows, *, title: str, subtitle: str) -> go.Figure:
    """One panel a quantity: value and interval of every row, against what no change would give."""
    shown = [
        quantity
        for quantity in QUANTITIES
        if quantity.name in SHOWN and any(found[quantity.name] for found in rows.values())
    ]
    titles = tuple(quantity.name for quantity in shown)
    figure = make_subplots(rows=1, cols=len(shown), subplot_titles=titles, shared_yaxes=True)
    for column, quantity in enumerate(shown, start=1):
        figure.add_trace(_neutral_line(rows, quantity), row=1, col=column)
        figure.add_trace(_points(rows, quantity), row=1, col=column)
        figure.update_xaxes(title_text=quantity.unit or "share", nticks=4, col=column)
    # Plotly's first category lies at the bottom.
    order = {"categoryorder": "array", "categoryarray": list(rows)[::-1]}
    figure.update_yaxes(**order, range=[-0.6, len(rows) - 0.4], showgrid=False)
    height = ROW_HEIGHT * max(2, len(rows))
    across = [index / len(shown) for index in range(len(shown))]
    wide = panels(*((left, left + 0.8 / len(shown), 0.0, 1.0) for left in across))
    wide |= {"height": height + 150, "margin.b": 58, "margin.l": 128}
    below = 84  # ticks and unit of a panel, title of the next
    drawn = len(shown) * (height + below) - below
    narrow = stacked(len(shown), gap=below / drawn)
    narrow |= {"height": drawn + 150, "margin.b": 58, "margin.l": 128}
    for index in range(2, len(shown) + 1):
        wide[f"yaxis{index}.showticklabels"] = False
        narrow[f"yaxis{index}.showticklabels"] = True
    figure.update_layout(showlegend=False)
    return finish(figure, title, subtitle, wide=wide, narrow=narrow)


def quantity_panels_table(rows: Rows) -> pl.DataFrame:
    """Every quantity of every row, those without a panel too."""
    lines = []
    for row, found in rows.items():
        for quantity in QUANTITIES:
            one = found[quantity.name]
            lines.append(
                {
                    "row": row,
                    "quantity": quantity.name,
                    "neutral": quantity.neutral,
                    "value": None if one is None else one.value,
                    "low": None if one is None else one.interval.low,
                    "high": None if one is None else one.interval.high,
                }
            )
    numbers = dict.fromkeys(("neutral", "value", "low", "high"), pl.Float64)
    return pl.DataFrame(lines, schema={"row": pl.String, "quantity": pl.String, **numbers})


def _neutral_line(rows: Rows, quantity: Quantity) -> go.Scatter:
    """A trace and not a shape, so that the axis always reaches it."""
    return go.Scatter(
        x=[quantity.neutral] * len(rows),
        y=list(rows),
        mode="lines",
        line={"color": NEUTRAL_COLOUR, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        name="no change",
    )


def _points(rows: Rows, quantity: Quantity) -> go.Scatter:
    known = {row: one for row, found in rows.items() if (one := found[quantity.name]) is not None}
    decided = [one.excludes(quantity.neutral) for one in known.values()]
    return go.Scatter(
        x=[one.value for one in known.values()],
        y=list(known),
        mode="markers",
        marker={
            "size": 10,
            "color": [PAIR_COLOUR if sure else NEUTRAL_COLOUR for sure in decided],
            "symbol": ["circle" if sure else "circle-open" for sure in decided],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one.interval.high - one.value for one in known.values()],
            "arrayminus": [one.value - one.interval.low for one in known.values()],
            "thickness": 1.5,
            "width": 4,
            "color": NEUTRAL_COLOUR,
        },
        customdata=[[one.interval.low, one.interval.high] for one in known.values()],
        hovertemplate="%{y}<br>%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"<extra>{quantity.name}</extra>",
        name=quantity.name,
    )
