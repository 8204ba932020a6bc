"""The circuit over training: at which depth it writes, and which edges it has, by checkpoint.

They answer when work moves to other layers, at which step the old edges go and where the new ones
come. The circuits of one training are shown one after another by a slider over its checkpoints;
colour says whether the parent's circuit has an edge too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mechshift.comparison import top_edges
from mechshift.page.circuit_drawing import (
    NUM_WIDTHS,
    Panel,
    circuit_panel,
    edge_hover,
    edge_lines,
    map_axes,
    node_traces,
    width_classes,
)
from mechshift.page.figure import Figure, Trace, heat_map, scatter
from mechshift.page.theme import (
    NEGATIVE_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    Patch,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    stacked,
    thinned,
)
from mechshift.topics.trajectory import (
    Training,
    Trajectory,
    TrajectoryPoint,
    training_colour,
    training_title,
)
from mechshift.topics.trajectory_curves import short

KEPT, NEW, LOST = "in the parent's circuit too", "new", "the parent's, lost"

ORIGINS = ((KEPT, PAIR_COLOUR), (NEW, NEGATIVE_COLOUR))
SIGNS = ((1, "solid"), (-1, "dot"))

AT_ONCE = {
    "mode": "immediate",
    "frame": {"duration": 0, "redraw": True},
    "transition": {"duration": 0},
}
"""A slider's step shows its frame and nothing in between: there is no circuit half-way."""


