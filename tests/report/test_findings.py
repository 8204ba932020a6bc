"""The rules of the verdicts, with intervals set by hand."""

from dataclasses import replace

import numpy as np
import pytest
from mechshift.report import TaskReport
from mechshift.report.finding import Finding
from mechshift.report.findings import findings
from mechshift.verdict import NOT_DECIDED, UNDEFINED

from mechshift.comparison import CROSS_FITTED
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


def with_layout_p(task: TaskReport, p: float) -> TaskReport:
    overlap = task.comparison.overlap
    overlap = replace(overlap, layout_p=np.full(len(overlap.sizes), p))
    return replace(task, comparison=replace(task.comparison, overlap=overlap))


def with_depth_shifts(task: TaskReport, low: float, high: float) -> TaskReport:
    """These cross-fitted intervals of every shift, and a plain one that says earlier."""
    depth = task.comparison.circuit_depth
    shape = np.ones(len(CROSS_FITTED))
    middle = (low + high) / 2
    crossed = Estimates(value=shape * middle, low=shape * low, high=shape * high, level=0.95)
    plain = Estimate(value=-0.5, interval=Interval(low=-0.6, high=-0.4, level=0.95))
    source = replace(depth.source, cross_fitted=crossed, centre_of_mass_shift=plain)
    depth = replace(depth, source=source)
    return replace(task, comparison=replace(task.comparison, circuit_depth=depth))


@pytest.mark.parametrize(
    ("edges", "p", "verdict"),
    [
        ((0.5, 0.6), 0.01, "yes, beyond layout"),
        ((0.35, 0.45), 0.05, "yes, beyond layout"),
        ((0.35, 0.45), 0.06, NOT_DECIDED),
        ((0.1, 0.15), 1.0, "fewer than by layout alone"),
        ((0.2, 0.2), 1.0, NOT_DECIDED),
    ],
)
def test_overlap_counts_where_layout_alone_seldom_makes_as_much(ioi, edges, p, verdict) -> None:
    """Layout alone makes 0.2 to 0.4; a value at its lower end is no less than that."""
    task = with_layout_p(with_overlap(ioi, edges=edges, null=(0.2, 0.4)), p)
    found = finding(task, "share edges")
    assert found.verdict == verdict
    assert f"[{edges[0]:.2f}, {edges[1]:.2f}]" in found.sentence
    assert "[0.20, 0.40]" in found.sentence and f"p = {p:.3f}." in found.sentence


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [((0.4, 0.9), "yes"), ((0.8, 1.1), NOT_DECIDED), ((1.01, 1.2), "no: alike")],
)
def test_models_differ_where_the_ratio_lies_below_one(ioi, ratio, verdict) -> None:
    assert finding(with_overlap(ioi, ratio=ratio), "sampling noise").verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "early", "centre"),
    [
        (-0.9, -0.1, "no, less", "yes, earlier"),
        (0.1, 0.9, "yes, more", "yes, later"),
        (-0.5, 0.1, NOT_DECIDED, NOT_DECIDED),
    ],
)
def test_a_shift_counts_where_its_cross_fitted_interval_excludes_zero(
    ioi, low, high, early, centre
) -> None:
    task = with_depth_shifts(ioi, low, high)
    assert finding(task, "early layers").verdict == early
    found = finding(task, "move in depth")
    assert found.verdict == centre
    share = 100 * (low + high) / 2 / (ioi.comparison.graph.num_layers - 1)
    assert f"{abs(share):.1f}\N{NO-BREAK SPACE}% of the depth" in found.sentence


def test_a_shift_that_does_not_carry_over_to_the_other_half_is_undefined(ioi) -> None:
    task = with_depth_shifts(ioi, np.nan, np.nan)
    for words in ("early layers", "move in depth"):
        found = finding(task, words)
        assert found.verdict == UNDEFINED
        assert "does not carry over to the other half" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.4, -0.1, "no, it keeps less"), (0.1, 0.3, "it keeps more"), (-0.2, 0.1, NOT_DECIDED)],
)
def test_the_other_circuit_serves_as_well_unless_the_difference_excludes_zero(
    countdown, low, high, verdict
) -> None:
    """The two intervals by themselves, 0.8 to 0.95 and 0.4 to 0.6, are not asked."""
    shift = Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))
    changed = tuple(replace(one, difference=shift) for one in countdown.other_circuits)
    task = replace(countdown, other_circuits=changed)
    for words in ("ARM's circuit serve the MDM", "MDM's circuit serve the ARM"):
        found = finding(task, words)
        assert found.verdict == verdict
        assert "keeps 0.50 [0.40, 0.60] of its behaviour" in found.sentence
        assert "0.90 [0.80, 0.95] on its own" in found.sentence


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


def test_what_has_no_number_is_undefined(ioi: TaskReport) -> None:
    task = with_overlap(ioi, ratio=(np.nan, np.nan), null=(np.nan, np.nan))
    for words in ("share edges", "sampling noise"):
        found = finding(task, words)
        assert found.verdict == UNDEFINED
        assert "allow no such number or no interval" in found.sentence
