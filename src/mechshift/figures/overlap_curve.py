"""Figure: overlap of the two circuits against their size, with ceilings, null and ratio."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.comparison import OverlapCurve
from mechshift.page.theme import (
    ARM_COLOUR,
    MDM_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    band,
    finish,
    log_ticks,
    panels,
    percent,
    stacked,
)

CURVES = (
    ("edges", "edges, ARM and MDM", PAIR_COLOUR, "solid", "circle"),
    ("nodes", "nodes, ARM and MDM", PAIR_COLOUR, "dash", "circle-open"),
    ("ceiling_arm", "ceiling: ARM with itself", ARM_COLOUR, "dash", "triangle-up"),
    ("ceiling_mdm", "ceiling: MDM with itself", MDM_COLOUR, "dash", "diamond"),
    ("null", "null: shuffled scores", NEUTRAL_COLOUR, "dot", "x-thin-open"),
)
"""Field of the record, legend name, colour, dash and marker of the curves of the left panel."""

TABLE_FIELDS = (
    "edges",
    "nodes",
    "ceiling_arm",
    "ceiling_mdm",
    "bootstrap_arm",
    "bootstrap_mdm",
    "halves",
    "ratio",
    "null",
)


def overlap_curve(overlap: OverlapCurve) -> go.Figure:
    """Left: Jaccard of edges and nodes, ceilings and null. Right: ratio to the ceiling."""
    figure = make_subplots(
        rows=1,
        cols=2,
        subplot_titles=("overlap", "edge overlap relative to its ceiling"),
    )
    sizes = overlap.sizes.astype(np.float64)
    ratio = ("ratio", "ratio to ceiling", PAIR_COLOUR, "solid", "square")
    for column, curves in ((1, CURVES), (2, (ratio,))):
        for field, name, colour, dash, symbol in curves:
            estimates = getattr(overlap, field)
            figure.add_trace(band(sizes, estimates, colour, group=name), row=1, col=column)
            figure.add_trace(
                go.Scatter(
                    x=sizes,
                    y=estimates.value,
                    mode="lines+markers",
                    line={"color": colour, "width": 2.5 if dash == "solid" else 1.8, "dash": dash},
                    marker={"size": 7, "symbol": symbol},
                    cliponaxis=False,
                    customdata=np.stack([estimates.low, estimates.high], axis=-1),
                    hovertemplate="%{x} edges: %{y:.3f}"
                    " [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
                    f"<extra>{name}</extra>",
                    name=name,
                    legendgroup=name,
                ),
                row=1,
                col=column,
            )
    figure.add_hline(y=1, line={"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR}, row=1, col=2)
    figure.update_xaxes(type="log", title_text="circuit size K [edges]", **log_ticks(overlap.sizes))
    figure.update_yaxes(title_text="Jaccard overlap", range=[0, 1], col=1)
    figure.update_yaxes(title_text="ratio", rangemode="tozero", col=2)
    return finish(
        figure,
        "Overlap of the two circuits",
        f"n = {overlap.num_examples} {overlap.unit}s; bands: {percent(overlap.level)} bootstrap"
        f" intervals ({overlap.num_resamples:,} resamples), for the null the spread of"
        f" {overlap.num_shuffles:,} shuffles",
        wide=panels((0.0, 0.56, 0.0, 1.0), (0.66, 1.0, 0.0, 1.0))
        | {"height": 450, "margin.b": 110},
        narrow=stacked(2, gap=0.19) | {"height": 900, "margin.b": 260},
    )


def overlap_curve_table(overlap: OverlapCurve) -> pl.DataFrame:
    """One row per circuit size: curves with intervals, and p-values; empty where undefined."""
    columns: dict[str, np.ndarray] = {"size": overlap.sizes}
    for field in TABLE_FIELDS:
        estimates = getattr(overlap, field)
        columns[field] = estimates.value
        columns[f"{field}_low"] = estimates.low
        columns[f"{field}_high"] = estimates.high
    columns |= {"layout_p": overlap.layout_p, "noise_p": overlap.noise_p}
    return pl.DataFrame(columns).fill_nan(None)
