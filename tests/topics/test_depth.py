"""Depth: what decides on set intervals, and that figures, tables and headline show the record."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import CROSS_FITTED, Comparison
from mechshift.page.elements import Finding
from mechshift.page.formats import NOT_DECIDED, Cell, estimate_cell
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.testing import LAYERS_MOVED
from mechshift.topics.depth import (
    CENTRE,
    DEPTH,
    EARLY,
    TOO_NOISY,
    depth_profiles,
    depth_profiles_table,
)
from mechshift.topics.topic import TaskResults

Compared = Callable[..., TaskResults]

NUM_LAYERS = 6
"""Of the planted pairs."""

SAME = {
    "front-loaded": "yes, more",
    "back-loaded": "no, less",
    NOT_DECIDED: NOT_DECIDED,
    f"{TOO_NOISY} (undefined on the examples themselves)": TOO_NOISY,
}
"""The verdict's words -> the finding's."""


@pytest.fixture
def with_depth_shifts(compared_anew: Compared) -> Compared:
    """These cross-fitted intervals of every shift, and a plain one that says earlier."""

    def changed(task: TaskResults, low: float, high: float) -> TaskResults:
        depth = task.comparison.circuit_depth
        shape = np.ones(len(CROSS_FITTED))
        middle = (low + high) / 2
        crossed = Estimates(value=shape * middle, low=shape * low, high=shape * high, level=0.95)
        plain = Estimate(value=-0.5, interval=Interval(low=-0.6, high=-0.4, level=0.95))
        source = replace(depth.source, cross_fitted=crossed, centre_of_mass_shift=plain)
        comparison = replace(task.comparison, circuit_depth=replace(depth, source=source))
        return compared_anew(task, comparison, DEPTH)

    return changed


def finding(task: TaskResults, words: str) -> Finding:
    (found,) = [one for one in DEPTH.findings(task) if words in one.question]
    return found


def decided(task: TaskResults) -> str:
    (rule,) = DEPTH.rules
    (statement,) = rule.decide(task)
    assert statement.axis == rule.axis == "depth"
    return statement.verdict


def curve(figure: go.Figure, name: str, axis: str = "x") -> go.Scatter:
    (found,) = [
        trace for trace in figure.data if trace.name == name and trace.xaxis in (axis, None)
    ]
    return found


@pytest.mark.parametrize(
    ("low", "high", "early", "centre"),
    [
        (-0.9, -0.1, "no, less", "yes, earlier"),
        (0.1, 0.9, "yes, more", "yes, later"),
        (-0.5, 0.1, NOT_DECIDED, NOT_DECIDED),
    ],
)
def test_a_shift_counts_where_its_cross_fitted_interval_excludes_zero(
    planted: Compared,
    with_depth_shifts: Compared,
    low: float,
    high: float,
    early: str,
    centre: str,
) -> None:
    task = with_depth_shifts(planted("rewired"), low, high)
    assert finding(task, "early layers").verdict == early
    found = finding(task, "move in depth")
    assert found.verdict == centre
    share = 100 * (low + high) / 2 / (NUM_LAYERS - 1)
    assert f"{abs(share):.1f}\N{NO-BREAK SPACE}% of the depth" in found.sentence


def test_a_shift_that_does_not_carry_over_to_the_other_half_is_too_noisy(
    planted: Compared, with_depth_shifts: Compared
) -> None:
    task = with_depth_shifts(planted("rewired"), np.nan, np.nan)
    for words in ("early layers", "move in depth"):
        found = finding(task, words)
        assert found.verdict == TOO_NOISY
        assert "does not carry over to the other half" in found.sentence
    for name in (EARLY, CENTRE):
        assert task.mdm.measured[name].reason == (
            "too noisy (undefined on the examples themselves)"
        )


def test_a_shift_without_an_interval_says_in_what_share_of_the_resamples_it_is_undefined(
    planted: Compared, compared_anew: Compared
) -> None:
    task = planted("moved")
    depth = task.comparison.circuit_depth
    draws = depth.source.cross_fitted_draws.copy()
    draws[:7] = np.nan
    shifts = depth.source.cross_fitted
    nothing = np.full_like(shifts.low, np.nan)
    source = replace(
        depth.source,
        cross_fitted=replace(shifts, low=nothing, high=nothing),
        cross_fitted_draws=draws,
    )
    comparison = replace(task.comparison, circuit_depth=replace(depth, source=source))
    noisy = compared_anew(task, comparison, DEPTH)
    words = "too noisy (undefined in 7.0\N{NO-BREAK SPACE}% of the resamples)"
    assert decided(noisy) == words
    assert noisy.mdm.measured[EARLY].reason == noisy.mdm.measured[CENTRE].reason == words
    assert words in finding(noisy, "early layers").sentence


@pytest.mark.parametrize(
    ("low", "high"),
    [(-0.4, -0.1), (-0.4, 0.1), (0.0, 0.02), (0.01, 0.04), (0.03, 0.2), (np.nan, np.nan)],
)
def test_verdict_and_answer_on_depth_rest_on_one_number(
    planted: Compared, with_depth_shifts: Compared, low: float, high: float
) -> None:
    task = with_depth_shifts(planted("moved"), low, high)
    assert SAME[decided(task)] == finding(task, "rely more on early layers").verdict


def test_a_circuit_that_was_planted_two_layers_earlier_is_found_there(planted: Compared) -> None:
    task = planted("moved")
    shift = task.mdm.estimate(CENTRE)
    assert shift is not None
    assert shift.interval.low < -LAYERS_MOVED < shift.interval.high < 0
    assert finding(task, "move in depth").verdict == "yes, earlier"
    assert decided(task) == "front-loaded"


@pytest.mark.parametrize(("name", "entry"), [(EARLY, "early"), (CENTRE, "centre_of_mass")])
def test_a_shift_is_stored_with_the_draws_of_its_interval(
    planted: Compared, name: str, entry: str
) -> None:
    task = planted("moved")
    measured, source = task.mdm.measured[name], task.comparison.circuit_depth.source
    draws, found = measured.draws, measured.estimate
    assert draws is not None and found == source.cross_fitted_shift(entry)
    low, high = np.percentile(draws - draws.mean() + found.value, [2.5, 97.5])
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_the_headline_has_the_shares_of_both_models(ioi: TaskResults) -> None:
    cells = {row.name: row.cell(ioi) for row in DEPTH.headline}
    source = ioi.comparison.circuit_depth.source
    for name, estimate in {
        "Early share, ARM": source.arm.thirds.at(0),
        "Early share, MDM": source.mdm.thirds.at(0),
    }.items():
        assert estimate is not None
        assert cells[name] == estimate_cell(estimate)


def test_shifts_carry_their_sign_and_say_where_nothing_is_decided(
    planted: Compared, with_depth_shifts: Compared
) -> None:
    names = [*(f"{part} share, shift" for part in ("Early", "Middle", "Late"))]
    names.append("Centre of mass, shift")
    for plant in ("moved", "identical"):
        source = planted(plant).comparison.circuit_depth.source
        cells = {row.name: row.cell(planted(plant)) for row in DEPTH.headline}
        for name, entry in zip(names, CROSS_FITTED, strict=True):
            shift = source.cross_fitted_shift(entry)
            assert shift is not None
            note = "" if shift.excludes(0.0) else "not decided"
            assert cells[name] == estimate_cell(shift, signed=True, note=note)
        assert (cells[names[-1]].note == "not decided") == (plant == "identical")
    undefined = with_depth_shifts(planted("moved"), np.nan, np.nan)
    shown = {row.name: row.cell(undefined) for row in DEPTH.headline}
    assert [shown[name] for name in names] == 4 * [Cell(text="too noisy")]


@pytest.mark.parametrize("scope", ["circuit_depth", "all_depth"])
def test_depth_profiles_show_both_sides_of_both_models(comparison: Comparison, scope: str) -> None:
    profiles = getattr(comparison, scope)
    figure = depth_profiles(profiles).to_plotly()
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
    figure = depth_profiles(comparison.circuit_depth).to_plotly()
    assert np.isnan(curve(figure, "ARM").y[1])
    assert np.isnan(curve(figure, "ARM", "x2").y[-2])


def test_the_depth_table_sums_to_one_on_each_side(comparison: Comparison) -> None:
    table = depth_profiles_table(comparison.circuit_depth)
    sums = table.group_by("side", "model").agg(pl.col("share").sum(), pl.len())
    assert sums["len"].to_list() == 4 * [4]
    np.testing.assert_allclose(sums["share"], 1)
    arm = table.filter((pl.col("side") == "source") & (pl.col("model") == "arm"))
    np.testing.assert_array_equal(arm["low"], comparison.circuit_depth.source.arm.share.low)


def test_a_task_shows_the_depth_of_its_circuit_and_of_all_edges(ioi: TaskResults) -> None:
    circuit, everything = DEPTH.exhibits(ioi)
    assert (circuit.name, everything.name) == ("depth", "depth-all-edges")
    assert circuit.table.equals(depth_profiles_table(ioi.comparison.circuit_depth))
    assert everything.table.equals(depth_profiles_table(ioi.comparison.all_depth))


def test_the_figure_counts_what_was_resampled(comparison: Comparison) -> None:
    profiles = comparison.circuit_depth
    assert "n = 12 examples" in depth_profiles(profiles).to_plotly().layout.title.subtitle.text
    shards = depth_profiles(replace(profiles, unit="shard")).to_plotly().layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards
