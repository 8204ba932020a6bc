"""Sweeps: the lines show the record's numbers, and so do the tables."""

import numpy as np
import polars as pl
import pytest

from mechshift.comparison import Comparison, sweep_over_num_steps
from mechshift.figures import (
    depth_sweep,
    depth_sweep_table,
    num_steps_sweep,
    num_steps_sweep_table,
)


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


def test_overlap_is_drawn_against_the_number_of_steps(comparison: Comparison) -> None:
    sweep = sweep_over_num_steps({1: comparison, 8: comparison})
    figure = num_steps_sweep(sweep)
    shown = {trace.name: trace for trace in figure.data}
    np.testing.assert_array_equal(shown["edge overlap (Jaccard)"].y, sweep.overlap.value)
    np.testing.assert_array_equal(shown["ratio to its ceiling"].y, sweep.ratio.value)
    assert list(shown["ratio to its ceiling"].x) == [1, 8]
    table = num_steps_sweep_table(sweep)
    assert table["num_steps"].to_list() == [1, 8]
    assert table["overlap_low"].to_list() == sweep.overlap.low.tolist()
