"""The figure of faithfulness: the curves show the record's numbers, and so does the table."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.page.theme import NEUTRAL_COLOUR
from mechshift.statistics import Estimates
from mechshift.topics.faithfulness_figure import (
    FaithfulnessSeries,
    faithfulness_curves,
    faithfulness_curves_table,
)


def one_series(model, circuit, sizes, value, low, high) -> FaithfulnessSeries:
    estimates = Estimates(value=np.array(value), low=np.array(low), high=np.array(high), level=0.95)
    return FaithfulnessSeries(
        model=model,
        circuit=circuit,
        sizes=np.array(sizes),
        estimates=estimates,
        num_examples=12,
        num_edges=76,
    )


@pytest.fixture
def series() -> list[FaithfulnessSeries]:
    """Both models on both circuits; the first size of the MDM on the ARM's has no interval."""
    made = []
    for model, circuit, start in (
        ("arm", "arm", 0.5),
        ("arm", "mdm", 0.3),
        ("mdm", "mdm", 0.6),
        ("mdm", "arm", np.nan),
    ):
        middle = np.array([0.4 if np.isnan(start) else start, 0.8, 1.0])
        low = middle - [np.nan if np.isnan(start) else 0.1, 0.05, 0.0]
        made.append(one_series(model, circuit, [10, 30, 90], middle, low, 2 * middle - low))
    return made


@pytest.fixture
def baselines() -> list[FaithfulnessSeries]:
    """Random circuits and edges by activation of both models, at one size."""
    return [
        one_series(model, circuit, [30], [value], [value - 0.1], [value + 0.2])
        for model, circuit, value in (
            ("arm", "random", 0.3),
            ("arm", "activation", 0.1),
            ("mdm", "random", 0.25),
            ("mdm", "activation", 0.05),
        )
    ]


def curve(figure: go.Figure, name: str) -> go.Scatter:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def test_own_circuits_are_solid_and_the_others_dashed(series: list[FaithfulnessSeries]) -> None:
    figure = faithfulness_curves(series).to_plotly()
    styles = {
        trace.name: trace.line.dash for trace in figure.data if not trace.name.endswith("interval")
    }
    assert styles == {
        "ARM, own circuit": "solid",
        "ARM, MDM's circuit": "dash",
        "MDM, own circuit": "solid",
        "MDM, ARM's circuit": "dash",
    }
    for one in series:
        np.testing.assert_array_equal(curve(figure, one.label).y, one.estimates.value)
    assert {shape.y0 for shape in figure.layout.shapes} == {0, 1}


def test_a_size_without_interval_is_left_out_of_the_band(
    series: list[FaithfulnessSeries],
) -> None:
    figure = faithfulness_curves(series).to_plotly()
    assert list(curve(figure, "MDM, ARM's circuit interval").x) == [30, 90, 90, 30]
    assert list(curve(figure, "MDM, ARM's circuit").x) == [10, 30, 90]


def test_the_faithfulness_table_holds_every_curve(series: list[FaithfulnessSeries]) -> None:
    table = faithfulness_curves_table(series)
    assert table.columns == ["model", "circuit", "size", "faithfulness", "low", "high"]
    assert len(table) == 12
    cross = table.filter((pl.col("model") == "mdm") & (pl.col("circuit") == "arm"))
    assert cross["low"].to_list()[0] is None
    assert cross["faithfulness"].to_list() == series[3].estimates.value.tolist()


def test_baselines_are_grey_and_carry_their_interval_as_bars(
    series: list[FaithfulnessSeries], baselines: list[FaithfulnessSeries]
) -> None:
    figure = faithfulness_curves([*baselines, *series]).to_plotly()
    names = [trace.name for trace in figure.data if not trace.name.endswith("interval")]
    assert names == [
        "ARM, own circuit",
        "ARM, MDM's circuit",
        "MDM, own circuit",
        "MDM, ARM's circuit",
        *(one.label for one in baselines),
    ]
    for one in baselines:
        trace = curve(figure, one.label)
        assert trace.line.color == NEUTRAL_COLOUR
        assert (list(trace.x), list(trace.y)) == ([30], one.estimates.value.tolist())
        np.testing.assert_allclose(trace.error_y.array, [0.2])
        np.testing.assert_allclose(trace.error_y.arrayminus, [0.1])
    assert [one.label for one in baselines] == [
        "ARM, random circuits",
        "ARM, edges by activation",
        "MDM, random circuits",
        "MDM, edges by activation",
    ]
    symbols = {curve(figure, one.label).marker.symbol for one in baselines}
    assert len(symbols) == 4


@pytest.mark.parametrize(
    ("ablation", "words"),
    [
        ("resample", "0: corrupted prompt"),
        ("mean", "0: all at their mean"),
        ("zero", "all at zero"),
    ],
)
def test_the_figure_says_what_faithfulness_zero_is(
    series: list[FaithfulnessSeries], ablation: str, words: str
) -> None:
    assert (
        words
        in faithfulness_curves(series, ablation=ablation).to_plotly().layout.title.subtitle.text
    )
