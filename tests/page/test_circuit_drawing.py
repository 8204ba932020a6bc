import numpy as np
import pytest

from mechshift.graph import Graph
from mechshift.page.circuit_drawing import (
    NUM_WIDTHS,
    circuit_panel,
    edge_lines,
    edge_paths,
    node_positions,
    width_classes,
)

ONE_HEAD = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)


@pytest.fixture
def panel():
    """Three edges of a circuit of four: input->m0, m0->logits and a0.h0->logits are drawn."""
    scores = np.zeros(ONE_HEAD.num_edges)
    for edge, score in (
        ("input->m0", 16.0),
        ("m0->logits", -4.0),
        ("a0.h0->logits", 1.0),
        ("input->a0.h0<q>", 0.5),
        ("input->logits", 0.25),
    ):
        scores[ONE_HEAD.edge_index(edge)] = score
    return circuit_panel(ONE_HEAD, scores, 4, num_drawn=3)


def test_layers_rise_and_every_node_has_a_place_of_its_own() -> None:
    graph = Graph(num_layers=4, num_heads=3, num_key_value_groups=3)
    positions = node_positions(graph)
    places = set(zip(positions.x.tolist(), positions.y.tolist(), strict=True))
    assert len(places) == graph.num_sources + 1
    assert positions.y[0] == positions.y.min()
    assert positions.y[-1] == positions.y.max()
    np.testing.assert_array_equal(np.floor(positions.y[1:-1]), graph.source_layer[1:])


def test_an_edge_runs_from_its_source_upwards_to_its_destination() -> None:
    graph = Graph(num_layers=3, num_heads=4, num_key_value_groups=2)
    edges = np.arange(graph.num_edges)
    paths, positions = edge_paths(graph, edges), node_positions(graph)
    source = graph.edge_source[edges]
    np.testing.assert_allclose(paths.x[:, 0], positions.x[source])
    np.testing.assert_allclose(paths.y[:, 0], positions.y[source])
    assert (paths.y[:, -1] > paths.y[:, 0]).all()

    def end(name: str) -> float:
        return float(paths.x[graph.edge_index(name), -1])

    assert end("input->a1.h2<q>") < 2 and abs(end("input->a1.h2<q>") - 2) < 0.5
    assert end("input->a1.h1<k>") == 2.5  # the second of two groups: between heads 2 and 3
    assert end("input->a1.h1<v>") > 2.5


def test_the_strongest_edges_are_drawn_and_the_strongest_of_all_last(panel) -> None:
    names = [ONE_HEAD.edge_name(edge) for edge in panel.edges]
    assert names == ["a0.h0->logits", "m0->logits", "input->m0"]
    assert panel.scores.tolist() == [1.0, -4.0, 16.0]


def test_a_nodes_share_counts_the_edges_of_the_circuit_alone(panel) -> None:
    assert panel.names == ["input", "a0.h0", "m0", "logits"]
    # What each reads and writes: the head 0.5 + 1, the MLP 16 + 4; together 21.5.
    expected = np.array([16 + 0.5, 0.5 + 1, 16 + 4, 4 + 1]) / 21.5
    np.testing.assert_allclose(panel.node_share, expected)


def test_line_widths_grow_with_the_root_of_the_score(panel) -> None:
    # |score| of 1, 4 and 16 sixteenths of the strongest: roots of a quarter, a half and one.
    assert NUM_WIDTHS == 4
    assert width_classes(panel).tolist() == [1, 2, 3]


def test_edges_of_one_width_are_one_trace_with_a_gap_after_each(panel) -> None:
    trace = edge_lines(
        panel, 1, np.array([True, False, True]), name="kept", line={"color": "#102030"}
    )
    assert trace["line"] == {"color": "#102030", "width": 0.8 + 1.1}
    gaps = np.isnan(trace["x"])
    assert gaps.sum() == 2 and gaps[-1]
    np.testing.assert_array_equal(gaps, np.isnan(trace["y"]))
