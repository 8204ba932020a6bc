"""The map of both circuits: a node tells its name, and the table holds what is drawn."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import Comparison, node_names, node_scores, top_edges
from mechshift.page.theme import NEGATIVE_COLOUR, PAIR_COLOUR
from mechshift.topics.circuits import CIRCUITS, circuit_map, circuit_map_table
from mechshift.topics.topic import TaskResults

NUM_DRAWN = 12


@pytest.fixture(scope="module")
def figure(comparison: Comparison) -> go.Figure:
    return circuit_map(comparison, num_drawn=NUM_DRAWN).to_plotly()


def strongest(comparison: Comparison, scores: np.ndarray) -> list[int]:
    return top_edges(comparison.graph, scores, NUM_DRAWN).tolist()


def traces(figure: go.Figure, column: int, name: str) -> list[go.Scatter]:
    axis = "x" if column == 1 else f"x{column}"
    return [trace for trace in figure.data if trace.xaxis == axis and name in trace.name]


def test_hovering_an_edge_tells_its_name_and_score(
    figure: go.Figure, comparison: Comparison
) -> None:
    for column, scores in ((1, comparison.arm_scores), (2, comparison.mdm_scores)):
        (hover,) = traces(figure, column, "edges")
        edges = strongest(comparison, scores)[::-1]
        assert list(hover.text) == [comparison.graph.edge_name(edge) for edge in edges]
        np.testing.assert_array_equal(hover.customdata, scores[edges])
        assert "%{text}" in hover.hovertemplate and "%{customdata" in hover.hovertemplate


def test_each_drawn_edge_is_one_line_in_the_colour_of_its_sign(
    figure: go.Figure, comparison: Comparison
) -> None:
    for column, scores in ((1, comparison.arm_scores), (2, comparison.mdm_scores)):
        drawn = scores[strongest(comparison, scores)]
        for name, colour, expected in (
            ("positive", PAIR_COLOUR, int((drawn > 0).sum())),
            ("negative", NEGATIVE_COLOUR, int((drawn < 0).sum())),
        ):
            lines = traces(figure, column, name)
            assert {line.line.color for line in lines} == {colour}
            gaps = sum(int(np.isnan(np.array(line.x, dtype=float)).sum()) for line in lines)
            assert gaps == expected > 0


def test_stronger_edges_are_wider(figure: go.Figure) -> None:
    widths = [trace.line.width for trace in traces(figure, 1, "positive")]
    assert widths == sorted(set(widths))


@pytest.mark.parametrize("strength_of_negatives", [1, 0.2])
def test_the_legend_names_each_sign_once_also_where_its_edges_are_weak(
    comparison: Comparison, strength_of_negatives: float
) -> None:
    weighed = {
        name: np.where(scores < 0, strength_of_negatives * scores, scores)
        for name in ("arm_scores", "mdm_scores")
        for scores in [getattr(comparison, name)]
    }
    figure = circuit_map(
        replace(comparison, **weighed), num_drawn=comparison.circuit_size
    ).to_plotly()
    shown = [trace for trace in figure.data if trace.showlegend]
    assert {trace.name for trace in shown} == {
        "positive: corrupting the edge hurts",
        "negative: corrupting it helps",
    }
    assert len(shown) == 2 and all(len(trace.x) for trace in shown)


def test_hovering_a_node_tells_its_name_and_share(
    figure: go.Figure, comparison: Comparison
) -> None:
    graph = comparison.graph
    inside = np.zeros((1, graph.num_edges))
    circuit = top_edges(graph, comparison.arm_scores, comparison.circuit_size)
    inside[0, circuit] = np.abs(comparison.arm_scores[circuit])
    components = node_scores(graph, inside)[0, 1:-1]

    (nodes,) = traces(figure, 1, "heads and MLPs")
    assert list(nodes.text) == node_names(graph)[1:-1]
    np.testing.assert_allclose(nodes.customdata, components / components.sum())
    np.testing.assert_array_equal(nodes.customdata, nodes.marker.color)
    order = np.argsort(nodes.customdata)
    assert (np.diff(np.array(nodes.marker.size)[order]) >= 0).all()
    (ends,) = traces(figure, 1, "input and logits")
    assert list(ends.text) == ["input", "logits"]


def test_the_colour_scale_of_both_models_starts_at_zero_and_holds_every_node(
    figure: go.Figure,
) -> None:
    shares = np.concatenate([t.customdata for c in (1, 2) for t in traces(figure, c, "MLPs")])
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (0, shares.max())


def test_the_table_holds_what_the_figure_shows(figure: go.Figure, comparison: Comparison) -> None:
    table = circuit_map_table(comparison, num_drawn=NUM_DRAWN)
    for column, model in ((1, "arm"), (2, "mdm")):
        (hover,) = traces(figure, column, "edges")
        edges = table.filter((pl.col("model") == model) & (pl.col("item") == "edge"))
        assert edges["name"].to_list() == list(hover.text)
        np.testing.assert_array_equal(edges["score"], hover.customdata)
        (nodes,) = traces(figure, column, "heads and MLPs")
        rows = table.filter((pl.col("model") == model) & (pl.col("item") == "node"))
        assert rows["name"].to_list()[1:-1] == list(nodes.text)
        np.testing.assert_array_equal(rows["score"][1:-1], nodes.customdata)


def test_the_map_of_a_task_is_that_of_its_comparison(ioi: TaskResults) -> None:
    (shown,) = CIRCUITS.exhibits(ioi)
    assert shown.name == "circuit-map"
    assert shown.table.equals(circuit_map_table(ioi.comparison))
    assert (
        f"top {ioi.comparison.circuit_size:,} edges"
        in shown.figure.to_plotly().layout.title.subtitle.text
    )
