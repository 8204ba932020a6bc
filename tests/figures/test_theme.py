import itertools
import re
from importlib import resources

import numpy as np
import plotly.graph_objects as go
import pytest
from mechshift.figures import (
    FaithfulnessSeries,
    MetricSample,
    circuit_map,
    depth_profiles,
    faithfulness_curves,
    metric_distributions,
    overlap_curve,
    right_to_left,
    span_flow,
    step_spans,
    step_view,
)
from mechshift.figures.theme import (
    ARM_COLOUR,
    MDM_COLOUR,
    NEGATIVE_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    band,
    finish,
    log_ticks,
    panels,
    percent,
    stacked,
    thinned,
    translucent,
)

from mechshift.comparison import Comparison, DirectionOfFlow
from mechshift.statistics import Estimates


@pytest.fixture
def every_figure(
    comparison: Comparison,
    series: list[FaithfulnessSeries],
    samples: list[MetricSample],
    direction: DirectionOfFlow,
) -> dict[str, go.Figure]:
    return {
        "map": circuit_map(comparison),
        "overlap": overlap_curve(comparison.overlap),
        "depth": depth_profiles(comparison.circuit_depth),
        "faithfulness": faithfulness_curves(series),
        "examples": metric_distributions(samples, metric="logit_diff", circuit_size=30),
        "steps": step_view(comparison),
        "spans": span_flow(direction),
        "step spans": step_spans(direction),
        "right to left": right_to_left(direction),
    }


def test_a_model_has_the_same_colour_in_every_figure(every_figure: dict[str, go.Figure]) -> None:
    """What is named after one model alone, and what runs one model on the other's circuit."""
    colours: dict[str, set[str]] = {"ARM": set(), "MDM": set()}
    for figure in every_figure.values():
        for trace in figure.data:
            runs = re.match(r"(?:ceiling: )?(ARM|MDM)", trace.name or "")
            if runs and trace.type == "scatter" and trace.line.color:
                colours[runs[1]].add(trace.line.color)
        for annotation in figure.layout.annotations:
            if annotation.text in colours:
                colours[annotation.text].add(annotation.font.color)
    assert colours == {"ARM": {ARM_COLOUR}, "MDM": {MDM_COLOUR}}


@pytest.mark.parametrize(
    "colour", [ARM_COLOUR, MDM_COLOUR, PAIR_COLOUR, NEGATIVE_COLOUR, NEUTRAL_COLOUR]
)
def test_every_colour_stands_out_on_the_light_and_on_the_dark_page(colour: str) -> None:
    """At least 3 to 1, WCAG 2's demand on graphics."""
    style = resources.files("mechshift.report").joinpath("templates/report.css").read_text()
    grounds = set(re.findall(r"--card: (#[0-9a-f]{6})", style))
    assert len(grounds) == 2
    for ground in grounds:
        assert contrast(colour, ground) >= 3


