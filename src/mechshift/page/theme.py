"""Colours and layout that all figures share.

Backgrounds are transparent and text is a mid grey, so that a figure can be read on a light and on
a dark page; the report recolours text and grid to suit. `layout.meta` carries two patches to the
layout: `wide`, as drawn, and `narrow`, which stacks the panels for a phone.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from plotly.colors import make_colorscale, sequential

from mechshift.page.figure import Figure, Trace, scatter
from mechshift.statistics import Estimates

ARM_COLOUR = "#3b82d0"
MDM_COLOUR = "#d9711a"
PAIR_COLOUR = "#0f9d78"
NEGATIVE_COLOUR = "#c2559d"
NEUTRAL_COLOUR = "#8a919e"
TEXT_COLOUR = "#747b88"
GRID_COLOUR = "rgba(138, 145, 158, 0.22)"
DOTTED = {"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR}
"""A line that marks a level: no change, a threshold, a border."""
SEQUENTIAL = make_colorscale(sequential.Cividis)
"""Perceptually even and safe for colour-blind readers."""

MODEL_COLOURS = {"arm": ARM_COLOUR, "mdm": MDM_COLOUR}
MODEL_NAMES = {"arm": "ARM", "mdm": "MDM"}

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

Patch = dict[str, Any]
"""Dotted attribute names of the layout and their values, as `Plotly.relayout` takes them."""

Rectangle = tuple[float, float, float, float]
"""Left, right, bottom and top in parts of the figure inside its margins."""


def finish(figure: Figure, title: str, subtitle: str, *, wide: Patch, narrow: Patch) -> Figure:
    """Title, fonts, transparent ground and legend; applies `wide` and keeps both patches.

    Margins are fixed and nothing may push them: plotly's automatic margins do not settle when a
    colour bar and a legend compete, and let panels collapse.
    """
    assert wide.keys() == narrow.keys(), "each patch must undo the other"
    figure.set_layout(
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 13}},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "font": {"size": 17},
        },
        font={"family": FONT, "size": 13, "color": TEXT_COLOUR},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 16, "t": 92, "autoexpand": False},
        hoverlabel={"font": {"family": FONT, "size": 13}},
        legend={
            "orientation": "h",
            "x": 0.01,
            "xref": "container",
            "y": 0.005,
            "yref": "container",
            "yanchor": "bottom",
            "font": {"size": 13},
        },
        meta={"wide": wide, "narrow": narrow},
    )
    figure.set_xaxes(gridcolor=GRID_COLOUR, zeroline=False, title={"standoff": 8}, tickangle=0)
    figure.set_yaxes(gridcolor=GRID_COLOUR, zeroline=False, title={"standoff": 6})
    figure.set_annotations(font={"size": 14}, yanchor="bottom", xanchor="center")
    for name, value in wide.items():
        figure.set_attribute(name, value)
    return figure


def panels(*rectangles: Rectangle) -> Patch:
    """Where panels 1, 2, ... lie, each with its title above it."""
    patch: Patch = {}
    for index, (left, right, bottom, top) in enumerate(rectangles):
        suffix = "" if index == 0 else str(index + 1)
        patch[f"xaxis{suffix}.domain"] = [left, right]
        patch[f"yaxis{suffix}.domain"] = [bottom, top]
        patch[f"annotations[{index}].x"] = (left + right) / 2
        patch[f"annotations[{index}].y"] = top
    return patch


def stacked(num_panels: int, *, gap: float, bottom: float = 0.0) -> Patch:
    """`panels` below each other, all as wide as the figure, above `bottom`."""
    height = (1 - bottom - gap * (num_panels - 1)) / num_panels
    tops = [1 - index * (height + gap) for index in range(num_panels)]
    return panels(*((0.0, 1.0, max(0.0, top - height), top) for top in tops))


def colour_bar(title: str, largest: float) -> dict[str, Any]:
    """A colour axis from 0 to the largest share; where its bar lies is up to the patches."""
    return {
        "colorscale": SEQUENTIAL,
        "cmin": 0,
        "cmax": largest,
        "colorbar": {
            "title": {"text": title, "side": "top"},
            "tickformat": ".2~p",
            "thickness": 12,
            "outlinewidth": 0,
            "nticks": 6,
        },
    }


def colour_bar_right(top: float = 1.0, length: float = 0.8) -> Patch:
    """The colour bar upright at the right end of the figure, which panels must leave free."""
    return _colour_bar_patch("v", length, 1.0, "right", top, "top")


def colour_bar_below() -> Patch:
    """The colour bar lying along the lower end of the figure, which panels must leave free."""
    return _colour_bar_patch("h", 0.9, 0.5, "center", 0.0, "bottom")


def _colour_bar_patch(
    orientation: str, length: float, x: float, xanchor: str, y: float, yanchor: str
) -> Patch:
    place = {
        "orientation": orientation,
        "len": length,
        "x": x,
        "xanchor": xanchor,
        "y": y,
        "yanchor": yanchor,
    }
    return {f"coloraxis.colorbar.{name}": value for name, value in place.items()}


def log_ticks(sizes: Int[np.ndarray, " size"]) -> dict[str, Any]:
    """Ticks of a log axis at 1, 10, 100, ...; on a short one also at 3, or 2 and 5, times these."""
    low, high = int(sizes.min()), int(sizes.max())
    decades = [10**power for power in range(len(str(high)) + 1)]
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * ten for ten in decades for digit in digits if low <= digit * ten <= high]
        if len(ticks) > 2:
            break
    else:
        ticks = sorted({low, high})
    return {"tickvals": ticks, "ticktext": [f"{tick:,}" for tick in ticks]}


def thinned(count: int, about: int) -> list[int]:
    """About so many of the positions 0 to count - 1, none so close to `count` as to crowd it."""
    every = max(1, round(count / about))
    return [position for position in range(0, count, every) if count - position >= every]


def band(x: Float[np.ndarray, " point"], estimates: Estimates, colour: str, *, group: str) -> Trace:
    """The interval around a curve as a shaded area; points without an interval are left out."""
    known = np.isfinite(estimates.low) & np.isfinite(estimates.high)
    around = np.concatenate([x[known], x[known][::-1]])
    edge = np.concatenate([estimates.high[known], estimates.low[known][::-1]])
    return scatter(
        x=around,
        y=edge,
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=translucent(colour, 0.18),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
        name=f"{group} interval",
    )


def translucent(colour: str, opacity: float) -> str:
    """A hex colour as CSS rgba."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def percent(level: float) -> str:
    """A level such as 0.95 as `95 %`."""
    return f"{100 * level:g}\N{NO-BREAK SPACE}%"
