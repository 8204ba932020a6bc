"""Figure: how the two circuits agree in nodes, weights, ranks and signs, with ceilings and null."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.comparison import Agreement, AgreementCurve
from mechshift.page.theme import (
    ARM_COLOUR,
    MDM_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    percent,
    stacked,
)

MEASURES = {
    "nodes": "nodes (weighted Jaccard)",
    "weighted": "edges (weighted Jaccard)",
    "rank": "ranks (Spearman)",
    "sign": "signs (share alike)",
}
"""Field of the record -> title of its panel."""

SERIES = (
    ("value", "ARM and MDM", PAIR_COLOUR, "circle"),
    ("ceiling_arm", "ceiling: ARM with itself", ARM_COLOUR, "triangle-up"),
    ("ceiling_mdm", "ceiling: MDM with itself", MDM_COLOUR, "diamond"),
    ("null", "null: shuffled scores", NEUTRAL_COLOUR, "x-thin-open"),
)
"""Field of the curve, legend name, colour and marker."""

ESTIMATES = ("value", "ceiling_arm", "ceiling_mdm", "halves", "ratio", "null")


def agreement(record: Agreement) -> go.Figure:
    """One panel for each measure; a group of points for each circuit size."""
    figure = make_subplots(rows=2, cols=2, subplot_titles=tuple(MEASURES.values()))
    for panel, measure in enumerate(MEASURES):
        row, column = panel // 2 + 1, panel % 2 + 1
        for place, series in enumerate(SERIES):
            trace = _points(record, getattr(record, measure), place, series, legend=panel == 0)
            figure.add_trace(trace, row=row, col=column)
    figure.update_xaxes(
        tickvals=np.arange(len(record.sizes)),
        ticktext=_size_names(record),
        range=[-0.5, len(record.sizes) - 0.5],
        showgrid=False,
    )
    figure.update_xaxes(title_text="circuit size K [edges]", row=2)
    figure.update_yaxes(title_text="agreement", col=1)
    return finish(
        figure,
        "Agreement beyond the edge sets",
        f"n = {record.num_examples} {record.unit}s; bars: {percent(record.level)} bootstrap"
        f" intervals ({record.num_resamples:,} resamples), for the null the spread of"
        f" {record.num_shuffles:,} shuffles",
        wide=panels(
            (0.0, 0.46, 0.6, 1.0),
            (0.54, 1.0, 0.6, 1.0),
            (0.0, 0.46, 0.0, 0.4),
            (0.54, 1.0, 0.0, 0.4),
        )
        | {"height": 640, "margin.b": 110},
        narrow=stacked(4, gap=0.09) | {"height": 1300, "margin.b": 200},
    )


def agreement_table(record: Agreement) -> pl.DataFrame:
    """One row per measure and size: every estimate with its interval, and both p-values."""
    parts = []
    for measure in MEASURES:
        curve = getattr(record, measure)
        columns: dict[str, object] = {"measure": measure, "size": record.sizes}
        for field in ESTIMATES:
            estimates = getattr(curve, field)
            columns[field] = estimates.value
            columns[f"{field}_low"] = estimates.low
            columns[f"{field}_high"] = estimates.high
        columns |= {"layout_p": curve.layout_p, "noise_p": curve.noise_p}
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).fill_nan(None)


def _points(
    record: Agreement,
    curve: AgreementCurve,
    place: int,
    series: tuple[str, str, str, str],
    *,
    legend: bool,
) -> go.Scatter:
    """One series of one measure, beside the others at each size."""
    field, name, colour, symbol = series
    estimates = getattr(curve, field)
    offset = 0.14 * (place - (len(SERIES) - 1) / 2)
    hover = "%{text} edges: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
    if field == "value":
        hover += (
            "<br>ratio to ceiling %{customdata[2]:.3f}"
            "<br>p: no more than layout %{customdata[3]:.3f}, no less than noise"
            " %{customdata[4]:.3f}"
        )
    return go.Scatter(
        x=np.arange(len(record.sizes)) + offset,
        y=estimates.value,
        error_y={
            "type": "data",
            "array": estimates.high - estimates.value,
            "arrayminus": estimates.value - estimates.low,
            "width": 3,
            "thickness": 1.5,
        },
        mode="markers",
        marker={
            "size": 9,
            "symbol": symbol,
            "color": colour,
            "line": {"color": colour, "width": 2},
        },
        text=_size_names(record),
        customdata=np.stack(
            [estimates.low, estimates.high, curve.ratio.value, curve.layout_p, curve.noise_p],
            axis=-1,
        ),
        hovertemplate=hover + f"<extra>{name}</extra>",
        cliponaxis=False,
        name=name,
        legendgroup=name,
        showlegend=legend,
    )


def _size_names(record: Agreement) -> list[str]:
    return [f"all {size:,}" if size == record.num_edges else f"{size:,}" for size in record.sizes]
