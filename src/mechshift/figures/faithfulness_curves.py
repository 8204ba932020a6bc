"""Figure: how much of each model's behaviour its own and the other model's circuit keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float, Int

from mechshift.errors import ReportError
from mechshift.figures.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    band,
    finish,
    log_ticks,
    percent,
)
from mechshift.statistics import Estimates

Kind = Literal["arm", "mdm"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FaithfulnessSeries:
    """Faithfulness of one model restricted to the circuit of one model, over circuit sizes."""

    model: Kind
    """The model that is run."""

    circuit: Kind
    """The model whose scores chose the edges."""

    sizes: Int[np.ndarray, " size"]
    """Edges in the circuit, ascending."""

    faithfulness: Float[np.ndarray, " size"]
    """1: the circuit alone gives the full metric; 0: it gives the corrupted one. Not clipped."""

    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    """Interval bounds; NaN where undefined."""

    level: float
    num_examples: int
    num_edges: int
    """Edges of the graph."""

    def __post_init__(self) -> None:
        assert self.sizes.shape == self.faithfulness.shape == self.low.shape == self.high.shape

    @property
    def label(self) -> str:
        owner = "own" if self.model == self.circuit else f"{MODEL_NAMES[self.circuit]}'s"
        return f"{MODEL_NAMES[self.model]}, {owner} circuit"

    @property
    def estimates(self) -> Estimates:
        return Estimates(value=self.faithfulness, low=self.low, high=self.high, level=self.level)


def faithfulness_curves(series: Sequence[FaithfulnessSeries]) -> go.Figure:
    """Faithfulness against circuit size on a log axis; solid: own circuit, dashed: the other's.

    Raises:
        ReportError: there is nothing to draw.
    """
    if not series:
        raise ReportError("there are no faithfulness curves to draw.")
    figure = go.Figure()
    for level in (0, 1):
        figure.add_hline(y=level, line={"width": 1, "dash": "dot", "color": NEUTRAL_COLOUR})
    for one in series:
        colour, own = MODEL_COLOURS[one.model], one.model == one.circuit
        x = one.sizes.astype(np.float64)
        figure.add_trace(band(x, one.estimates, colour, group=one.label))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=one.faithfulness,
                mode="lines+markers",
                line={"color": colour, "width": 2.5, "dash": "solid" if own else "dash"},
                marker={"size": 7, "symbol": "circle" if own else "circle-open"},
                customdata=np.stack([one.low, one.high], axis=-1),
                hovertemplate="%{x} edges: %{y:.3f}"
                " [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
                f"<extra>{one.label}</extra>",
                name=one.label,
                legendgroup=one.label,
            )
        )
    sizes = np.concatenate([one.sizes for one in series])
    figure.update_xaxes(
        type="log",
        title_text=f"circuit size [edges of {series[0].num_edges:,}]",
        **log_ticks(sizes),
    )
    figure.update_yaxes(title_text="faithfulness (1 = full model)")
    return finish(
        figure,
        "Faithfulness of the circuits",
        f"n = {series[0].num_examples} examples; bands: {percent(series[0].level)} bootstrap"
        " intervals",
        wide={"height": 430, "margin.b": 88},
        narrow={"height": 510, "margin.b": 180},
    )


def faithfulness_curves_table(series: Sequence[FaithfulnessSeries]) -> pl.DataFrame:
    """One row per curve and size."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": one.model,
                "circuit": one.circuit,
                "size": one.sizes,
                "faithfulness": one.faithfulness,
                "low": one.low,
                "high": one.high,
            }
        )
        for one in series
    ).fill_nan(None)
