"""Colours and layout that all figures share.

Backgrounds are transparent and text is a mid grey, so that a figure can be read on a light and on
a dark page; the report recolours text and grid to suit. `layout.meta` carries two patches for
`Plotly.relayout`: `wide` as drawn, and `narrow`, which stacks the panels for a phone.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from mechshift.statistics import Estimates

ARM_COLOUR = "#3b82d0"
MDM_COLOUR = "#e07a1f"
PAIR_COLOUR = "#0f9d78"
NEGATIVE_COLOUR = "#c2559d"
NEUTRAL_COLOUR = "#8a919e"
TEXT_COLOUR = "#747b88"
GRID_COLOUR = "rgba(138, 145, 158, 0.22)"
SEQUENTIAL = "Viridis"
"""Perceptually even and safe for colour-blind readers."""

MODEL_COLOURS = {"arm": ARM_COLOUR, "mdm": MDM_COLOUR}
MODEL_NAMES = {"arm": "ARM", "mdm": "MDM"}

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

Patch = dict[str, Any]
"""Argument of `Plotly.relayout`: a dotted attribute name and its value."""


def finish(
    figure: go.Figure, title: str, subtitle: str, *, height: int, narrow: Patch | None = None
) -> go.Figure:
    """Title, fonts, transparent ground, legend below, and the two patches in `layout.meta`.

    `narrow` may move panels (`xaxis2.domain`) and annotations and set `height`; the wide patch
    that undoes it is read off the figure.
    """
    figure.update_layout(
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
        margin={"l": 60, "r": 16, "t": 92, "b": 56},
        hoverlabel={"font": {"family": FONT, "size": 13}},
        legend={"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top", "font": {"size": 13}},
        height=height,
    )
    grid = {"gridcolor": GRID_COLOUR, "zeroline": False, "automargin": True}
    figure.update_xaxes(**grid, title_standoff=8)
    figure.update_yaxes(**grid, title_standoff=8)
    figure.update_annotations(font={"size": 14})
    patches = {"height": height, **(narrow or {})}
    wide = {name: _attribute(figure, name) for name in patches}
    figure.update_layout(meta={"wide": wide, "narrow": patches})
    return figure


def stacked(num_panels: int, height: int, *, gap: float = 0.14) -> Patch:
    """The narrow patch that puts panels 1, 2, ... below each other, each titled above itself."""
    patch: Patch = {"height": height}
    panel = (1 - gap * (num_panels - 1)) / num_panels
    for index in range(num_panels):
        top = 1 - index * (panel + gap)
        suffix = "" if index == 0 else str(index + 1)
        patch[f"xaxis{suffix}.domain"] = [0, 1]
        patch[f"yaxis{suffix}.domain"] = [max(0.0, top - panel), top]
        patch[f"annotations[{index}].x"] = 0.5
        patch[f"annotations[{index}].y"] = top
    return patch


def _attribute(figure: go.Figure, name: str) -> Any:
    """Value of a dotted attribute such as `xaxis2.domain` or `annotations[0].x`."""
    value: Any = figure.layout
    for part in name.replace("[", ".").replace("]", "").split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return list(value) if isinstance(value, tuple) else value


def band(
    x: Float[np.ndarray, " point"], estimates: Estimates, colour: str, *, group: str
) -> go.Scatter:
    """The interval around a curve as a shaded area; points without an interval are left out."""
    known = np.isfinite(estimates.low) & np.isfinite(estimates.high)
    around = np.concatenate([x[known], x[known][::-1]])
    edge = np.concatenate([estimates.high[known], estimates.low[known][::-1]])
    return go.Scatter(
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
    return f"{100 * level:g} %"
