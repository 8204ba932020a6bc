"""Figure: the two models' circuits side by side, as layer-by-head maps with their edges."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.comparison import Comparison
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
    MODEL_COLOURS,
    MODEL_NAMES,
    NEGATIVE_COLOUR,
    PAIR_COLOUR,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    stacked,
)

SIGNS = (
    (1, "positive: corrupting the edge hurts", PAIR_COLOUR, "solid"),
    (-1, "negative: corrupting it helps", NEGATIVE_COLOUR, "dot"),
)


def circuit_map(comparison: Comparison, *, num_drawn: int = 40) -> go.Figure:
    """Two maps, ARM and MDM: nodes sized by score, the strongest `num_drawn` edges as lines."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=list(MODEL_NAMES.values()))
    graph = comparison.graph
    panels_by_model = {model: _panel(comparison, model, num_drawn) for model in MODEL_NAMES}
    for column, (model, panel) in enumerate(panels_by_model.items(), start=1):
        place = {"row": 1, "col": column}
        for trace in _edge_lines(panel):
            figure.add_trace(trace, **place)
        figure.add_trace(edge_hover(panel), **place)
        for trace in node_traces(panel, MODEL_NAMES[model]):
            figure.add_trace(trace, **place)
    for _, label, *_ in SIGNS:
        # A sign may lack the widest lines, and Plotly leaves empty traces out of the legend.
        drawn = [trace for trace in figure.data if trace.name == label and len(trace.x)]
        if drawn:
            max(drawn, key=lambda trace: trace.line.width).showlegend = True
    map_axes(figure, graph)
    for annotation, model in zip(figure.layout.annotations, MODEL_NAMES, strict=True):
        annotation.font.color = MODEL_COLOURS[model]
    largest = max(panel.node_share[1:-1].max() for panel in panels_by_model.values())
    figure.update_layout(coloraxis=colour_bar("share of<br>node score", float(largest)))
    height = int(np.clip(190 + 52 * (graph.num_layers + 2), 480, 1100))
    wide = panels((0.0, 0.43, 0.0, 1.0), (0.46, 0.89, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": height, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow_height = 2 * height - 40
    narrow = stacked(2, gap=110 / narrow_height, bottom=165 / narrow_height) | colour_bar_below()
    narrow |= {"height": narrow_height, "margin.b": 64, "yaxis2.showticklabels": True}
    size = comparison.circuit_size
    return finish(
        figure,
        "The two circuits",
        f"node score inside the top {size:,} edges; the {min(num_drawn, size):,} strongest drawn;"
        f" n = {comparison.num_examples} {comparison.unit}s, means without intervals",
        wide=wide,
        narrow=narrow,
    )


def circuit_map_table(comparison: Comparison, *, num_drawn: int = 40) -> pl.DataFrame:
    """The drawn nodes and edges: `score` is a node's share, or an edge's mean score."""
    parts = []
    for model in MODEL_NAMES:
        panel = _panel(comparison, model, num_drawn)
        edge_names = [panel.graph.edge_name(edge) for edge in panel.edges]
        parts.append(
            pl.DataFrame(
                {
                    "model": [model] * (len(panel.names) + len(edge_names)),
                    "item": ["node"] * len(panel.names) + ["edge"] * len(edge_names),
                    "name": panel.names + edge_names,
                    "score": np.concatenate([panel.node_share, panel.scores]),
                    "unit": ["share of node score"] * len(panel.names)
                    + ["mean score, metric units"] * len(edge_names),
                }
            )
        )
    return pl.concat(parts)


def _panel(comparison: Comparison, model: str, num_drawn: int) -> Panel:
    scores = {"arm": comparison.arm_scores, "mdm": comparison.mdm_scores}[model]
    size = comparison.circuit_size
    return circuit_panel(comparison.graph, scores, size, num_drawn=num_drawn)


def _edge_lines(panel: Panel) -> list[go.Scatter]:
    """One trace per sign and width, its edges separated by gaps."""
    width_class = width_classes(panel)
    traces = []
    for sign, label, colour, dash in SIGNS:
        for width in range(NUM_WIDTHS):
            lines = edge_lines(
                panel, width, (np.sign(panel.scores) == sign) & (width_class == width)
            )
            lines.line.update(color=colour, dash=dash)
            traces.append(lines.update(name=label, legendgroup=label, showlegend=False))
    return traces
