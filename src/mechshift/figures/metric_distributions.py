"""Figure: the metric of every example, whole model and circuits side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float
from plotly.subplots import make_subplots

from mechshift.errors import ReportError
from mechshift.evaluation import AblationName
from mechshift.figures.ablation_names import EMPTY_NAMES
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    finish,
    panels,
    stacked,
    translucent,
)

Condition = Literal["full", "own", "other", "empty"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricSample:
    """What one model scores on every example under one condition."""

    model: Literal["arm", "mdm"]
    condition: Condition
    """Whole model; on its own circuit; on the other model's circuit; every edge ablated."""
    values: Float[np.ndarray, " example"]
    """Summed over denoising steps [metric units]."""


def metric_distributions(
    samples: Sequence[MetricSample],
    *,
    metric: str,
    circuit_size: int,
    ablation: AblationName = "resample",
) -> go.Figure:
    """A box per condition, in a panel for each of the two models.

    Args:
        samples: in the order in which the boxes stand.
        metric: its name, for the axis.
        circuit_size: edges of the circuits.
        ablation: what the edges outside the circuits carry.

    Raises:
        ReportError: there is nothing to draw.
    """
    if not samples:
        raise ReportError("there are no metrics of examples to draw.")
    columns = {model: column for column, model in enumerate(MODEL_NAMES, start=1)}
    figure = make_subplots(rows=1, cols=len(columns), subplot_titles=list(MODEL_NAMES.values()))
    for sample in samples:
        colour = NEUTRAL_COLOUR if sample.condition == "empty" else MODEL_COLOURS[sample.model]
        figure.add_trace(
            go.Box(
                y=sample.values,
                name=_label(sample, ablation),
                boxpoints="outliers",
                boxmean=True,
                line={"color": colour, "width": 1.8},
                fillcolor=translucent(colour, 0.0 if sample.condition == "other" else 0.25),
                marker={"size": 4},
                hoverinfo="y",
                showlegend=False,
            ),
            row=1,
            col=columns[sample.model],
        )
    for annotation, model in zip(figure.layout.annotations, columns, strict=True):
        annotation.font.color = MODEL_COLOURS[model]
    figure.update_yaxes(title_text=f"{metric}, summed over steps", col=1)
    return finish(
        figure,
        "The metric, example by example",
        f"n = {len(samples[0].values)} examples; circuits of {circuit_size:,} edges; box:"
        " quartiles, dashed: mean",
        wide=panels((0.0, 0.46, 0.0, 1.0), (0.54, 1.0, 0.0, 1.0)) | {"height": 430, "margin.b": 60},
        narrow=stacked(2, gap=0.16) | {"height": 760, "margin.b": 60},
    )


def metric_distributions_table(samples: Sequence[MetricSample]) -> pl.DataFrame:
    """One row per model, condition and example."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": sample.model,
                "condition": sample.condition,
                "example": np.arange(len(sample.values)),
                "metric": sample.values,
            }
        )
        for sample in samples
    )


def _label(sample: MetricSample, ablation: AblationName) -> str:
    other = {"arm": "mdm", "mdm": "arm"}[sample.model]
    label = {
        "full": "whole model",
        "own": "own circuit",
        "other": f"{MODEL_NAMES[other]}'s circuit",
        "empty": EMPTY_NAMES[ablation],
    }[sample.condition]
    return "<br>".join(label.rsplit(" ", maxsplit=1))  # four stand side by side on a phone
