"""Sweeps are on the page where they have something to show, and behind one line."""

from dataclasses import replace

import numpy as np
import pytest
from mechshift.report import ReportInput, TaskReport, render_report
from mechshift.report.sweep_exhibits import FOLD, sweep_exhibits

from mechshift.comparison import compare
from mechshift.testing import Noise, planted_pair


@pytest.fixture(scope="module")
def halved(ioi: TaskReport) -> TaskReport:
    """Moved by two layers, without noise; twenty examples, so that each half can be resampled."""
    pair = planted_pair("moved", num_examples=20, noise=Noise(own=0.0))
    settings = replace(ioi.comparison.settings, circuit_size=10, sizes=(10,))
    return replace(ioi, comparison=compare("ioi", pair.arm, pair.mdm, settings))


def test_halves_too_small_to_resample_have_no_figure_but_a_reason(
    countdown: TaskReport, report: ReportInput
) -> None:
    assert [one.name for one in sweep_exhibits(countdown)] == ["size-sweep", "step-sweep"]
    assert "half 1, 2: no shift in depth, or no interval; fewer than 10" in render_report(report)


def test_halves_that_can_be_resampled_are_shown(halved: TaskReport) -> None:
    shown = {one.name: one for one in sweep_exhibits(halved)}
    assert list(shown) == ["size-sweep", "half-sweep"]
    centres = shown["half-sweep"].table.filter(side="source")["centre_of_mass"]
    np.testing.assert_allclose(centres, -2, atol=1e-9)


def test_all_sweeps_of_a_task_lie_behind_one_line(report: ReportInput) -> None:
    assert {one.fold for task in report.tasks for one in sweep_exhibits(task)} == {FOLD}
    assert render_report(report).count(f"<summary>{FOLD}</summary>") == len(report.tasks)
