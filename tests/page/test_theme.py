import re
from importlib import resources

import numpy as np
import pytest

from mechshift.page.figure import Figure
from mechshift.page.theme import (
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
from mechshift.statistics import Estimates


@pytest.mark.parametrize(
    "colour", [ARM_COLOUR, MDM_COLOUR, PAIR_COLOUR, NEGATIVE_COLOUR, NEUTRAL_COLOUR]
)
def test_every_colour_stands_out_on_the_light_and_on_the_dark_page(colour: str) -> None:
    """At least 3 to 1, WCAG 2's demand on graphics."""
    style = resources.files("mechshift.page").joinpath("templates/report.css").read_text()
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


def test_a_figure_is_drawn_wide_and_each_patch_undoes_the_other() -> None:
    figure = finish(Figure(), "title", "subtitle", wide={"height": 400}, narrow={"height": 700})
    assert figure.layout["height"] == 400
    assert figure.layout["title"]["text"] == "title"
    with pytest.raises(AssertionError, match="each patch must undo the other"):
        finish(Figure(), "title", "subtitle", wide={"height": 1}, narrow={"width": 1})


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
    assert list(trace["x"]) == [10, 30, 30, 10]
    assert list(trace["y"]) == [1.5, 3.5, 2.5, 0.5]
    assert trace["fillcolor"] == translucent("#102030", 0.18) == "rgba(16, 32, 48, 0.18)"


def test_levels_read_as_per_cent() -> None:
    assert percent(0.95) == "95\N{NO-BREAK SPACE}%"
    assert percent(0.999) == "99.9\N{NO-BREAK SPACE}%"
