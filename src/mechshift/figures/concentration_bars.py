"""Figure: how concentrated attribution is in both models, by four measures."""

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    finish,
    panels,
    percent,
    stacked,
)
from mechshift.semantics import ConcentrationShift
from mechshift.statistics import Estimate

SHARES = {
    "gini": "Gini<br>coefficient",
    "top_1_share": "share of<br>largest",
    "top_10_share": "share of ten<br>largest",
}
"""Fields of `Concentration` that lie between 0 and 1, and their labels."""

NUMBER = {"effective_number": "effective<br>number"}


def concentration_bars(found: ConcentrationShift) -> go.Figure:
    """Two panels: the shares, where higher is sharper, and the effective number of components."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=("sharper is higher", "sharper is lower"))
    for column, labels in enumerate((SHARES, NUMBER), start=1):
        for model in MODEL_NAMES:
            figure.add_trace(_bars(found, model, labels, column == 1), row=1, col=column)
    figure.update_layout(barmode="group", bargap=0.35)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="share of |attribution|", range=[0, 1.02], col=1)
    figure.update_yaxes(title_text=f"components of {found.num_components}", col=2)
    wide = panels((0.0, 0.62, 0.0, 1.0), (0.76, 1.0, 0.0, 1.0)) | {"height": 400, "margin.b": 92}
    narrow = stacked(2, gap=0.2) | {"height": 700, "margin.b": 92}
    level = found.arm.gini.interval.level
    return finish(
        figure,
        "Sharp or distributed",
        f"concentration of |attribution| over heads and MLPs; bars: {percent(level)} bootstrap"
        " intervals",
        wide=wide,
        narrow=narrow,
    )


def concentration_bars_table(found: ConcentrationShift) -> pl.DataFrame:
    """One row per measure, for `arm`, `mdm` and the paired `shift`."""
    rows = []
    for measure in (*SHARES, *NUMBER):
        for side in ("arm", "mdm", "shift"):
            estimate: Estimate = getattr(getattr(found, side), measure)
            rows.append(
                {
                    "measure": measure,
                    "side": side,
                    "value": estimate.value,
                    "low": estimate.interval.low,
                    "high": estimate.interval.high,
                }
            )
    return pl.DataFrame(rows)


def _bars(found: ConcentrationShift, model: str, labels: dict[str, str], in_legend: bool) -> go.Bar:
    estimates: list[Estimate] = [getattr(getattr(found, model), name) for name in labels]
    shifts: list[Estimate] = [getattr(found.shift, name) for name in labels]
    return go.Bar(
        x=list(labels.values()),
        y=[estimate.value for estimate in estimates],
        error_y={
            "type": "data",
            "array": [estimate.interval.high - estimate.value for estimate in estimates],
            "arrayminus": [estimate.value - estimate.interval.low for estimate in estimates],
            "width": 4,
            "thickness": 1.5,
        },
        marker={"color": MODEL_COLOURS[model]},
        customdata=[[shift.value, shift.interval.low, shift.interval.high] for shift in shifts],
        hovertemplate="%{y:.3f}<br>MDM - ARM: %{customdata[0]:.3f} (%{customdata[1]:.3f} to"
        " %{customdata[2]:.3f})<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
        showlegend=in_legend,
    )
