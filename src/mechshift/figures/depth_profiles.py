"""Figure: share of |score| by the layer that writes an edge and by the layer that reads it."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.comparison import DepthProfiles, LayerProfile
from mechshift.figures.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    band,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.statistics import Estimates

SIDES = ("source", "destination")
PANEL_TITLES = ("written by layer", "read by layer")


def depth_profiles(profiles: DepthProfiles) -> go.Figure:
    """Two panels, sources and destinations, each with ARM and MDM and their intervals."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=PANEL_TITLES, shared_yaxes=True)
    for column, side in enumerate(SIDES, start=1):
        for model in MODEL_NAMES:
            profile = getattr(getattr(profiles, side), model)
            for trace in _traces(profile, profiles.num_layers, side, model):
                figure.add_trace(trace, row=1, col=column)
        _layer_axis(figure, profiles.num_layers, side, column)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title_text="share of |score|", col=1)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 400, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.2)
    narrow |= {"height": 740, "margin.b": 84, "yaxis2.showticklabels": True}
    return finish(
        figure,
        "Depth of the circuit" if profiles.scope == "circuit" else "Depth of all edges",
        f"{_scope_words(profiles)}; n = {profiles.num_examples} {profiles.unit}s; bands:"
        f" {percent(profiles.level)} bootstrap intervals; dotted lines: early, middle, late",
        wide=wide,
        narrow=narrow,
    )


def depth_profiles_table(profiles: DepthProfiles) -> pl.DataFrame:
    """One row per side, model and layer; `layer` is also `input` or `logits`."""
    parts = []
    for side in SIDES:
        for model in MODEL_NAMES:
            share = getattr(getattr(profiles, side), model).share
            parts.append(
                pl.DataFrame(
                    {
                        "scope": profiles.scope,
                        "side": side,
                        "model": model,
                        "layer": layer_names(profiles.num_layers, side),
                        "share": share.value,
                        "low": share.low,
                        "high": share.high,
                    }
                )
            )
    return pl.concat(parts)


def layer_names(num_layers: int, side: str) -> list[str]:
    """Names along `layer_or_end`, as stored in a profile of that side."""
    layers = [str(layer) for layer in range(num_layers)]
    return ["input", *layers] if side == "source" else [*layers, "logits"]


def _traces(
    profile: LayerProfile, num_layers: int, side: str, model: str
) -> tuple[go.Scatter, go.Scatter]:
    """Interval and curve; a gap keeps `input` and `logits` apart from the layers."""
    share = profile.share
    end, layer = 0 if side == "source" else num_layers, np.arange(num_layers, dtype=np.float64)
    x = np.insert(layer, end, _end_position(num_layers, side))
    layers = slice(1, None) if side == "source" else slice(None, -1)
    cut = 1 if side == "source" else num_layers
    names = layer_names(num_layers, side)
    curve = go.Scatter(
        x=np.insert(x, cut, np.nan),
        y=np.insert(share.value, cut, np.nan),
        error_y=_end_bar(share, end, cut),
        mode="lines+markers",
        line={"color": MODEL_COLOURS[model], "width": 2.5},
        marker={"size": 7, "symbol": "circle" if model == "arm" else "diamond"},
        cliponaxis=False,
        text=[*names[:cut], "", *names[cut:]],
        hovertemplate="%{text}: %{y:.2%}<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
        showlegend=side == "source",
    )
    return band(x[layers], share.sel(layers), MODEL_COLOURS[model], group=MODEL_NAMES[model]), curve


def _end_bar(share: Estimates, end: int, cut: int) -> dict[str, object]:
    """An error bar at `input` or `logits`, which no band reaches."""
    above, below = np.zeros((2, len(share.value)))
    above[end] = share.high[end] - share.value[end]
    below[end] = share.value[end] - share.low[end]
    return {
        "type": "data",
        "array": np.insert(above, cut, 0),
        "arrayminus": np.insert(below, cut, 0),
        "width": 4,
        "thickness": 1.5,
    }


def _end_position(num_layers: int, side: str) -> float:
    """Where `input` or `logits` stands: far enough from the layers for its label."""
    distance = max(1.0, num_layers / 8)
    return -distance if side == "source" else num_layers - 1 + distance


def _layer_axis(figure: go.Figure, num_layers: int, side: str, column: int) -> None:
    layers = thinned(num_layers, 8)
    end, name = _end_position(num_layers, side), "input" if side == "source" else "logits"
    room = 0.5 + num_layers / 30
    figure.update_xaxes(
        tickvals=[end, *layers],
        ticktext=[name, *map(str, layers)],
        range=[min(end, 0) - room, max(end, num_layers - 1) + room],
        title_text="layer",
        showgrid=False,
        col=column,
    )
    for third in (1, 2):
        figure.add_vline(
            x=num_layers * third / 3 - 0.5,
            line={"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR},
            opacity=0.6,
            col=column,
        )


def _scope_words(profiles: DepthProfiles) -> str:
    if profiles.scope == "all":
        return f"all {profiles.circuit_size:,} edges"
    return f"each model's top {profiles.circuit_size:,} edges"
