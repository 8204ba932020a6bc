"""Where on a circuit map does each node stand, and how does an edge run?

Columns are heads 0 to H-1 and then the MLP; rows are layers, `input` below and `logits` above.
An MLP stands a little above its layer's heads, because it reads them. An edge ends left, at the
middle or right of a head according to whether it feeds its query, key or value.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph

MLP_RAISE = 0.45
"""How far an MLP stands above its layer's heads [rows]."""

KIND_OFFSET = {QUERY: -0.13, KEY: 0.0, VALUE: 0.13}
"""Where an edge meets a head, from its middle [columns]."""

POINTS_PER_EDGE = 12


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
