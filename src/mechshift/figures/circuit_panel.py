"""One circuit on a layer-by-head map: what is drawn of it, and the traces that all maps share."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from mechshift.comparison import node_names, node_scores, top_edges
from mechshift.figures.circuit_layout import edge_paths, mlp_column, node_positions
from mechshift.page.theme import NEUTRAL_COLOUR, thinned
from mechshift.graph import Graph

NUM_WIDTHS = 4
"""Line widths that |score| is sorted into; one trace each, since a trace has one width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """What a map shows of one model."""

    graph: Graph
    names: list[str]
    node_share: Float[np.ndarray, " node"]
    """Node score over the sum of all heads' and MLPs' scores."""

    edges: Int[np.ndarray, " drawn"]
    scores: Float[np.ndarray, " drawn"]


def circuit_panel(
    graph: Graph, scores: Float[np.ndarray, " edge"], circuit_size: int, *, num_drawn: int
) -> Panel:
    """The circuit of the top `circuit_size` edges, of which `num_drawn` are lines.

    Args:
        graph: of the scores.
        scores: mean score of each edge [metric units].
        circuit_size: edges in the circuit, which nodes are sized by.
        num_drawn: the strongest edges.
    """
    circuit = top_edges(graph, scores, circuit_size)
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


def edge_lines(panel: Panel, width: int, chosen: Bool[np.ndarray, " drawn"]) -> go.Scatter:
    """Some of the drawn edges as one trace of the widths 0 to `NUM_WIDTHS` - 1, gaps between."""
    paths = edge_paths(panel.graph, panel.edges[chosen])
    gap = np.full((len(paths.x), 1), np.nan)
    return go.Scatter(
        x=np.hstack([paths.x, gap]).ravel(),
        y=np.hstack([paths.y, gap]).ravel(),
        mode="lines",
        line={"width": 0.8 + 1.1 * width},
        opacity=0.35 + 0.15 * width,
        hoverinfo="skip",
    )


def width_classes(panel: Panel) -> Int[np.ndarray, " drawn"]:
    """Which of the widths each drawn edge has, by its |score| next to the strongest."""
    strength = np.abs(panel.scores) / np.abs(panel.scores).max()
    return np.minimum((np.sqrt(strength) * NUM_WIDTHS).astype(int), NUM_WIDTHS - 1)


def edge_hover(panel: Panel) -> go.Scatter:
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


def node_traces(panel: Panel, model_name: str) -> list[go.Scatter]:
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


def map_axes(figure: go.Figure, graph: Graph) -> None:
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
