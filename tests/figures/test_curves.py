"""Overlap, depth and faithfulness: the curves show the record's numbers, and so do the tables."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from mechshift.figures import (
    FaithfulnessSeries,
    depth_profiles,
    depth_profiles_table,
    faithfulness_curves,
    faithfulness_curves_table,
    overlap_curve,
    overlap_curve_table,
)
from mechshift.figures.theme import NEUTRAL_COLOUR

from mechshift.comparison import Comparison
from mechshift.errors import ReportError


def curve(figure: go.Figure, name: str, axis: str = "x") -> go.Scatter:
    (found,) = [
        trace for trace in figure.data if trace.name == name and trace.xaxis in (axis, None)
    ]
    return found


def test_every_overlap_curve_shows_its_numbers_and_interval(comparison: Comparison) -> None:
    overlap = comparison.overlap
    figure = overlap_curve(overlap)
    shown = {
        "edges, ARM and MDM": overlap.edges,
        "nodes, ARM and MDM": overlap.nodes,
        "ceiling: ARM with itself": overlap.ceiling_arm,
        "ceiling: MDM with itself": overlap.ceiling_mdm,
        "null: shuffled scores": overlap.null,
    }
    for name, estimates in shown.items():
        trace = curve(figure, name)
        np.testing.assert_array_equal(trace.x, overlap.sizes)
        np.testing.assert_array_equal(trace.y, estimates.value)
        np.testing.assert_array_equal(
            trace.customdata, np.stack([estimates.low, estimates.high], 1)
        )
        assert name in trace.hovertemplate and "%{y" in trace.hovertemplate
        assert curve(figure, f"{name} interval").fill == "toself"
    np.testing.assert_array_equal(curve(figure, "ratio to ceiling", "x2").y, overlap.ratio.value)
    assert len(figure.data) == 2 * (len(shown) + 1)


def test_the_overlap_table_has_every_curve_and_leaves_the_undefined_empty(
    comparison: Comparison,
) -> None:
    overlap = comparison.overlap
    table = overlap_curve_table(overlap)
    assert table["size"].to_list() == overlap.sizes.tolist()
    fields = ("edges", "nodes", "ceiling_arm", "bootstrap_mdm", "halves", "ratio", "null")
    for name in fields:
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            numbers = getattr(getattr(overlap, name), part)
            stored = table[name + suffix].to_list()
            assert stored == [None if np.isnan(number) else number for number in numbers]
    assert table["layout_p"].to_list() == overlap.layout_p.tolist()
    assert table["noise_p"].to_list() == overlap.noise_p.tolist()


@pytest.mark.parametrize("scope", ["circuit_depth", "all_depth"])
def test_depth_profiles_show_both_sides_of_both_models(comparison: Comparison, scope: str) -> None:
    profiles = getattr(comparison, scope)
    figure = depth_profiles(profiles)
    assert sorted(trace.name for trace in figure.data) == sorted(
        2 * ["ARM", "ARM interval", "MDM", "MDM interval"]
    )
    for axis, side, names in (
        ("x", "source", ["input", "0", "1", "2"]),
        ("x2", "destination", ["0", "1", "2", "logits"]),
    ):
        for model in ("arm", "mdm"):
            trace = curve(figure, model.upper(), axis)
            values = np.array(trace.y, dtype=float)
            share = getattr(getattr(profiles, side), model).share
            np.testing.assert_array_equal(values[np.isfinite(values)], share.value)
            assert [text for text in trace.text if text] == names
    size = f"{profiles.circuit_size:,}"
    assert size in figure.layout.title.subtitle.text


def test_a_gap_keeps_input_and_logits_apart_from_the_layers(comparison: Comparison) -> None:
    figure = depth_profiles(comparison.circuit_depth)
    assert np.isnan(curve(figure, "ARM").y[1])
    assert np.isnan(curve(figure, "ARM", "x2").y[-2])


def test_the_depth_table_sums_to_one_on_each_side(comparison: Comparison) -> None:
    table = depth_profiles_table(comparison.circuit_depth)
    sums = table.group_by("side", "model").agg(pl.col("share").sum(), pl.len())
    assert sums["len"].to_list() == 4 * [4]
    np.testing.assert_allclose(sums["share"], 1)
    arm = table.filter((pl.col("side") == "source") & (pl.col("model") == "arm"))
    np.testing.assert_array_equal(arm["low"], comparison.circuit_depth.source.arm.share.low)


def test_own_circuits_are_solid_and_the_others_dashed(series: list[FaithfulnessSeries]) -> None:
    figure = faithfulness_curves(series)
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
        np.testing.assert_array_equal(curve(figure, one.label).y, one.faithfulness)
    assert {shape.y0 for shape in figure.layout.shapes} == {0, 1}


def test_a_size_without_interval_is_left_out_of_the_band(
    series: list[FaithfulnessSeries],
) -> None:
    figure = faithfulness_curves(series)
    assert list(curve(figure, "MDM, ARM's circuit interval").x) == [30, 90, 90, 30]
    assert list(curve(figure, "MDM, ARM's circuit").x) == [10, 30, 90]


def test_the_faithfulness_table_holds_every_curve(series: list[FaithfulnessSeries]) -> None:
    table = faithfulness_curves_table(series)
    assert table.columns == ["model", "circuit", "size", "faithfulness", "low", "high"]
    assert len(table) == 12
    cross = table.filter((pl.col("model") == "mdm") & (pl.col("circuit") == "arm"))
    assert cross["low"].to_list()[0] is None
    assert cross["faithfulness"].to_list() == series[3].faithfulness.tolist()


def test_baselines_are_grey_and_carry_their_interval_as_bars(
    series: list[FaithfulnessSeries], baselines: list[FaithfulnessSeries]
) -> None:
    figure = faithfulness_curves([*baselines, *series])
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
        assert (list(trace.x), list(trace.y)) == ([30], one.faithfulness.tolist())
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
    assert words in faithfulness_curves(series, ablation=ablation).layout.title.subtitle.text


def test_a_figure_of_no_curves_is_refused() -> None:
    with pytest.raises(ReportError, match="there are no faithfulness curves to draw"):
        faithfulness_curves([])
