"""Figure: the circuit of one checkpoint after another, with a slider over training steps.

Colour says whether the parent's circuit has an edge too; so one sees at which step the old edges go
and where the new ones come.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float, Int
from plotly.subplots import make_subplots

from mechshift.comparison import top_edges
from mechshift.figures.circuit_panel import (
    NUM_WIDTHS,
    Panel,
    circuit_panel,
    edge_hover,
    edge_lines,
    map_axes,
    node_traces,
    width_classes,
)
from mechshift.page.theme import (
    NEGATIVE_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
)
from mechshift.figures.trajectory_curves import TRAINING_NAMES
from mechshift.verdict import Training, Trajectory, TrajectoryPoint

KEPT, NEW, LOST = "in the parent's circuit too", "new", "the parent's, lost"

ORIGINS = ((KEPT, PAIR_COLOUR), (NEW, NEGATIVE_COLOUR))
SIGNS = ((1, "solid"), (-1, "dot"))

AT_ONCE = {
    "mode": "immediate",
    "frame": {"duration": 0, "redraw": True},
    "transition": {"duration": 0},
}
"""A slider's step shows its frame and nothing in between: there is no circuit half-way."""


def circuit_scrubber(
    trajectory: Trajectory, training: Training, *, num_drawn: int = 40
) -> go.Figure:
    """One map with a frame for each checkpoint of a training; the first is shown at the start."""
    points = trajectory.of(training)
    drawn = [_panel(trajectory, point.scores, num_drawn) for point in points]
    frames = [
        go.Frame(name=str(point.step), data=_traces(trajectory, point, panel, num_drawn))
        for point, panel in zip(points, drawn, strict=True)
    ]
    figure = make_subplots()
    figure.add_traces(frames[0].data)
    figure.frames = frames
    map_axes(figure, trajectory.graph)
    largest = max(float(panel.node_share[1:-1].max()) for panel in drawn)
    figure.update_layout(
        coloraxis=colour_bar("share of<br>node score", largest), sliders=[_slider(points)]
    )
    figure.add_annotation(text="", xref="paper", yref="paper", showarrow=False)
    height = int(np.clip(300 + 52 * (trajectory.graph.num_layers + 2), 560, 1200))
    wide = panels((0.0, 0.88, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": height, "margin.b": 196}
    # Between map and slider lie the map's ticks and the colour bar.
    narrow = panels((0.0, 1.0, 130 / (height - 150), 1.0)) | colour_bar_below()
    narrow |= {"height": height + 190, "margin.b": 246}
    size = trajectory.circuit_size
    return finish(
        figure,
        f"The circuit over training, {TRAINING_NAMES[training]}",
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
        kept = np.isin(panel.edges, _parent_circuit(trajectory))
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


def _parent_circuit(trajectory: Trajectory) -> Int[np.ndarray, " k"]:
    return top_edges(trajectory.graph, trajectory.parent_scores, trajectory.circuit_size)


def _traces(
    trajectory: Trajectory, point: TrajectoryPoint, panel: Panel, num_drawn: int
) -> list[go.Scatter]:
    """As many, in the same order, for every checkpoint: a frame replaces trace by trace."""
    kept = np.isin(panel.edges, _parent_circuit(trajectory))
    widths, signs = width_classes(panel), np.sign(panel.scores)
    traces = [*_legend(), _lost_edges(trajectory, point, num_drawn)]
    for origin, colour in ORIGINS:
        for sign, dash in SIGNS:
            for width in range(NUM_WIDTHS):
                chosen = (kept == (origin == KEPT)) & (signs == sign) & (widths == width)
                lines = edge_lines(panel, width, chosen)
                lines.line.update(color=colour, dash=dash)
                traces.append(lines.update(name=origin, legendgroup=origin, showlegend=False))
    nodes = node_traces(panel, f"step {point.step}")
    return [_rounded(trace) for trace in (*traces, edge_hover(panel), *nodes)]


def _lost_edges(trajectory: Trajectory, point: TrajectoryPoint, num_drawn: int) -> go.Scatter:
    """The parent's strongest edges, as far as the checkpoint's circuit lacks them."""
    panel = _panel(trajectory, trajectory.parent_scores, num_drawn)
    circuit = top_edges(trajectory.graph, point.scores, trajectory.circuit_size)
    lines = edge_lines(panel, 0, ~np.isin(panel.edges, circuit))
    lines.line.update(color=NEUTRAL_COLOUR, dash="dash", width=1.2)
    return lines.update(name=LOST, legendgroup=LOST, showlegend=False)


def _legend() -> list[go.Scatter]:
    """Traces of their own: plotly names no trace that is empty, as many are at some checkpoint."""
    styles = {KEPT: (PAIR_COLOUR, "solid"), NEW: (NEGATIVE_COLOUR, "solid")}
    styles[LOST] = (NEUTRAL_COLOUR, "dash")
    return [
        go.Scatter(
            x=[np.nan],
            y=[np.nan],
            mode="lines",
            line={"color": colour, "dash": dash, "width": 3},
            name=name,
            legendgroup=name,
        )
        for name, (colour, dash) in styles.items()
    ]


def _rounded(trace: go.Scatter) -> go.Scatter:
    """Coordinates to a thousandth of a column: every frame is written into the page."""
    return trace.update(x=np.round(trace.x, 3), y=np.round(trace.y, 3))


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
