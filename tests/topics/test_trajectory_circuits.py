import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.comparison import top_edges
from mechshift.page.circuit_drawing import edge_paths
from mechshift.page.theme import NEGATIVE_COLOUR, PAIR_COLOUR
from mechshift.topics.trajectory_circuits import (
    KEPT,
    NEW,
    circuit_scrubber,
    circuit_scrubber_table,
    depth_over_training,
    depth_over_training_table,
)

STEPS = (0, 32, 64, 1000)


@pytest.fixture(scope="module")
def tasks(make_trajectory):
    return make_trajectory("ioi"), make_trajectory("infilling & more")


def test_depth_is_a_column_for_each_checkpoint(tasks):
    figure = depth_over_training(tasks[0]).to_plotly()
    diffusion, control = figure.data
    assert list(diffusion.x) == ["0", "32", "64", "1000"] and list(control.x) == ["0", "32", "500"]
    assert list(diffusion.y) == ["input", "0", "1", "2"]
    for column, one in enumerate(tasks[0].of("diffusion")):
        np.testing.assert_array_equal(np.array(diffusion.z)[:, column], one.share.value)
    table = depth_over_training_table(tasks[0])
    assert table.height == 7 * 4
    assert table.filter(table["training"] == "control")["step"].unique().to_list() == [0, 32, 500]


@pytest.fixture(scope="module")
def scrubber(tasks) -> go.Figure:
    return circuit_scrubber(tasks[0], "diffusion", num_drawn=12).to_plotly()


def test_the_slider_has_a_frame_for_each_checkpoint(scrubber):
    names = [frame.name for frame in scrubber.frames]
    assert names == [str(step) for step in STEPS]
    (slider,) = scrubber.layout.sliders
    assert [step.args[0][0] for step in slider.steps] == names
    assert [step.label for step in slider.steps] == ["0", "32", "64", "1,000"]


def test_every_frame_replaces_every_trace_and_the_first_is_shown_at_the_start(scrubber):
    assert {len(frame.data) for frame in scrubber.frames} == {len(scrubber.data)}
    for shown, first in zip(scrubber.data, scrubber.frames[0].data, strict=True):
        assert shown.name == first.name
        np.testing.assert_array_equal(shown.x, first.x)


def starts(traces, colour):
    """Where the drawn edges of a colour begin: after each gap."""
    points = []
    for trace in traces:
        if trace.line.color == colour and trace.showlegend is False:
            xy = np.stack([trace.x, trace.y], axis=-1).reshape(-1, 14, 2)
            points += [tuple(path[0]) for path in xy]
    return sorted(points)


def test_edges_of_the_parents_circuit_and_new_ones_differ_in_colour(scrubber, tasks):
    task = tasks[0]
    graph = task.graph
    parent = top_edges(graph, task.parent_scores, 20)
    for frame, one in zip(scrubber.frames, task.of("diffusion"), strict=True):
        drawn = top_edges(graph, one.scores, 20)[:12]
        for colour, chosen in (
            (PAIR_COLOUR, drawn[np.isin(drawn, parent)]),
            (NEGATIVE_COLOUR, drawn[~np.isin(drawn, parent)]),
        ):
            paths = edge_paths(graph, chosen)
            expected = sorted(zip(paths.x[:, 0].round(3), paths.y[:, 0].round(3), strict=True))
            assert starts(frame.data, colour) == expected


def test_the_table_of_circuits_says_which_edges_are_new(tasks):
    table = circuit_scrubber_table(tasks[0], "control", num_drawn=12)
    assert table["step"].unique(maintain_order=True).to_list() == [0, 32, 500]
    graph = tasks[0].graph
    parent = {graph.edge_name(edge) for edge in top_edges(graph, tasks[0].parent_scores, 20)}
    for row in table.iter_rows(named=True):
        assert row["origin"] == (KEPT if row["edge"] in parent else NEW)
