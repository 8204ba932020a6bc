"""Figure: what ablating one head or one MLP costs, over all heads and MLPs of both models."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Int
from plotly.subplots import make_subplots

from mechshift.ablation import SingleEffects
from mechshift.figures.step_view import UNITS
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    finish,
    panels,
    percent,
    stacked,
    translucent,
)
from mechshift.statistics import Estimates

KINDS = ("heads", "MLPs")


def single_ablations(effects: SingleEffects) -> go.Figure:
    """Two panels, heads and MLPs: a point for each component, with a box for each model."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=KINDS, shared_yaxes=True)
    is_head = effects.graph.source_head[1:] >= 0
    for column, rows in enumerate((is_head, ~is_head), start=1):
        for model in MODEL_NAMES:
            trace = _box(effects, model, np.flatnonzero(rows))
            trace.showlegend = column == 1
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text=f"n = {rows.sum()} {KINDS[column - 1]}", col=column)
        figure.add_hline(
            y=0, line={"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR}, row=1, col=column
        )
    units = UNITS.get(effects.metric_name, "metric units")
    figure.update_yaxes(title_text=f"mean drop in {effects.metric_name} [{units}]", col=1)
    figure.update_xaxes(showgrid=False)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 420, "margin.b": 100, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.18)
    narrow |= {"height": 780, "margin.b": 100, "yaxis2.showticklabels": True}
    return finish(
        figure,
        f"Single ablations, replacement: {effects.replacement}",
        f"each point: one component's mean over n = {effects.num_examples} examples;"
        f" {percent(effects.level)} bootstrap intervals on hover; positive: ablating hurts",
        wide=wide,
        narrow=narrow,
    )


def single_ablations_table(effects: SingleEffects) -> pl.DataFrame:
    """One row per model and component."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": model,
                "component": effects.names(),
                "layer": effects.graph.source_layer[1:],
                "kind": np.where(effects.graph.source_head[1:] >= 0, "head", "MLP"),
                "replacement": effects.replacement,
                "drop": drops.value,
                "low": drops.low,
                "high": drops.high,
            }
        )
        for model, drops in _by_model(effects).items()
    )


def _by_model(effects: SingleEffects) -> dict[str, Estimates]:
    return {"arm": effects.arm, "mdm": effects.mdm}


def _box(effects: SingleEffects, model: str, rows: Int[np.ndarray, " component"]) -> go.Box:
    drops, names = _by_model(effects)[model], effects.names()
    colour = MODEL_COLOURS[model]
    return go.Box(
        x=[MODEL_NAMES[model]] * len(rows),
        y=drops.value[rows],
        boxpoints="all",
        jitter=0.6,
        pointpos=0,
        marker={"color": colour, "size": 5, "opacity": 0.8},
        line={"color": colour, "width": 1.5},
        fillcolor=translucent(colour, 0.12),
        customdata=np.stack([drops.low[rows], drops.high[rows]], axis=-1),
        text=[names[row] for row in rows],
        hoveron="points",
        hovertemplate="%{text}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"<extra>{MODEL_NAMES[model]}</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
    )
