"""Sweeps: the lines show the record's numbers, and so do the tables."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from mechshift.figures import (
    depth_sweep,
    depth_sweep_table,
    num_steps_sweep,
    num_steps_sweep_table,
)

from mechshift.comparison import Comparison, NumStepsSweep, sweep_over_num_steps
from mechshift.statistics import Estimate, Estimates, Interval


@pytest.mark.parametrize(
    ("field", "axis"),
    [
        ("size_sweep", "circuit size K [edges]"),
        ("half_sweep", "half of the examples"),
        ("step_sweep", "denoising step"),
    ],
)
def test_a_depth_sweep_shows_both_sides_in_three_panels(
    comparison: Comparison, field: str, axis: str
) -> None:
    sweep = getattr(comparison, field)
    figure = depth_sweep(sweep)
    assert figure.layout.xaxis.title.text == axis
    for panel, quantity in (("x", "early_share"), ("x2", "centre_of_mass"), ("x3", "distance")):
        shown = {trace.name: trace for trace in figure.data if trace.xaxis == panel}
        for side, name in (("source", "by writing layer"), ("destination", "by reading layer")):
            estimates = getattr(getattr(sweep, side), quantity)
            np.testing.assert_array_equal(shown[name].y, estimates.value)
            np.testing.assert_array_equal(np.round(shown[name].x), sweep.points)
            if field == "half_sweep":
                bars = shown[name].error_y
                np.testing.assert_array_equal(bars.array, estimates.high - estimates.value)
                assert shown[name].mode == "markers"  # no half lies between the halves
            else:
                assert f"{name} interval" in shown
    noise = [trace for trace in figure.data if trace.name.startswith("noise")]
    np.testing.assert_array_equal(noise[0].y, sweep.source.noise_distance.value)
    assert (figure.layout.xaxis.type == "log") == (field == "size_sweep")


def test_the_depth_sweep_table_has_a_row_for_each_side_and_point(comparison: Comparison) -> None:
    sweep = comparison.size_sweep
    table = depth_sweep_table(sweep)
    assert len(table) == 2 * len(sweep.points)
    written = table.filter(pl.col("side") == "source")
    assert written["point"].to_list() == sweep.points.tolist()
    assert written["centre_of_mass"].to_list() == sweep.source.centre_of_mass.value.tolist()
    assert written["noise_distance_high"].to_list() == sweep.source.noise_distance.high.tolist()


def test_a_point_without_a_shift_is_empty_in_the_table(comparison: Comparison) -> None:
    """Halves of twelve examples are too small to resample."""
    assert depth_sweep_table(comparison.half_sweep)["centre_of_mass"].null_count() == 4


def shifts(first: float) -> Estimates:
    """Of two points: four different numbers each, and an interval of 1 to either side."""
    value = first + np.arange(8.0).reshape(2, 4)
    return Estimates(value=value, low=value - 1, high=value + 1, level=0.95)


@pytest.fixture
def sweep(comparison: Comparison) -> NumStepsSweep:
    """Shifts are made by hand: the scores of the comparison are noise, and have none."""
    few, many = (
        Estimate(value=value, interval=Interval(low=value - 1, high=value + 1, level=0.95))
        for value in (1.5, -2.5)
    )
    found = sweep_over_num_steps({1: comparison, 8: comparison}, {1: few, 8: many})
    return replace(found, source=shifts(0.0), destination=shifts(10.0))


def test_the_models_are_drawn_against_the_number_of_steps(sweep: NumStepsSweep) -> None:
    """`CROSS_FITTED` has the early share first and the centre of mass last."""
    figure = num_steps_sweep(sweep)
    shown = {(trace.name, trace.xaxis): trace for trace in figure.data}
    for name, panel, values in (
        ("edge overlap (Jaccard)", "x", sweep.overlap.value.tolist()),
        ("ratio to its ceiling", "x", sweep.ratio.value.tolist()),
        ("by writing layer", "x2", [0, 4]),
        ("by reading layer", "x2", [10, 14]),
        ("by writing layer", "x3", [3, 7]),
        ("by reading layer", "x3", [13, 17]),
        ("effective components", "x4", [1.5, -2.5]),
    ):
        assert list(shown[name, panel].y) == values
        assert list(shown[name, panel].x) == [1, 8]
        assert len(shown[f"{name} interval", panel].y) == 4
    assert figure.layout.xaxis.ticktext == ("1", "8")
    in_legend = [trace.name for trace in figure.data if trace.showlegend]
    assert len(in_legend) == len(set(in_legend)) == 5


def test_the_table_of_a_sweep_has_a_row_for_each_number_of_steps(
    sweep: NumStepsSweep, comparison: Comparison
) -> None:
    table = num_steps_sweep_table(sweep)
    assert table["num_steps"].to_list() == [1, 8]
    assert table["overlap_low"].to_list() == sweep.overlap.low.tolist()
    assert table["source_centre_of_mass_low"].to_list() == [2, 6]
    assert table["destination_early_share_high"].to_list() == [11, 15]
    assert table["effective_number_high"].to_list() == [2.5, -1.5]
    undefined = num_steps_sweep_table(sweep_over_num_steps({1: comparison, 8: comparison}))
    assert undefined["destination_early_share"].null_count() == 2
    assert "effective_number" not in undefined.columns


def test_without_concentration_a_sweep_has_a_panel_less(comparison: Comparison) -> None:
    figure = num_steps_sweep(sweep_over_num_steps({2: comparison}))
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}
