"""Where the verdict and a finding answer one question, they answer alike."""

from dataclasses import replace

import numpy as np
import pytest
from mechshift.report import ReportInput, TaskReport
from mechshift.report.findings import findings
from mechshift.report.headline import headline
from mechshift.verdict import NOT_DECIDED, UNDEFINED, Evidence, verdict

from mechshift.comparison import CROSS_FITTED
from mechshift.statistics import Estimate, Estimates, Interval

LEVEL = 0.95

INTERVALS = [(-0.4, -0.1), (-0.4, 0.1), (0.0, 0.02), (0.01, 0.04), (0.03, 0.2), (0.06, 0.2)]
"""Below, around, at and above 0 and a twentieth."""

SAME = {
    "front-loaded": "yes, more",
    "back-loaded": "no, less",
    "more distributed": "yes, more distributed",
    "sharper": "no, sharper",
    "reads from the right": "yes",
    "hardly reads from the right": "hardly",
    "serves it better": "it keeps more",
    "no longer suffices": "no, it keeps less",
    NOT_DECIDED: NOT_DECIDED,
    UNDEFINED: UNDEFINED,
}
"""The verdict's words -> the finding's."""


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=LEVEL))


def estimates(low: float, high: float, num_entries: int) -> Estimates:
    ones = np.ones(num_entries)
    return Estimates(value=ones * (low + high) / 2, low=ones * low, high=ones * high, level=LEVEL)


@pytest.fixture(scope="module")
def decided(countdown: TaskReport) -> TaskReport:
    """With evidence for a verdict: what the other records hold."""
    assert countdown.semantics is not None
    evidence = Evidence(
        comparison=countdown.comparison,
        concentration=countdown.semantics.shift.concentration,
        direction=countdown.flow,
        inheritance=countdown.other_circuits[1].difference,
    )
    return replace(countdown, evidence=evidence)


def with_comparison(task: TaskReport, comparison) -> TaskReport:
    evidence = replace(task.evidence, comparison=comparison)
    return replace(task, comparison=comparison, evidence=evidence)


def answers(task: TaskReport, axis: str, question: str) -> tuple[str, str]:
    (found,) = [one.verdict for one in findings(task) if question in one.question]
    return verdict(task.evidence).of(axis).verdict, found


@pytest.mark.parametrize(("low", "high"), [*INTERVALS, (np.nan, np.nan)])
def test_of_depth(decided: TaskReport, low: float, high: float) -> None:
    depth = decided.comparison.circuit_depth
    crossed = estimates(low, high, len(CROSS_FITTED))
    depth = replace(depth, source=replace(depth.source, cross_fitted=crossed))
    task = with_comparison(decided, replace(decided.comparison, circuit_depth=depth))
    said, found = answers(task, "depth", "rely more on early layers")
    assert SAME[said] == found


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_of_specialisation(decided: TaskReport, low: float, high: float) -> None:
    """The semantics, resampled by other settings, say that nothing is decided."""
    assert decided.evidence is not None and decided.semantics is not None
    concentration = decided.evidence.concentration
    shift = replace(concentration.shift, effective_number=estimate(low, high))
    evidence = replace(decided.evidence, concentration=replace(concentration, shift=shift))
    undecided = replace(concentration.shift, effective_number=estimate(-1.0, 1.0))
    semantics = replace(
        decided.semantics,
        shift=replace(
            decided.semantics.shift, concentration=replace(concentration, shift=undecided)
        ),
    )
    task = replace(decided, evidence=evidence, semantics=semantics)
    said, found = answers(task, "specialisation", "spread over more components")
    assert SAME[said] == found


@pytest.mark.parametrize(("low", "high"), INTERVALS[2:])
def test_of_direction(decided: TaskReport, low: float, high: float) -> None:
    assert decided.flow is not None and decided.evidence is not None
    flow = replace(decided.flow, mdm=replace(decided.flow.mdm, overall=estimates(low, high, 3)))
    task = replace(decided, flow=flow, evidence=replace(decided.evidence, direction=flow))
    said, found = answers(task, "direction", "read from its right")
    assert SAME[said] == found


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_of_inheritance(decided: TaskReport, low: float, high: float) -> None:
    assert decided.evidence is not None
    others = tuple(replace(one, difference=estimate(low, high)) for one in decided.other_circuits)
    evidence = replace(decided.evidence, inheritance=estimate(low, high))
    task = replace(decided, other_circuits=others, evidence=evidence)
    said, found = answers(task, "inheritance", "ARM's circuit serve the MDM")
    assert SAME[said] == found


@pytest.mark.parametrize(
    ("ratio", "structure", "differ"),
    [
        ((0.1, 0.4), "rewired", "yes"),
        ((0.5, 0.7), "modest change", "yes"),
        ((0.85, 1.1), "retained", NOT_DECIDED),
        ((np.nan, np.nan), UNDEFINED, UNDEFINED),
    ],
)
def test_of_structure(decided: TaskReport, ratio, structure: str, differ: str) -> None:
    """Classes and a difference are two questions; whatever is not retained differs."""
    overlap = decided.comparison.overlap
    overlap = replace(overlap, ratio=estimates(*ratio, len(overlap.sizes)))
    task = with_comparison(decided, replace(decided.comparison, overlap=overlap))
    assert answers(task, "structure", "sampling noise") == (structure, differ)


def test_the_headline_shows_the_concentration_of_the_verdict(
    decided: TaskReport, report: ReportInput
) -> None:
    assert decided.evidence is not None
    concentration = decided.evidence.concentration
    shift = replace(concentration.shift, effective_number=estimate(0.5, 0.7))
    evidence = replace(decided.evidence, concentration=replace(concentration, shift=shift))
    task = replace(decided, evidence=evidence)
    rows = {row.name: row for group in headline((task,)) for row in group.rows}
    assert rows["Effective number, shift"].cells[0].text == "+0.60"
    assert rows["Specialisation"].cells[0].text == "more distributed"


def test_every_shift_that_is_explained_has_its_cause_in_the_headline(decided: TaskReport) -> None:
    """Two shifts and no control: one open cause, told once."""
    assert decided.evidence is not None
    depth = decided.comparison.circuit_depth
    crossed = estimates(0.1, 0.3, len(CROSS_FITTED))
    depth = replace(depth, source=replace(depth.source, cross_fitted=crossed))
    task = with_comparison(decided, replace(decided.comparison, circuit_depth=depth))
    causes = [one for one in verdict(task.evidence).statements if one.axis == "cause"]
    rows = {row.name: row for group in headline((task,)) for row in group.rows}
    assert "early share shift" in causes[0].sentence
    assert rows["Cause"].cells[0].text == NOT_DECIDED