def contrast(first: str, second: str) -> float:
    dark, light = sorted(map(luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_axis_with_a_title_names_its_unit_or_what_it_counts(
    every_figure: dict[str, go.Figure],
) -> None:
    titles = {
        name: {axis.title.text for axis in axes(figure) if axis.title.text}
        for name, figure in every_figure.items()
    }
    assert titles == {
        "map": {"attention head", "layer"},
        "overlap": {"circuit size K [edges]", "Jaccard overlap", "ratio"},
        "depth": {"layer", "share of |score|"},
        "faithfulness": {"circuit size [edges of 76]", "faithfulness (1 = full model)"},
        "examples": {"logit_diff, summed over steps"},
        "steps": {"denoising step", "reading layer", "metric [metric units]"},
        "spans": {"read by span", "read from span"},
        "step spans": {"denoising step", "read from span"},
        "right to left": {"layer", "denoising step", "share of |flow|"},
    }


def axes(figure: go.Figure) -> list[go.layout.XAxis | go.layout.YAxis]:
    return [*figure.select_xaxes(), *figure.select_yaxes()]


def test_panels_do_not_overlap_in_either_shape(every_figure: dict[str, go.Figure]) -> None:
    for figure in every_figure.values():
        for shape in ("wide", "narrow"):
            domains = {
                name: value
                for name, value in figure.layout.meta[shape].items()
                if name.endswith(".domain")
            }
            numbers = sorted({re.sub(r"[^0-9]", "", name) for name in domains})
            boxes = [(domains[f"xaxis{n}.domain"], domains[f"yaxis{n}.domain"]) for n in numbers]
            for (left, right), (bottom, top) in boxes:
                assert 0 <= left < right <= 1 and 0 <= bottom < top <= 1
            for one, two in itertools.combinations(boxes, 2):
                assert any(a[1] < b[0] or b[1] < a[0] for a, b in zip(one, two, strict=True))


def test_a_figure_is_drawn_wide_and_each_patch_undoes_the_other() -> None:
    figure = finish(go.Figure(), "title", "subtitle", wide={"height": 400}, narrow={"height": 700})
    assert figure.layout.height == 400
    assert figure.layout.title.text == "title"
    with pytest.raises(AssertionError, match="each patch must undo the other"):
        finish(go.Figure(), "title", "subtitle", wide={"height": 1}, narrow={"width": 1})


def test_panels_carry_their_titles() -> None:
    assert panels((0.0, 0.4, 0.0, 1.0), (0.6, 1.0, 0.0, 0.5)) == {
        "xaxis.domain": [0.0, 0.4],
        "yaxis.domain": [0.0, 1.0],
        "annotations[0].x": 0.2,
        "annotations[0].y": 1.0,
        "xaxis2.domain": [0.6, 1.0],
        "yaxis2.domain": [0.0, 0.5],
        "annotations[1].x": 0.8,
        "annotations[1].y": 0.5,
    }
    narrow = stacked(2, gap=0.2)
    assert narrow["yaxis.domain"] == pytest.approx([0.6, 1.0])
    assert narrow["yaxis2.domain"] == pytest.approx([0.0, 0.4])


@pytest.mark.parametrize(
    ("sizes", "ticks"),
    [
        ([10, 500], [10, 30, 100, 300]),
        ([2, 20], [2, 5, 10, 20]),
        ([12, 60], [12, 60]),
        ([1, 1108], [1, 10, 100, 1000]),
        ([10, 467_873], [10, 100, 1000, 10_000, 100_000]),
        ([7, 7], [7]),
    ],
)
def test_a_log_axis_has_ticks_inside_its_range(sizes: list[int], ticks: list[int]) -> None:
    found = log_ticks(np.array(sizes))
    assert found["tickvals"] == ticks
    assert found["ticktext"] == [f"{tick:,}" for tick in ticks]


@pytest.mark.parametrize(
    ("count", "ticks"),
    [(4, [0, 1, 2, 3]), (28, [0, 3, 6, 9, 12, 15, 18, 21, 24]), (1, [0])],
)
def test_ticks_are_thinned_and_keep_clear_of_the_last_label(count: int, ticks: list[int]) -> None:
    assert thinned(count, 10) == ticks


def test_a_band_runs_along_the_upper_and_back_along_the_lower_bound() -> None:
    nan = np.nan
    estimates = Estimates(
        value=np.array([1.0, 2.0, 3.0]),
        low=np.array([0.5, nan, 2.5]),
        high=np.array([1.5, nan, 3.5]),
        level=0.95,
    )
    trace = band(np.array([10.0, 20.0, 30.0]), estimates, "#102030", group="g")
    assert list(trace.x) == [10, 30, 30, 10]
    assert list(trace.y) == [1.5, 3.5, 2.5, 0.5]
    assert trace.fillcolor == translucent("#102030", 0.18) == "rgba(16, 32, 48, 0.18)"


def test_levels_read_as_per_cent() -> None:
    assert percent(0.95) == "95\N{NO-BREAK SPACE}%"
    assert percent(0.999) == "99.9\N{NO-BREAK SPACE}%"
