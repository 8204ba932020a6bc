"""Each rule on records whose intervals lie where the rule says."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.report import TaskReport
from mechshift.report.component_findings import component_findings
from mechshift.report.finding import Finding
from mechshift.statistics import Estimate, Estimates, Interval


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def finding(task: TaskReport, words: str) -> Finding:
    (found,) = [one for one in component_findings(task) if words in one.question]
    return found


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.06, 0.4, "yes"), (0.04, 0.06, "not decided"), (0.0, 0.04, "hardly")],
)
def test_the_mdm_reads_from_its_right_where_a_twentieth_certainly_comes_from_there(
    countdown: TaskReport, low: float, high: float, verdict: str
) -> None:
    assert countdown.flow is not None
    middle = (low + high) / 2
    overall = Estimates(
        value=np.array([middle, 0.0, 1 - middle]),
        low=np.array([low, 0.0, 1 - high]),
        high=np.array([high, 0.0, 1 - low]),
        level=0.95,
    )
    flow = replace(countdown.flow, mdm=replace(countdown.flow.mdm, overall=overall))
    found = finding(replace(countdown, flow=flow), "from its right")
    assert found.verdict == verdict
    assert f"{middle:.2f} [{low:.2f}, {high:.2f}] of what flows" in found.sentence
    assert "0.00 of the ARM's" in found.sentence and "Above 0.05 counts" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "spread", "says"),
    [
        (0.1, 0.3, "yes, more distributed", "yes, less"),
        (-0.1, 0.3, "not decided", "not decided"),
        (-0.3, -0.1, "no, sharper", "no, more"),
    ],
)
def test_a_shift_decides_only_where_its_interval_leaves_out_zero(
    countdown: TaskReport, low: float, high: float, spread: str, says: str
) -> None:
    semantics = countdown.semantics
    assert semantics is not None
    concentration, alignment = semantics.shift.concentration, semantics.shift.alignment
    moved = replace(concentration.shift, effective_number=estimate(low, high))
    ranked = replace(alignment.shift.weighted, log10_rank=estimate(low, high))
    shift = replace(
        semantics.shift,
        concentration=replace(concentration, shift=moved),
        alignment=replace(alignment, shift=replace(alignment.shift, weighted=ranked)),
    )
    task = replace(countdown, semantics=replace(semantics, shift=shift))
    assert finding(task, "spread over more").verdict == spread
    assert finding(task, "say less of the answer").verdict == says
    # The rank itself is told, and not its logarithm.
    rank = 10**alignment.mdm.weighted.log10_rank.value
    assert f"at rank {rank:.1f} in the MDM" in finding(task, "say less of the answer").sentence


def test_nothing_is_said_of_what_was_not_computed(ioi: TaskReport) -> None:
    assert component_findings(ioi) == ()
