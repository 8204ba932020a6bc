"""Figure: overlap of the two circuits against the number of denoising steps."""

import numpy as np
import plotly.graph_objects as go
import polars as pl

from mechshift.comparison import NumStepsSweep
from mechshift.figures.theme import NEUTRAL_COLOUR, PAIR_COLOUR, band, finish, percent

CURVES = (("overlap", "edge overlap (Jaccard)", "solid"), ("ratio", "ratio to its ceiling", "dash"))
"""Field of the record, legend name and dash."""


def num_steps_sweep(sweep: NumStepsSweep) -> go.Figure:
    """Overlap and ratio to the ceiling; the shift in depth is `depth_sweep` of its `depth`."""
    figure = go.Figure()
    points = sweep.depth.points
    x = points.astype(np.float64)
    for field, name, dash in CURVES:
        estimates = getattr(sweep, field)
        figure.add_trace(band(x, estimates, PAIR_COLOUR, group=name))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=estimates.value,
                mode="lines+markers",
                line={"color": PAIR_COLOUR, "width": 2.5, "dash": dash},
                marker={"size": 7, "symbol": "circle" if dash == "solid" else "circle-open"},
                customdata=np.stack([estimates.low, estimates.high, sweep.noise_p], axis=-1),
                hovertemplate="%{x} steps: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}],"
                " p of no difference %{customdata[2]:.3f}<extra>" + name + "</extra>",
                cliponaxis=False,
                name=name,
                legendgroup=name,
            )
        )
    figure.add_hline(y=1, line={"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR})
    figure.update_xaxes(title_text="number of denoising steps S", tickvals=points.tolist())
    figure.update_yaxes(title_text="overlap, ratio", rangemode="tozero")
    return finish(
        figure,
        f"Overlap against the number of steps, {sweep.task}",
        f"top {sweep.depth.circuit_sizes[0]:,} edges; n = {sweep.depth.num_examples.min()};"
        f" bands: {percent(sweep.depth.level)} bootstrap intervals",
        wide={"height": 430, "margin.b": 88},
        narrow={"height": 510, "margin.b": 130},
    )


def num_steps_sweep_table(sweep: NumStepsSweep) -> pl.DataFrame:
    """One row per number of steps."""
    columns: dict[str, object] = {"task": sweep.task, "num_steps": sweep.depth.points}
    for field, _, _ in CURVES:
        estimates = getattr(sweep, field)
        columns[field] = estimates.value
        columns[f"{field}_low"] = estimates.low
        columns[f"{field}_high"] = estimates.high
    return pl.DataFrame(columns | {"noise_p": sweep.noise_p}).fill_nan(None)
