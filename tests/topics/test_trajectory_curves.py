from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.statistics import Estimate, Interval
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.topic import Measured, Quantity
from mechshift.topics.trajectory_curves import StepAxis, trajectory_figure, trajectory_table

TRACKED = tracked_quantities()

STEPS = (0, 32, 64, 1000)


@pytest.fixture(scope="module")
def tasks(make_trajectory):
    return make_trajectory("ioi"), make_trajectory("infilling & more")


@pytest.fixture(scope="module")
def curves(tasks) -> go.Figure:
    return trajectory_figure(tasks, TRACKED).to_plotly()


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
                # For all points at once: without draws, by Bonferroni's inequality.
                expected = [one and one.at_level(1 - 0.05 / len(points)) for one in expected]
                for shown, low, one in zip(line.y, line.customdata[:, 1], expected, strict=True):
                    if one is None:
                        assert np.isnan([shown, low]).all()
                    else:
                        assert (shown, low) == pytest.approx((one.value, one.interval.low))
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
    assert wide["annotations[0].text"] == "<b>noise-free overlap</b>"
    assert narrow["annotations[0].text"] == "<b>noise-free overlap</b><br>ioi"
    assert wide["annotations[1].text"] == ""
    assert narrow["annotations[1].text"] == "infilling &amp; more"


def test_three_tasks_lie_in_one_row_on_a_wide_page_and_in_two_on_a_phone(make_trajectory):
    meta = (
        trajectory_figure([make_trajectory(task) for task in ("a", "b", "c")], TRACKED)
        .to_plotly()
        .layout.meta
    )
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
    table = trajectory_table(tasks, TRACKED)
    assert table.height == 2 * 7 * len(TRACKED)
    (row,) = table.filter(table["value"].is_null() & (table["task"] == "ioi")).to_dicts()
    assert (row["training"], row["step"], row["quantity"]) == ("diffusion", 32, "own circuit")
    assert row["reason"] == "full and empty score alike <b>here</b>"


def test_a_new_quantity_becomes_a_panel_and_rows_by_itself(tasks):
    new = Quantity(
        name="stability", unit="of edges", neutral=None, meaning="", measure=lambda _: one
    )
    one = Measured(estimate=Estimate(value=0.5, interval=Interval(low=0.4, high=0.6, level=0.95)))
    longer = [
        replace(
            task,
            points=tuple(
                replace(point, measured={**point.measured, new.name: one}) for point in task.points
            ),
        )
        for task in tasks
    ]
    figure = trajectory_figure(longer, [*TRACKED, new]).to_plotly()
    assert "<b>stability</b>" in [note.text for note in figure.layout.annotations]
    (line, *_) = (t for t in panel_traces(figure, len(TRACKED), 0) if t.customdata is not None)
    assert list(line.y) == [0.5] * 4
    table = trajectory_table(longer, [*TRACKED, new])
    rows = table.filter(table["quantity"] == "stability")
    assert rows.height == 2 * 7 and set(rows["unit"]) == {"of edges"}


def test_faithfulness_far_beyond_what_is_sound_is_cut_off_and_other_numbers_are_not(tasks):
    wide = Measured(
        estimate=Estimate(value=0.0, interval=Interval(low=-40.0, high=40.0, level=0.95))
    )
    task = tasks[0]
    measured = dict.fromkeys((one.name for one in TRACKED), wide)
    points = tuple(replace(point, measured=measured) for point in task.points)
    layout = trajectory_figure([replace(task, points=points)], TRACKED).to_plotly().layout
    far = wide.estimate.at_level(1 - 0.05 / 4).interval.high  # of four points at once, or of three
    for index, quantity in enumerate(TRACKED, start=1):
        low, high = layout["yaxis" if index == 1 else f"yaxis{index}"].range
        cut = quantity.unit == "faithfulness"
        margin = 0.08 * (2.0 if cut else 2 * far)
        assert (low, high) == pytest.approx(
            (-0.5 - margin, 1.5 + margin) if cut else (-far - margin, far + margin)
        )
    assert sum(one.unit == "faithfulness" for one in TRACKED) == 3
