"""The drawing of a circuit as a map of layers and heads: places, curves and traces.

For every figure that shows a circuit; what it shows beside, it adds itself.

Columns are heads 0 to H-1 and then the MLP; rows are layers, `input` below and `logits` above.
An MLP stands a little above its layer's heads, because it reads them. An edge ends left, at the
middle or right of a head according to whether it feeds its query, key or value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison import node_names, node_scores, top_edges
from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import NEUTRAL_COLOUR, thinned

MLP_RAISE = 0.45
"""Height of an MLP above its layer's heads [rows]."""

KIND_OFFSET = {QUERY: -0.13, KEY: 0.0, VALUE: 0.13}
"""Distance from a head's middle at which an edge meets it [columns]."""

POINTS_PER_EDGE = 12

NUM_WIDTHS = 4
"""Line widths that |score| is sorted into; one trace each, since a trace has one width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Coordinates on the map: x in columns, y in rows."""

    x: Float[np.ndarray, " node"]
    y: Float[np.ndarray, " node"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgePaths:
    """Curves of edges; the middle point carries the hover text."""

    x: Float[np.ndarray, "edge point"]
    y: Float[np.ndarray, "edge point"]

    @property
    def middle(self) -> Positions:
        half = self.x.shape[1] // 2
        return Positions(x=self.x[:, half], y=self.y[:, half])


def node_positions(graph: Graph) -> Positions:
    """Every node's place, in node order (`mechshift.comparison.node_names`)."""
    is_mlp = (graph.source_head < 0) & (graph.source_layer >= 0)
    x = np.where(is_mlp, float(mlp_column(graph)), graph.source_head)
    y = graph.source_layer + np.where(is_mlp, MLP_RAISE, 0.0)
    x[0] = centre_column(graph)
    return Positions(
        x=np.append(x, centre_column(graph)),
        y=np.append(y, float(graph.num_layers)),
    )


def mlp_column(graph: Graph) -> int:
    """Column of the MLPs: right of the last head."""
    return graph.num_heads


def centre_column(graph: Graph) -> float:
    """Column of `input` and `logits`."""
    return graph.num_heads / 2


def edge_paths(graph: Graph, edges: Int[np.ndarray, " edge"]) -> EdgePaths:
    """Gently bowed curves from source to destination, so that edges of one column stay apart."""
    nodes = node_positions(graph)
    source, destination = graph.edge_source[edges], graph.edge_destination[edges]
    ends = _destination_positions(graph)
    x0, y0 = nodes.x[source], nodes.y[source]
    x1, y1 = ends.x[destination], ends.y[destination]
    # The bow grows with length; without it a long vertical edge would run through other nodes.
    # Half a column at most, however deep the model is.
    bow = 0.5 * np.tanh(np.abs(y1 - y0) / 4)
    side = np.where(x0 <= centre_column(graph), 1.0, -1.0)
    middle_x, middle_y = (x0 + x1) / 2 + side * bow, (y0 + y1) / 2
    t = np.linspace(0, 1, POINTS_PER_EDGE + 1)
    start, turn, end = (1 - t) ** 2, 2 * t * (1 - t), t**2
    return EdgePaths(
        x=np.outer(x0, start) + np.outer(middle_x, turn) + np.outer(x1, end),
        y=np.outer(y0, start) + np.outer(middle_y, turn) + np.outer(y1, end),
    )


def _destination_positions(graph: Graph) -> Positions:
    """Where an edge into each destination ends; a grouped key or value amid its heads."""
    kind = graph.destination_kind
    group_size = graph.num_heads // graph.num_key_value_groups
    head = graph.destination_head.astype(np.float64)
    grouped = (kind == KEY) | (kind == VALUE)
    x = np.where(grouped, head * group_size + (group_size - 1) / 2, head)
    for member, offset in KIND_OFFSET.items():
        x = x + offset * (kind == member)
    x = np.where(kind == MLP, float(mlp_column(graph)), x)
    x = np.where(kind == LOGITS, centre_column(graph), x)
    y = graph.destination_layer + MLP_RAISE * (kind == MLP)
    return Positions(x=x, y=y.astype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Side of a map: one model."""

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


def edge_lines(
    panel: Panel,
    width: int,
    chosen: Bool[np.ndarray, " drawn"],
    *,
    name: str,
    line: Mapping[str, Any],
) -> Trace:
    """Some of the drawn edges as one trace, gaps between, under a name that the legend leaves out.

    Args:
        panel: with the edges.
        width: class, 0 to `NUM_WIDTHS` - 1.
        chosen: which of the drawn edges.
        name: of the trace and of its group in the legend.
        line: attributes of the line besides its width, or in place of it.
    """
    paths = edge_paths(panel.graph, panel.edges[chosen])
    gap = np.full((len(paths.x), 1), np.nan)
    return scatter(
        x=np.hstack([paths.x, gap]).ravel(),
        y=np.hstack([paths.y, gap]).ravel(),
        mode="lines",
        line={"width": 0.8 + 1.1 * width, **line},
        opacity=0.35 + 0.15 * width,
        hoverinfo="skip",
        name=name,
        legendgroup=name,
        showlegend=False,
    )


def width_classes(panel: Panel) -> Int[np.ndarray, " drawn"]:
    """Which of the widths each drawn edge has, by its |score| next to the strongest."""
    strength = np.abs(panel.scores) / np.abs(panel.scores).max()
    return np.minimum((np.sqrt(strength) * NUM_WIDTHS).astype(int), NUM_WIDTHS - 1)


def edge_hover(panel: Panel) -> Trace:
    """Invisible points half-way along the drawn edges, which tell name and score."""
    middle = edge_paths(panel.graph, panel.edges).middle
    return scatter(
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


def node_traces(panel: Panel, model_name: str) -> list[Trace]:
    """Heads and MLPs sized and coloured by share; `input` and `logits` as plain bars."""
    positions = node_positions(panel.graph)
    largest = float(np.clip(300 / (panel.graph.num_heads + 1), 10, 30))
    shares = panel.node_share[1:-1]
    scale = np.sqrt(shares / shares.max()) if shares.max() > 0 else shares
    components = scatter(
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
    ends = scatter(
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


def map_axes(figure: Figure, graph: Graph) -> None:
    """Heads and MLP along x, layers along y; every tick is thinned in a large model."""
    heads, layers = thinned(graph.num_heads, 10), thinned(graph.num_layers, 16)
    figure.set_xaxes(
        tickvals=[*heads, mlp_column(graph)],
        ticktext=[*map(str, heads), "MLP"],
        range=[-0.7, mlp_column(graph) + 0.7],
        showgrid=False,
        title="attention head",
    )
    figure.set_yaxes(
        tickvals=[-1, *layers, graph.num_layers],
        ticktext=["input", *map(str, layers), "logits"],
        range=[-1.6, graph.num_layers + 0.6],
        showgrid=False,
    )
    figure.set_yaxes(title="layer", column=1)
