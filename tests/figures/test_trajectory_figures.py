import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.comparison import top_edges
from mechshift.figures import (
    circuit_scrubber,
    circuit_scrubber_table,
    depth_over_training,
    depth_over_training_table,
    trajectory_curves,
    trajectory_table,
)
from mechshift.figures.circuit_layout import edge_paths
from mechshift.figures.circuit_scrubber import KEPT, NEW
from mechshift.figures.theme import ARM_COLOUR, MDM_COLOUR, NEGATIVE_COLOUR, PAIR_COLOUR
from mechshift.figures.training_steps import StepAxis
from mechshift.verdict import TRACKED

STEPS = (0, 32, 64, 1000)


@pytest.fixture(scope="module")
def tasks(make_trajectory):
    return make_trajectory("ioi"), make_trajectory("infilling & more")


@pytest.fixture(scope="module")
def curves(tasks) -> go.Figure:
    return trajectory_curves(tasks)


def panel_traces(figure, row, column, num_columns=2):
    index = (row * num_columns) + column + 1
    axis = "x" if index == 1 else f"x{index}"
    return [trace for trace in figure.data if trace.xaxis == axis]


def test_steps_stand_by_their_logarithm_and_zero_left_of_all():
    axis = StepAxis.over([1000, 0, 10, 100])
    assert axis.steps == (0, 10, 100, 1000)
    assert [axis.place(step) for step in axis.steps] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    layout = axis.layout()
    assert layout["ticktext"] == ["0", "10", "100", "1k"]
    assert layout["tickvals"] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert layout["range"][0] < 0.0 and layout["range"][1] > 3.0


def test_one_step_beside_the_parent_has_an_axis_too():
    axis = StepAxis.over([0, 2200])
    assert axis.place(0) < axis.place(2200)
    assert axis.layout()["ticktext"] == ["0", "2200"]


def test_there_is_a_panel_for_each_quantity_and_task(curves, tasks):
    panels = {trace.xaxis for trace in curves.data}
    assert len(panels) == len(TRACKED) * len(tasks)
    titles = [note.text for note in curves.layout.annotations]
    for tracked in TRACKED:
        assert f"<b>{tracked.name}</b>" in titles
    assert titles[-2:] == ["<b>ioi</b>", "<b>infilling &amp; more</b>"]


def test_each_training_is_a_line_of_its_colour_with_its_band(curves, tasks):
    axis = StepAxis.over(STEPS + (500,))
    for column, task in enumerate(tasks):
        for row, tracked in enumerate(TRACKED):
            traces = panel_traces(curves, row, column)
            for training, colour in (("diffusion", MDM_COLOUR), ("control", ARM_COLOUR)):
                (line,) = (t for t in traces if t.line.color == colour and t.customdata is not None)
                points = task.of(training)
                np.testing.assert_allclose(line.x, [axis.place(one.step) for one in points])
                expected = [one.measured[tracked.name].estimate for one in points]
                for shown, low, one in zip(line.y, line.customdata[:, 1], expected, strict=True):
                    if one is None:
                        assert np.isnan([shown, low]).all()
                    else:
                        assert (shown, low) == (one.value, one.interval.low)
                bands = [t for t in traces if t.fill == "toself" and t.name.startswith(line.name)]
                assert len(bands) == 1


def test_an_undefined_number_is_a_cross_that_tells_its_reason(curves):
    row = [tracked.name for tracked in TRACKED].index("own circuit")
    (cross,) = (t for t in panel_traces(curves, row, 0) if t.marker.symbol == "x-thin")
    assert list(cross.customdata) == [32]
    assert "score alike &lt;b&gt;here" in cross.text[0].replace("<br>", " ")
    others = [t for t in panel_traces(curves, row - 1, 0) if t.marker.symbol == "x-thin"]
    assert others == []


def test_the_legend_names_each_training_once(curves):
    shown = [trace.name for trace in curves.data if trace.showlegend]
    assert shown == ["diffusion", "control: the ARM's own objective"]


def test_a_column_is_named_after_its_task_on_a_wide_page_and_a_panel_on_a_phone(curves):
    wide, narrow = curves.layout.meta["wide"], curves.layout.meta["narrow"]
    header = f"annotations[{2 * len(TRACKED)}].text"
    assert (wide[header], narrow[header]) == ("<b>ioi</b>", "")
    assert wide["annotations[0].text"] == "<b>overlap ratio</b>"
    assert narrow["annotations[0].text"] == "<b>overlap ratio</b><br>ioi"
    assert wide["annotations[1].text"] == ""
    assert narrow["annotations[1].text"] == "infilling &amp; more"


def test_three_tasks_lie_in_one_row_on_a_wide_page_and_in_two_on_a_phone(make_trajectory):
    meta = trajectory_curves([make_trajectory(task) for task in ("a", "b", "c")]).layout.meta
    domains = {
        name: [meta[name][f"yaxis{index}.domain"][0] for index in ("", 2, 3, 4)]
        for name in ("wide", "narrow")
    }
    first, second, third, next_number = domains["wide"]
    assert first == second == third > next_number
    first, second, third, next_number = domains["narrow"]
    assert first == second > third > next_number
    assert meta["narrow"]["yaxis2.showticklabels"] is False
    assert meta["narrow"]["yaxis3.showticklabels"] is True


def test_the_table_holds_every_number_and_every_reason(tasks):
    table = trajectory_table(tasks)
    assert table.height == 2 * 7 * len(TRACKED)
    (row,) = table.filter(table["value"].is_null() & (table["task"] == "ioi")).to_dicts()
    assert (row["training"], row["step"], row["quantity"]) == ("diffusion", 32, "own circuit")
    assert row["reason"] == "full and empty score alike <b>here</b>"


def test_depth_is_a_column_for_each_checkpoint(tasks):
    figure = depth_over_training(tasks[0])
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
    return circuit_scrubber(tasks[0], "diffusion", num_drawn=12)


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
