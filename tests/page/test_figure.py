"""Figures as plain data: what plotly's own objects would hold, and what its schema lets through."""

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from mechshift.page.figure import Figure, Trace, bars, box, default_look, heat_map, scatter, to_json

TITLES = ("one", "two", "three", "four")
LINE = {"width": 1, "dash": "dot"}


@pytest.fixture
def figure() -> Figure:
    return Figure(TITLES, columns=2, shared_yaxes=True)


@pytest.fixture
def theirs() -> go.Figure:
    """The same panels by plotly."""
    return make_subplots(rows=2, cols=2, subplot_titles=TITLES, shared_yaxes=True)


def layout(figure: go.Figure) -> dict[str, Any]:
    """Without the look and without the places, which are up to the theme."""
    found = json.loads(figure.to_json())["layout"]
    found.pop("template", None)
    for name, value in found.items():
        if name.startswith(("xaxis", "yaxis")):
            value.pop("domain", None)
    for annotation in found["annotations"]:
        for name in ("x", "y", "xanchor", "yanchor", "font"):
            annotation.pop(name, None)
    return found


def test_panels_are_those_of_plotly(figure: Figure, theirs: go.Figure) -> None:
    assert layout(figure.to_plotly()) == layout(theirs)


def test_traces_and_lines_stand_in_the_panels_that_plotly_puts_them_into(
    figure: Figure, theirs: go.Figure
) -> None:
    for row, column in ((1, 1), (2, 2)):
        figure.add(scatter(x=[1, 2], y=[3, 4]), bars(x=[1], y=[2]), row=row, column=column)
        theirs.add_trace(go.Scatter(x=[1, 2], y=[3, 4]), row=row, col=column)
        theirs.add_trace(go.Bar(x=[1], y=[2]), row=row, col=column)
    figure.add_hline(0.5, line=LINE, row=2, column=2)
    figure.add_vline(1.5, line=LINE, opacity=0.5, column=1, row=1)
    theirs.add_hline(y=0.5, line=LINE, opacity=1, row=2, col=2)
    theirs.add_vline(x=1.5, line=LINE, opacity=0.5, row=1, col=1)
    assert layout(figure.to_plotly()) == layout(theirs)
    assert figure.data == json.loads(theirs.to_json())["data"]


def test_attributes_of_axes_reach_the_named_panels(figure: Figure, theirs: go.Figure) -> None:
    figure.set_xaxes(title="all of them", showgrid=False)
    figure.set_xaxes(title={"standoff": 8}, row=2)
    figure.set_yaxes(title="left", column=1)
    theirs.update_xaxes(title_text="all of them", showgrid=False)
    theirs.update_xaxes(title_standoff=8, row=2)
    theirs.update_yaxes(title_text="left", col=1)
    assert layout(figure.to_plotly()) == layout(theirs)


def test_what_is_merged_into_a_figure_is_left_as_it_was(figure: Figure) -> None:
    font = {"size": 10}
    figure.set_xaxes(tickfont=font)
    figure.set_attribute("xaxis2.tickfont.size", 13)
    figure.set_attribute("annotations[1].font.size", 14)
    figure.colour_titles(["#102030"])
    assert font == {"size": 10}
    assert figure.layout["xaxis"]["tickfont"] == {"size": 10}
    assert figure.layout["xaxis2"]["tickfont"] == {"size": 13}
    texts = figure.layout["annotations"]
    assert [text.get("font") for text in texts] == [{"color": "#102030"}, {"size": 14}, None, None]


@pytest.mark.parametrize(
    "trace",
    [
        scatter(x=np.array([0.5, np.nan]), y=np.arange(6.0).reshape(3, 2)[:, 0]),
        heat_map(z=np.arange(6.0).reshape(2, 3), customdata=np.ones((2, 3, 2), dtype=np.float32)),
        box(y=np.linspace(0, 1, 5), x=["a"] * 5),
    ],
)
def test_arrays_of_floats_are_written_as_plotly_writes_them(trace: Trace) -> None:
    assert json.loads(to_json([trace])) == json.loads(go.Figure(trace).to_json())["data"]


def test_other_arrays_are_written_as_lists() -> None:
    trace = scatter(x=np.arange(3), text=np.array([["a", "b"]]), showlegend=np.bool_(True))
    assert json.loads(to_json(trace)) == {
        "type": "scatter",
        "x": [0, 1, 2],
        "text": [["a", "b"]],
        "showlegend": True,
    }


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(scatter(x=[float("nan")]))
    with pytest.raises(TypeError, match="a figure holds object, which is not plain data"):
        to_json(scatter(x=object()))


def test_an_attribute_that_plotly_does_not_know_is_refused_by_its_object(figure: Figure) -> None:
    figure.add(scatter(x=[1], y=[2], colour="red"))
    with pytest.raises(ValueError, match="Invalid property specified .*'colour'"):
        figure.to_plotly()


def test_frames_reach_plotly() -> None:
    figure = Figure()
    figure.add(scatter(x=[1], y=[2]))
    figure.frames = [{"name": "later", "data": [scatter(x=[2], y=[3])]}]
    (frame,) = figure.to_plotly().frames
    assert (frame.name, frame.data[0].x) == ("later", (2,))


def test_the_look_of_a_page_is_plotlys_default() -> None:
    look = json.loads(default_look())
    assert look == json.loads(go.Figure().to_json())["layout"]["template"]
