"""The rules of the verdicts, with intervals set by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.report import TaskReport
from mechshift.report.findings import NOT_DECIDED, Finding, findings
from mechshift.statistics import Estimate, Estimates, Interval


def finding(task: TaskReport, words: str) -> Finding:
    (found,) = [one for one in findings(task) if words in one.question]
    return found


def with_overlap(task: TaskReport, **intervals: tuple[float, float]) -> TaskReport:
    """The task with these intervals at every size, each value in the middle."""
    overlap = task.comparison.overlap
    ones = np.ones(len(overlap.sizes))
    changed = {
        name: Estimates(value=ones * (low + high) / 2, low=ones * low, high=ones * high, level=0.95)
        for name, (low, high) in intervals.items()
    }
    comparison = replace(task.comparison, overlap=replace(overlap, **changed))
    return replace(task, comparison=comparison)


def with_centre_shift(task: TaskReport, low: float, high: float) -> TaskReport:
    depth = task.comparison.circuit_depth
    shift = Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))
    source = replace(depth.source, centre_of_mass_shift=shift)
    depth = replace(depth, source=source)
    return replace(task, comparison=replace(task.comparison, circuit_depth=depth))


@pytest.mark.parametrize(
    ("edges", "null", "verdict"),
    [
        ((0.5, 0.6), (0.2, 0.4), "yes, beyond layout"),
        ((0.1, 0.15), (0.2, 0.4), "fewer than by layout alone"),
        ((0.3, 0.5), (0.2, 0.4), NOT_DECIDED),
    ],
)
def test_overlap_counts_only_beyond_the_null(ioi, edges, null, verdict) -> None:
    found = finding(with_overlap(ioi, edges=edges, null=null), "share edges")
    assert found.verdict == verdict
    assert f"[{edges[0]:.2f}, {edges[1]:.2f}]" in found.sentence
    assert f"[{null[0]:.2f}, {null[1]:.2f}]" in found.sentence


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [((0.4, 0.9), "yes"), ((0.8, 1.1), NOT_DECIDED), ((1.01, 1.2), "no: alike")],
)
def test_models_differ_where_the_ratio_lies_below_one(ioi, ratio, verdict) -> None:
    assert finding(with_overlap(ioi, ratio=ratio), "sampling noise").verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.9, -0.1, "yes, earlier"), (0.1, 0.9, "yes, later"), (-0.5, 0.1, NOT_DECIDED)],
)
def test_a_shift_counts_where_its_interval_excludes_zero(ioi, low, high, verdict) -> None:
    found = finding(with_centre_shift(ioi, low, high), "move in depth")
    assert found.verdict == verdict
    share = 100 * (low + high) / 2 / (ioi.comparison.graph.num_layers - 1)
    assert f"{abs(share):.1f} % of the depth" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.4, 0.6, "no, it keeps less"), (0.96, 1.2, "it keeps more"), (0.6, 0.9, NOT_DECIDED)],
)
def test_the_other_circuit_serves_as_well_unless_the_intervals_part(
    countdown, low, high, verdict
) -> None:
    """The own circuit keeps 0.8 to 0.95."""
    series = tuple(
        one
        if one.is_baseline or one.model == one.circuit
        else replace(
            one,
            faithfulness=np.array([(low + high) / 2, 1.0]),
            low=np.array([low, 1.0]),
            high=np.array([high, 1.0]),
        )
        for one in countdown.faithfulness
    )
    task = replace(countdown, faithfulness=series)
    assert finding(task, "ARM's circuit serve the MDM").verdict == verdict
    assert finding(task, "MDM's circuit serve the ARM").verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.6, "yes"), (-0.6, -0.1, "no, worse"), (-0.1, 0.6, NOT_DECIDED)],
)
@pytest.mark.parametrize("model", ["arm", "mdm"])
def test_a_circuit_is_better_than_random_ones_where_the_difference_excludes_zero(
    countdown, model, low, high, verdict
) -> None:
    advantage = Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))
    compared = tuple(
        replace(one, advantage=advantage) if one.model == model else one
        for one in countdown.baselines
    )
    task = replace(countdown, baselines=compared)
    found = finding(task, f"Is the {model.upper()}'s circuit better than random")
    assert found.verdict == verdict
    size = countdown.comparison.circuit_size
    assert f"On its own {size} edges the {model.upper()} keeps 0.90 [0.80, 0.95]" in found.sentence
    assert "0.30 [0.30, 0.60] (mean of 5 draws)" in found.sentence
    assert "4 of the edges are in every draw." in found.sentence
    assert "0.00 [0.00, 0.00]; 2 of them lie on a path" in found.sentence


def test_draws_that_are_all_chance_have_no_edges_in_common_to_tell_of(countdown) -> None:
    compared = tuple(replace(one, num_forced=0) for one in countdown.baselines)
    found = finding(replace(countdown, baselines=compared), "ARM's circuit better")
    assert "every draw" not in found.sentence


def test_nothing_is_said_of_the_others_circuit_where_it_was_not_run(ioi: TaskReport) -> None:
    assert not [one for one in findings(ioi) if "serve" in one.question]


def test_what_is_undefined_is_not_decided(ioi: TaskReport) -> None:
    task = with_overlap(ioi, ratio=(np.nan, np.nan), null=(np.nan, np.nan))
    for words in ("share edges", "sampling noise"):
        found = finding(task, words)
        assert found.verdict == NOT_DECIDED
        assert "allow no such number or no interval" in found.sentence