def depth_over_training(trajectory: Trajectory) -> Figure:
    """A heat map for each training that is followed: share of |score| by writing layer and step."""
    trainings = trajectory.followed
    figure = Figure(
        [training_title(training) for training in trainings],
        columns=len(trainings),
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
        figure.add(
            heat_map(
                z=share,
                x=[str(point.step) for point in points],
                y=layers,
                customdata=np.stack([low, high], axis=-1),
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                hovertemplate="layer %{y}, after %{x} steps: %{z:.1%}"
                " [%{customdata[0]:.1%}, %{customdata[1]:.1%}]<extra></extra>",
                name=training_title(training),
            ),
            column=column,
        )
        figure.set_xaxes(
            type="category",
            tickvals=[str(point.step) for point in points],
            ticktext=[short(point.step) for point in points],
            column=column,
        )
    figure.colour_titles(training_colour(training) for training in trainings)
    figure.set_xaxes(title="training steps", showgrid=False)
    figure.set_yaxes(
        type="category",
        tickvals=["input", *map(str, thinned(graph.num_layers, 16))],
        showgrid=False,
    )
    figure.set_yaxes(title="layer that writes", column=1)
    figure.set_layout(coloraxis=colour_bar("share of<br>|score|", largest))
    wide, narrow = _depth_patches(len(trainings), graph.num_layers)
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


def _depth_patches(num_panels: int, num_layers: int) -> tuple[Patch, Patch]:
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


def circuit_scrubber(trajectory: Trajectory, training: Training, *, num_drawn: int = 40) -> Figure:
    """One map with a frame for each checkpoint of a training; the first is shown at the start."""
    points = trajectory.of(training)
    drawn = [_panel(trajectory, point.scores, num_drawn) for point in points]
    parent = _panel(trajectory, trajectory.parent_scores, num_drawn)
    frames: list[dict[str, Any]] = [
        {"name": str(point.step), "data": _traces(trajectory, point, panel, parent)}
        for point, panel in zip(points, drawn, strict=True)
    ]
    figure = Figure()
    figure.add(*frames[0]["data"])
    figure.frames = frames
    map_axes(figure, trajectory.graph)
    largest = max(float(panel.node_share[1:-1].max()) for panel in drawn)
    figure.set_layout(
        coloraxis=colour_bar("share of<br>node score", largest), sliders=[_slider(points)]
    )
    figure.annotate("")
    height = int(np.clip(300 + 52 * (trajectory.graph.num_layers + 2), 560, 1200))
    wide = panels((0.0, 0.88, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": height, "margin.b": 196}
    # Between map and slider lie the map's ticks and the colour bar.
    narrow = panels((0.0, 1.0, 130 / (height - 150), 1.0)) | colour_bar_below()
    narrow |= {"height": height + 190, "margin.b": 246}
    size = trajectory.circuit_size
    return finish(
        figure,
        f"The circuit over training, {training_title(training)}",
        f"node score inside the top {size:,} edges; the {min(num_drawn, size):,} strongest drawn,"
        f" dotted where corrupting one helps; n = {trajectory.num_examples} examples, means without"
        " intervals",
        wide=wide,
        narrow=narrow,
    )


def circuit_scrubber_table(
    trajectory: Trajectory, training: Training, *, num_drawn: int = 40
) -> pl.DataFrame:
    """The drawn edges of every checkpoint: mean score, and whether the parent has them too."""
    graph = trajectory.graph
    parts = []
    for point in trajectory.of(training):
        panel = _panel(trajectory, point.scores, num_drawn)
        kept = np.isin(panel.edges, _circuit(trajectory, trajectory.parent_scores))
        parts.append(
            pl.DataFrame(
                {
                    "step": point.step,
                    "edge": [graph.edge_name(edge) for edge in panel.edges[::-1]],
                    "score": panel.scores[::-1],
                    "origin": [KEPT if one else NEW for one in kept[::-1]],
                }
            )
        )
    return pl.concat(parts)


def _panel(trajectory: Trajectory, scores: Float[np.ndarray, " edge"], num_drawn: int) -> Panel:
    return circuit_panel(trajectory.graph, scores, trajectory.circuit_size, num_drawn=num_drawn)


def _circuit(
    trajectory: Trajectory, scores: Float[np.ndarray, " edge"]
) -> Int[np.ndarray, " circuit"]:
    """All of a circuit's edges, drawn or not."""
    return top_edges(trajectory.graph, scores, trajectory.circuit_size)


def _traces(
    trajectory: Trajectory, point: TrajectoryPoint, panel: Panel, parent: Panel
) -> list[Trace]:
    """As many, in the same order, for every checkpoint: a frame replaces trace by trace."""
    kept = np.isin(panel.edges, _circuit(trajectory, trajectory.parent_scores))
    widths, signs = width_classes(panel), np.sign(panel.scores)
    traces = [*_legend(), _lost_edges(parent, _circuit(trajectory, point.scores))]
    for origin, colour in ORIGINS:
        for sign, dash in SIGNS:
            for width in range(NUM_WIDTHS):
                chosen = (kept == (origin == KEPT)) & (signs == sign) & (widths == width)
                traces.append(
                    edge_lines(
                        panel, width, chosen, name=origin, line={"color": colour, "dash": dash}
                    )
                )
    nodes = node_traces(panel, f"step {point.step}")
    return [_rounded(trace) for trace in (*traces, edge_hover(panel), *nodes)]


def _lost_edges(parent: Panel, circuit: Int[np.ndarray, " circuit"]) -> Trace:
    """The parent's strongest edges, as far as the checkpoint's circuit lacks them."""
    lost = ~np.isin(parent.edges, circuit)
    line = {"color": NEUTRAL_COLOUR, "dash": "dash", "width": 1.2}
    return edge_lines(parent, 0, lost, name=LOST, line=line)


def _legend() -> list[Trace]:
    """Traces of their own: plotly names no trace that is empty, as many are at some checkpoint."""
    styles = {KEPT: (PAIR_COLOUR, "solid"), NEW: (NEGATIVE_COLOUR, "solid")}
    styles[LOST] = (NEUTRAL_COLOUR, "dash")
    return [
        scatter(
            x=[np.nan],
            y=[np.nan],
            mode="lines",
            line={"color": colour, "dash": dash, "width": 3},
            name=name,
            legendgroup=name,
        )
        for name, (colour, dash) in styles.items()
    ]


def _rounded(trace: Trace) -> Trace:
    """Coordinates to a thousandth of a column: every frame is written into the page."""
    return trace | {axis: np.round(trace[axis], 3) for axis in ("x", "y")}


def _slider(points: Sequence[TrajectoryPoint]) -> dict[str, object]:
    return {
        "active": 0,
        "steps": [
            {"label": f"{point.step:,}", "method": "animate", "args": [[str(point.step)], AT_ONCE]}
            for point in points
        ],
        "currentvalue": {"prefix": "after training steps: ", "font": {"size": 14}},
        "x": 0.02,
        "len": 0.92,
        "pad": {"t": 62, "b": 0},
        "bordercolor": NEUTRAL_COLOUR,
        "bgcolor": "rgba(138, 145, 158, 0.25)",
        "activebgcolor": PAIR_COLOUR,
        "tickcolor": NEUTRAL_COLOUR,
    }
