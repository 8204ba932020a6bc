"""The two circuits, drawn side by side: which heads and MLPs, and which edges between them.

For readers who look before they read. Layers rise from the embedding to the logits.
"""

import numpy as np
import polars as pl

from mechshift.comparison import Comparison
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
from mechshift.page.elements import Definition, Exhibit
from mechshift.page.figure import Figure, Trace
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
from mechshift.topics.topic import TaskResults, Topic

SIGNS = (
    (1, "positive: corrupting the edge hurts", PAIR_COLOUR, "solid"),
    (-1, "negative: corrupting it helps", NEGATIVE_COLOUR, "dot"),
)


def circuit_map(comparison: Comparison, *, num_drawn: int = 40) -> Figure:
    """Two maps, ARM and MDM: nodes sized by score, the strongest `num_drawn` edges as lines."""
    figure = Figure(list(MODEL_NAMES.values()), columns=2)
    graph = comparison.graph
    panels_by_model = {model: _panel(comparison, model, num_drawn) for model in MODEL_NAMES}
    for column, (model, panel) in enumerate(panels_by_model.items(), start=1):
        for trace in _edge_lines(panel):
            figure.add(trace, column=column)
        figure.add(edge_hover(panel), column=column)
        for trace in node_traces(panel, MODEL_NAMES[model]):
            figure.add(trace, column=column)
    for _, label, *_ in SIGNS:
        # A sign may lack the widest lines, and Plotly leaves empty traces out of the legend.
        drawn = [trace for trace in figure.data if trace["name"] == label and len(trace["x"])]
        if drawn:
            max(drawn, key=lambda trace: trace["line"]["width"])["showlegend"] = True
    map_axes(figure, graph)
    figure.colour_titles(MODEL_COLOURS.values())
    largest = max(panel.node_share[1:-1].max() for panel in panels_by_model.values())
    figure.set_layout(coloraxis=colour_bar("share of<br>node score", float(largest)))
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


def _edge_lines(panel: Panel) -> list[Trace]:
    """One trace per sign and width, its edges separated by gaps."""
    width_class = width_classes(panel)
    traces = []
    for sign, label, colour, dash in SIGNS:
        for width in range(NUM_WIDTHS):
            chosen = (np.sign(panel.scores) == sign) & (width_class == width)
            traces.append(
                edge_lines(panel, width, chosen, name=label, line={"color": colour, "dash": dash})
            )
    return traces


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    comparison = task.comparison
    return (
        Exhibit(
            name="circuit-map",
            figure=circuit_map(comparison),
            table=circuit_map_table(comparison),
            reading="Each dot is an attention head or, in the last column, an MLP; layers rise"
            " from the embedding to the logits. Larger and brighter: more of the circuit's score"
            " runs through it. An edge enters a head left, at the middle or right: query, key or"
            " value. Hover or tap for names.",
        ),
    )


CIRCUITS: Topic[None] = Topic(
    name="circuits",
    title="Circuits",
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Node, edge, circuit",
            meaning="A node is an attention head or an MLP. An edge is what one node passes to a"
            " later one (to a head's query, key or value). A circuit is the set of edges that"
            " matter most for a task.",
        ),
    ),
    method=lambda _: (
        Definition(
            term="Circuit",
            meaning="The K edges of largest |mean score|; ties go to the lower edge index. K is"
            " 1,000 or a tenth of all edges, whichever is less, unless the configuration gives a"
            " circuit_size. Overlaps do not count edges whose score is exactly zero.",
        ),
    ),
)
