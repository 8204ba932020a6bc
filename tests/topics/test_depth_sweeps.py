"""Sweeps: lines show the record's numbers, and figures are there where they have something."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.comparison import Comparison, ComparisonSettings, compare
from mechshift.testing import Noise, planted_pair
from mechshift.topics.depth_sweeps import (
    DEPTH_SWEEPS,
    FOLD,
    depth_sweep,
    depth_sweep_table,
)
from mechshift.topics.topic import TaskResults


@pytest.fixture(scope="module")
def halved(ioi: TaskResults) -> TaskResults:
    """Moved by two layers, without noise; twenty examples, so that each half can be resampled."""
    pair = planted_pair("moved", num_examples=20, noise=Noise(own=0.0))
    settings = ComparisonSettings(
        circuit_size=10,
        sizes=(10,),
        num_resamples=40,
        num_splits=10,
        num_splits_per_resample=2,
        num_shuffles=10,
        num_exchanges=20,
    )
    return replace(ioi, comparison=compare("ioi", pair.arm, pair.mdm, settings))


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
    figure = depth_sweep(sweep).to_plotly()
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


def test_the_figure_counts_what_was_resampled(comparison: Comparison) -> None:
    sweep = comparison.size_sweep
    assert "n = 12 examples" in depth_sweep(sweep).to_plotly().layout.title.subtitle.text
    shards = depth_sweep(replace(sweep, unit="shard")).to_plotly().layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards


def test_halves_too_small_to_resample_have_no_figure_but_a_reason(infilling: TaskResults) -> None:
    assert [one.name for one in DEPTH_SWEEPS.exhibits(infilling)] == ["size-sweep", "step-sweep"]
    (note,) = [one for one in DEPTH_SWEEPS.notes(infilling) if one.startswith("half")]
    assert note.startswith("half 1, 2: no shift in depth, or no interval; fewer than 10")


def test_halves_that_can_be_resampled_are_shown(halved: TaskResults) -> None:
    shown = {one.name: one for one in DEPTH_SWEEPS.exhibits(halved)}
    assert list(shown) == ["size-sweep", "half-sweep"]
    centres = shown["half-sweep"].table.filter(side="source")["centre_of_mass"]
    np.testing.assert_allclose(centres, -2, atol=1e-9)


def test_all_sweeps_of_a_task_lie_behind_one_line(
    infilling: TaskResults, halved: TaskResults
) -> None:
    shown = [one for task in (infilling, halved) for one in DEPTH_SWEEPS.exhibits(task)]
    assert {one.fold for one in shown} == {FOLD}
