"""Figure: at which depth does the circuit write, checkpoint by checkpoint?"""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.page.theme import (
    Patch,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    stacked,
    thinned,
)
from mechshift.figures.training_steps import short
from mechshift.figures.trajectory_curves import TRAINING_COLOURS, TRAINING_NAMES
from mechshift.verdict import Trajectory


def depth_over_training(trajectory: Trajectory) -> go.Figure:
    """A heat map for each training: share of the circuit's |score| by writing layer and step."""
    trainings = trajectory.trainings
    figure = make_subplots(
        rows=1,
        cols=len(trainings),
        subplot_titles=[TRAINING_NAMES[training] for training in trainings],
        shared_yaxes=True,
    )
    graph = trajectory.graph
    layers = ["input", *map(str, range(graph.num_layers))]
    largest = 0.0
    for column, training in enumerate(trainings, start=1):
        points = trajectory.of(training)
        share, low, high = (
            np.stack([getattr(point.share, field) for point in points], axis=-1)
            for field in ("value", "low", "high")
        )
        largest = max(largest, float(share.max()))
        figure.add_trace(
            go.Heatmap(
                z=share,
                x=[str(point.step) for point in points],
                y=layers,
                customdata=np.stack([low, high], axis=-1),
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                hovertemplate="layer %{y}, after %{x} steps: %{z:.1%}"
                " [%{customdata[0]:.1%}, %{customdata[1]:.1%}]<extra></extra>",
                name=TRAINING_NAMES[training],
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(
            type="category",
            tickvals=[str(point.step) for point in points],
            ticktext=[short(point.step) for point in points],
            col=column,
        )
        figure.layout.annotations[column - 1].font.color = TRAINING_COLOURS[training]
    figure.update_xaxes(title_text="training steps", showgrid=False)
    figure.update_yaxes(
        type="category",
        tickvals=["input", *map(str, thinned(graph.num_layers, 16))],
        showgrid=False,
    )
    figure.update_yaxes(title_text="layer that writes", col=1)
    figure.update_layout(coloraxis=colour_bar("share of<br>|score|", largest))
    wide, narrow = _patches(len(trainings), graph.num_layers)
    return finish(
        figure,
        "Depth over training",
        f"share of |score| by writing layer, of the top {trajectory.circuit_size:,} edges of each"
        f" checkpoint; n = {trajectory.num_examples} examples",
        wide=wide,
        narrow=narrow,
    )


def depth_over_training_table(trajectory: Trajectory) -> pl.DataFrame:
    """One row for each training, step and layer; `input` writes too."""
    layers = ["input", *map(str, range(trajectory.graph.num_layers))]
    parts = [
        pl.DataFrame(
            {
                "training": point.training,
                "step": point.step,
                "layer": layers,
                "share": point.share.value,
                "low": point.share.low,
                "high": point.share.high,
            }
        )
        for point in trajectory.points
    ]
    return pl.concat(parts)


def _patches(num_panels: int, num_layers: int) -> tuple[Patch, Patch]:
    height = int(np.clip(150 + 30 * (num_layers + 1), 340, 900))
    right = 0.9
    gap = 0.03
    width = (right - gap * (num_panels - 1)) / num_panels
    lefts = [index * (width + gap) for index in range(num_panels)]
    wide = panels(*((left, left + width, 0.0, 1.0) for left in lefts)) | colour_bar_right()
    wide |= {"height": height, "margin.b": 58}
    narrow_height = num_panels * (height - 20) + 110
    narrow = stacked(num_panels, gap=110 / narrow_height, bottom=150 / narrow_height)
    narrow |= colour_bar_below() | {"height": narrow_height, "margin.b": 24}
    for index in range(1, num_panels):
        wide[f"yaxis{index + 1}.showticklabels"] = False
        narrow[f"yaxis{index + 1}.showticklabels"] = True
    return wide, narrow
