"""Figure of faithfulness: what each model keeps on its own, the other's and baseline circuits.

For the topic `faithfulness`, whose curves these are; names here stand in the topic `examples` too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Int

from mechshift.evaluation import AblationName
from mechshift.models import Kind
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import (
    DOTTED,
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    band,
    finish,
    log_ticks,
    percent,
)
from mechshift.statistics import Estimates

Origin = Literal["arm", "mdm", "random", "activation"]

BASELINES = {
    "random": ("random circuits", {"arm": "triangle-up", "mdm": "triangle-down"}),
    "activation": ("edges by activation", {"arm": "square", "mdm": "diamond"}),
}
"""Circuits that know less: their name, and the marker of the model that runs them."""

EMPTY_NAMES: dict[AblationName, str] = {
    "resample": "corrupted prompt",
    "mean": "all at their mean",
    "zero": "all at zero",
}
"""The run in which every edge is ablated, faithfulness 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaithfulnessSeries:
    """Faithfulness of one model restricted to circuits of one origin, over circuit sizes."""

    model: Kind
    """The model that is run."""
    circuit: Origin
    """The model whose scores chose the edges; or random draws matched to the own circuit, of which
    this is the mean; or as many edges by the activation of their sources."""
    sizes: Int[np.ndarray, " size"]
    """Edges in the circuit, ascending."""
    estimates: Estimates
    """Axis `size`. 1: the circuit alone gives the full metric; 0: that of every edge ablated. Not
    clipped."""
    num_examples: int
    num_edges: int
    """Edges of the graph."""

    def __post_init__(self) -> None:
        assert self.sizes.shape == self.estimates.value.shape

    @property
    def label(self) -> str:
        """In the legend."""
        name = MODEL_NAMES[self.model]
        if self.is_baseline:
            return f"{name}, {BASELINES[self.circuit][0]}"
        owner = "own" if self.model == self.circuit else f"{MODEL_NAMES[self.circuit]}'s"
        return f"{name}, {owner} circuit"

    def index_of(self, size: int) -> int | None:
        """Where circuits of so many edges stand; None where they were not run."""
        return int((self.sizes == size).argmax()) if size in self.sizes else None

    @property
    def is_baseline(self) -> bool:
        """Whether the edges were chosen without either model's scores."""
        return self.circuit in BASELINES


def faithfulness_curves(
    series: Sequence[FaithfulnessSeries], *, ablation: AblationName = "resample"
) -> Figure:
    """Faithfulness against circuit size on a log axis; solid: own circuit, dashed: the other's.

    Baselines are grey, with bars in place of bands, because they may have a single size.

    Args:
        series: the curves, at least one, in any order.
        ablation: what the edges outside the circuits carry.
    """
    assert series  # a model is always run on its own circuits
    figure = Figure()
    for level in (0.0, 1.0):
        figure.add_hline(level, line=DOTTED)
    for one in sorted(
        series, key=lambda one: (one.is_baseline, one.model, one.circuit != one.model)
    ):
        for trace in _baseline_traces(one) if one.is_baseline else _model_traces(one):
            figure.add(trace)
    sizes = np.concatenate([one.sizes for one in series])
    figure.set_xaxes(
        type="log",
        title=f"circuit size [edges of {series[0].num_edges:,}]",
        **log_ticks(sizes),
    )
    figure.set_yaxes(title="faithfulness (1 = full model)")
    return finish(
        figure,
        "Faithfulness of the circuits",
        f"n = {series[0].num_examples} examples; 0: {EMPTY_NAMES[ablation]}; bands and bars:"
        f" {percent(series[0].estimates.level)} bootstrap intervals",
        wide={"height": 450, "margin.b": 110},
        narrow={"height": 640, "margin.b": 300},
    )


def faithfulness_curves_table(series: Sequence[FaithfulnessSeries]) -> pl.DataFrame:
    """One row per curve and size."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": one.model,
                "circuit": one.circuit,
                "size": one.sizes,
                "faithfulness": one.estimates.value,
                "low": one.estimates.low,
                "high": one.estimates.high,
            }
        )
        for one in series
    ).fill_nan(None)


def _model_traces(one: FaithfulnessSeries) -> list[Trace]:
    """The band and the line of a curve on one model's circuits."""
    colour, own = MODEL_COLOURS[one.model], one.model == one.circuit
    line = _line(
        one,
        line={"color": colour, "width": 2.5, "dash": "solid" if own else "dash"},
        marker={"size": 7, "symbol": "circle" if own else "circle-open"},
    )
    x = one.sizes.astype(np.float64)
    return [band(x, one.estimates, colour, group=one.label), line]


def _baseline_traces(one: FaithfulnessSeries) -> list[Trace]:
    symbol, estimates = BASELINES[one.circuit][1][one.model], one.estimates
    line = _line(
        one,
        line={"color": NEUTRAL_COLOUR, "width": 1.5, "dash": "dot"},
        marker={"size": 8, "symbol": symbol},
        error_y={
            "type": "data",
            "array": estimates.high - estimates.value,
            "arrayminus": estimates.value - estimates.low,
            "thickness": 1.2,
        },
    )
    return [line]


def _line(one: FaithfulnessSeries, **style: dict[str, Any]) -> Trace:
    estimates = one.estimates
    return scatter(
        x=one.sizes.astype(np.float64),
        y=estimates.value,
        mode="lines+markers",
        customdata=np.stack([estimates.low, estimates.high], axis=-1),
        hovertemplate="%{x} edges: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"<extra>{one.label}</extra>",
        name=one.label,
        legendgroup=one.label,
        **style,
    )
