"""Figure: the two models' circuits side by side, as layer-by-head maps with their edges."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float, Int
from plotly.subplots import make_subplots

from mechshift.comparison import Comparison, node_names, node_scores, top_edges
from mechshift.figures.circuit_layout import edge_paths, mlp_column, node_positions
from mechshift.figures.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEGATIVE_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    stacked,
    thinned,
)
from mechshift.graph import Graph

NUM_WIDTHS = 4
"""Line widths that |score| is sorted into; one trace each, since a trace has one width."""

SIGNS = (
    (1, "positive: corrupting the edge hurts", PAIR_COLOUR, "solid"),
    (-1, "negative: corrupting it helps", NEGATIVE_COLOUR, "dot"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """What one model's half of the figure shows."""

    graph: Graph
    names: list[str]
    node_share: Float[np.ndarray, " node"]
    """Node score over the sum of all heads' and MLPs' scores."""

    edges: Int[np.ndarray, " drawn"]
    scores: Float[np.ndarray, " drawn"]


def circuit_map(comparison: Comparison, *, num_drawn: int = 40) -> go.Figure:
    """Two maps, ARM and MDM: nodes sized by score, the strongest `num_drawn` edges as lines."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=list(MODEL_NAMES.values()))
    graph = comparison.graph
    panels_by_model = {model: _panel(comparison, model, num_drawn) for model in MODEL_NAMES}
    for column, (model, panel) in enumerate(panels_by_model.items(), start=1):
        place = {"row": 1, "col": column}
        for trace in _edge_lines(panel, show_legend=column == 1):
            figure.add_trace(trace, **place)
        figure.add_trace(_edge_hover(panel), **place)
        for trace in _nodes(panel, MODEL_NAMES[model]):
            figure.add_trace(trace, **place)
    _axes(figure, graph)
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
    graph = comparison.graph
    circuit = top_edges(graph, scores, comparison.circuit_size)
    inside = np.zeros((1, graph.num_edges))
    inside[0, circuit] = np.abs(scores[circuit])
    nodes = node_scores(graph, inside)[0]
    components = nodes[1:-1].sum()
    # The strongest last, so that they lie on top.
    drawn = circuit[:num_drawn][::-1]
    return Panel(
        graph=graph,
        names=node_names(graph),
        node_share=nodes / components if components > 0 else nodes,
        edges=drawn,
        scores=scores[drawn],
    )


def _edge_lines(panel: Panel, *, show_legend: bool) -> list[go.Scatter]:
    """One trace per sign and width, its edges separated by gaps."""
    strength = np.abs(panel.scores) / np.abs(panel.scores).max()
    width_class = np.minimum((np.sqrt(strength) * NUM_WIDTHS).astype(int), NUM_WIDTHS - 1)
    traces = []
    for sign, label, colour, dash in SIGNS:
        for width in range(NUM_WIDTHS):
            chosen = (np.sign(panel.scores) == sign) & (width_class == width)
            paths = edge_paths(panel.graph, panel.edges[chosen])
            gap = np.full((len(paths.x), 1), np.nan)
            traces.append(
                go.Scatter(
                    x=np.hstack([paths.x, gap]).ravel(),
                    y=np.hstack([paths.y, gap]).ravel(),
                    mode="lines",
                    line={"color": colour, "width": 0.8 + 1.1 * width, "dash": dash},
                    opacity=0.35 + 0.15 * width,
                    hoverinfo="skip",
                    name=label,
                    legendgroup=label,
                    showlegend=show_legend and width == NUM_WIDTHS - 1,
                )
            )
    return traces


def _edge_hover(panel: Panel) -> go.Scatter:
    """Invisible points half-way along the drawn edges, which tell name and score."""
    middle = edge_paths(panel.graph, panel.edges).middle
    return go.Scatter(
        x=middle.x,
        y=middle.y,
        mode="markers",
        marker={"size": 12, "color": "rgba(0,0,0,0)"},
        text=[panel.graph.edge_name(edge) for edge in panel.edges],
        customdata=panel.scores,
        hovertemplate="%{text}<br>score %{customdata:.4g}<extra></extra>",
        showlegend=False,
        name="edges",
    )


def _nodes(panel: Panel, model_name: str) -> list[go.Scatter]:
    """Heads and MLPs sized and coloured by share; `input` and `logits` as plain bars."""
    positions = node_positions(panel.graph)
    largest = float(np.clip(300 / (panel.graph.num_heads + 1), 10, 30))
    shares = panel.node_share[1:-1]
    scale = np.sqrt(shares / shares.max()) if shares.max() > 0 else shares
    components = go.Scatter(
        x=positions.x[1:-1],
        y=positions.y[1:-1],
        mode="markers",
        marker={
            "size": 5 + (largest - 5) * scale,
            "color": shares,
            "coloraxis": "coloraxis",
            "line": {"width": 1, "color": NEUTRAL_COLOUR},
            "opacity": 1,
        },
        text=panel.names[1:-1],
        customdata=shares,
        hovertemplate="%{text}<br>%{customdata:.2%} of node score<extra></extra>",
        showlegend=False,
        name=f"{model_name} heads and MLPs",
    )
    ends = go.Scatter(
        x=positions.x[[0, -1]],
        y=positions.y[[0, -1]],
        mode="markers",
        marker={"size": 16, "symbol": "square", "color": NEUTRAL_COLOUR},
        text=[panel.names[0], panel.names[-1]],
        customdata=panel.node_share[[0, -1]],
        hovertemplate="%{text}<br>%{customdata:.2f} × all heads and MLPs<extra></extra>",
        showlegend=False,
        name=f"{model_name} input and logits",
    )
    return [components, ends]


def _axes(figure: go.Figure, graph: Graph) -> None:
    """Heads and MLP along x, layers along y; every tick is thinned in a large model."""
    heads, layers = thinned(graph.num_heads, 10), thinned(graph.num_layers, 16)
    figure.update_xaxes(
        tickvals=[*heads, mlp_column(graph)],
        ticktext=[*map(str, heads), "MLP"],
        range=[-0.7, mlp_column(graph) + 0.7],
        showgrid=False,
        title_text="attention head",
    )
    figure.update_yaxes(
        tickvals=[-1, *layers, graph.num_layers],
        ticktext=["input", *map(str, layers), "logits"],
        range=[-1.6, graph.num_layers + 0.6],
        showgrid=False,
    )
    figure.update_yaxes(title_text="layer", col=1)
