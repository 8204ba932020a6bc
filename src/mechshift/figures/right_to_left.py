"""Figure: how much of the flow between positions goes from right to left, by layer and by step."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float
from plotly.subplots import make_subplots

from mechshift.attribution import DIRECTIONS
from mechshift.comparison import DirectionOfFlow, RightToLeft
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    band,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.statistics import Estimates

FLOW_WORDS = "share of |flow| over k and v"


def right_to_left(direction: DirectionOfFlow) -> go.Figure:
    """Share of the flow whose source lies right of its reader, by layer and by step."""
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=("by layer", "by step"), shared_yaxes=True
    )
    for model in MODEL_NAMES:
        shares = _shares(direction, model)
        x = np.arange(direction.num_layers, dtype=np.float64)
        colour, name = MODEL_COLOURS[model], MODEL_NAMES[model]
        figure.add_trace(band(x, shares.by_layer, colour, group=name), row=1, col=1)
        layers = _curve(shares.by_layer, model, "layer")
        figure.add_trace(layers, row=1, col=1)
        steps = _curve(shares.by_step, model, "step")
        steps.error_y = {
            "type": "data",
            "array": shares.by_step.high - shares.by_step.value,
            "arrayminus": shares.by_step.value - shares.by_step.low,
            "width": 4,
            "thickness": 1.5,
        }
        steps.showlegend = False
        figure.add_trace(steps, row=1, col=2)
    num_steps = len(direction.step_num_examples)
    figure.update_xaxes(
        tickvals=thinned(direction.num_layers, 8), title_text="layer", showgrid=False, col=1
    )
    figure.update_xaxes(
        tickvals=thinned(num_steps, 8),
        range=[-0.6, num_steps - 0.4],
        title_text="denoising step",
        showgrid=False,
        col=2,
    )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title_text="share of |flow|", col=1)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 400, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.2)
    narrow |= {"height": 740, "margin.b": 84, "yaxis2.showticklabels": True}
    totals = ", ".join(
        f"{name} {_shares(direction, model).overall.value[0]:.1%}"
        for model, name in MODEL_NAMES.items()
    )
    return finish(
        figure,
        "Flow from right to left",
        f"{FLOW_WORDS}; of all flow: {totals}; n = {direction.num_examples} examples;"
        f" {percent(direction.level)} bootstrap intervals",
        wide=wide,
        narrow=narrow,
    )


def right_to_left_table(direction: DirectionOfFlow) -> pl.DataFrame:
    """Both models and their difference: all directions, then right to left, part by part."""
    parts = []
    for model in (*MODEL_NAMES, "shift"):
        shares = _shares(direction, model)
        for of, entries in (
            ("overall", DIRECTIONS),
            ("by_kind", ("k", "v")),
            ("by_layer", tuple(map(str, range(direction.num_layers)))),
            ("by_step", tuple(map(str, range(len(direction.step_num_examples))))),
        ):
            parts.append(
                pl.DataFrame(
                    {
                        "model": "mdm - arm" if model == "shift" else model,
                        "of": of.removeprefix("by_"),
                        "entry": entries,
                        **share_columns(getattr(shares, of)),
                    }
                )
            )
    return pl.concat(parts).fill_nan(None)


def share_columns(estimates: Estimates) -> dict[str, Float[np.ndarray, " entry"]]:
    """Shares with their intervals, entry by entry, as columns of a table."""
    return {
        "share": estimates.value.ravel(),
        "low": estimates.low.ravel(),
        "high": estimates.high.ravel(),
    }


def _shares(direction: DirectionOfFlow, model: str) -> RightToLeft:
    return {"arm": direction.arm, "mdm": direction.mdm, "shift": direction.shift}[model]


def _curve(shares: Estimates, model: str, axis: str) -> go.Scatter:
    return go.Scatter(
        x=np.arange(len(shares.value)),
        y=shares.value,
        mode="lines+markers",
        line={"color": MODEL_COLOURS[model], "width": 2.5},
        marker={"size": 7, "symbol": "circle" if model == "arm" else "diamond"},
        cliponaxis=False,
        hovertemplate=axis + " %{x}: %{y:.2%}<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
    )
