"""Numbers of denoising steps: lines show the record's numbers, and how the record comes about."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from mechshift.comparison import NumStepsSweep, sweep_over_num_steps
from mechshift.flat_records import from_flat, to_flat
from mechshift.run.step_sweep import sweep_point
from mechshift.run.stored import RunTask
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.num_steps import (
    NUM_STEPS,
    NumSteps,
    num_steps_sweep,
    num_steps_sweep_table,
    one_token_note,
    table_of_sweeps,
)
from mechshift.topics.registry import not_done
from mechshift.topics.spread import SPREAD
from mechshift.topics.topic import SweepPoint, TaskResults


def shifts(first: float) -> Estimates:
    """Of two points: four different numbers each, and an interval of 1 to either side."""
    value = first + np.arange(8.0).reshape(2, 4)
    return Estimates(value=value, low=value - 1, high=value + 1, level=0.95)


@pytest.fixture
def sweep(infilling: TaskResults) -> NumStepsSweep:
    """Its shifts are made by hand."""
    few, many = (
        Estimate(value=value, interval=Interval(low=value - 1, high=value + 1, level=0.95))
        for value in (1.5, -2.5)
    )
    comparison = infilling.comparison
    found = sweep_over_num_steps({1: comparison, 8: comparison}, {1: few, 8: many})
    return replace(found, source=shifts(0.0), destination=shifts(10.0))


def test_the_models_are_drawn_against_the_number_of_steps(sweep: NumStepsSweep) -> None:
    """`CROSS_FITTED` has the early share first and the centre of mass last."""
    figure = num_steps_sweep(sweep).to_plotly()
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


def test_the_table_of_a_sweep_has_a_row_for_each_number_of_steps(sweep: NumStepsSweep) -> None:
    table = num_steps_sweep_table(sweep)
    assert table["num_steps"].to_list() == [1, 8]
    assert table["overlap_low"].to_list() == sweep.overlap.low.tolist()
    assert table["source_centre_of_mass_low"].to_list() == [2, 6]
    assert table["destination_early_share_high"].to_list() == [11, 15]
    assert table["effective_number_high"].to_list() == [2.5, -1.5]
    nothing = replace(sweep, destination=shifts(np.nan), effective_number=None)
    undefined = num_steps_sweep_table(nothing)
    assert undefined["destination_early_share"].null_count() == 2
    assert "effective_number" not in undefined.columns


def test_without_concentration_a_sweep_has_a_panel_less(infilling: TaskResults) -> None:
    figure = num_steps_sweep(sweep_over_num_steps({2: infilling.comparison})).to_plotly()
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}


@dataclass(frozen=True, kw_only=True)
class Swept(RunTask):
    """A task of the small run that was swept: with 2 steps, which its pool has, and with 1."""

    points: dict[int, SweepPoint]

    def swept(self) -> dict[int, SweepPoint]:
        return self.points


@pytest.fixture
def swept(small_run) -> Swept:
    """With 1 step the MDM is as the ARM."""
    stored = RunTask(run=small_run, task="infilling")
    arm, mdm = stored.scores("arm"), stored.scores("mdm")
    points = {
        steps: sweep_point("infilling", arm, other, stored.settings)
        for steps, other in ((2, mdm), (1, arm))
    }
    return Swept(run=small_run, task="infilling", points=points)


def concluded(stored) -> NumSteps | None:
    assert NUM_STEPS.conclude is not None
    return NUM_STEPS.conclude(stored)


def test_the_point_of_the_pools_own_steps_is_the_comparison(
    swept: Swept, infilling: TaskResults
) -> None:
    record = concluded(swept)
    assert record is not None and record.sweep is not None
    assert record.longest_target == 2
    sweep, comparison = record.sweep, infilling.comparison
    assert sweep.depth.points.tolist() == [1, 2]
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert sweep.overlap.value.tolist() == [1.0, comparison.overlap.edges.value[index]]
    spread = SPREAD.of(infilling)
    assert spread is not None and sweep.effective_number is not None
    assert sweep.effective_number.at(0) == Estimate(
        value=0.0, interval=Interval(low=0.0, high=0.0, level=0.95)
    )
    assert sweep.effective_number.at(1) == spread.concentration.shift.effective_number
    task = replace(infilling, records={**infilling.records, "num-steps": record})
    (shown,) = NUM_STEPS.exhibits(task)
    assert shown.name == "num-steps"
    assert shown.table["num_steps"].to_list() == [1, 2]
    assert NUM_STEPS.notes(task) == ()
    assert not [one for one in not_done((task,)) if "steps" in one]


def test_a_record_with_and_without_a_sweep_can_be_stored(swept: Swept) -> None:
    for record in (concluded(swept), NumSteps(longest_target=1, sweep=None)):
        assert record is not None
        read = from_flat(NumSteps, to_flat(record))
        assert read.longest_target == record.longest_target
        assert (read.sweep is None) == (record.sweep is None)
        if read.sweep is not None and record.sweep is not None:
            np.testing.assert_array_equal(read.sweep.ratio.value, record.sweep.ratio.value)
            assert num_steps_sweep_table(read.sweep).equals(num_steps_sweep_table(record.sweep))


def test_a_task_of_single_tokens_has_nothing_to_sweep_over_and_says_so(
    small_run, ioi: TaskResults, infilling: TaskResults
) -> None:
    record = concluded(RunTask(run=small_run, task="ioi"))
    assert record is not None
    assert (record.longest_target, record.sweep) == (1, None)
    assert NUM_STEPS.exhibits(ioi) == ()
    assert NUM_STEPS.notes(ioi) == (
        "The targets of ioi are single tokens, so there is one number of denoising steps, 1, and"
        " nothing to sweep over.",
    )
    assert one_token_note(["ioi", "greater-than"]).startswith("The targets of ioi, greater-than")
    assert NUM_STEPS.notes(infilling) == ()


def test_a_task_that_could_be_swept_and_was_not_is_named(
    small_run, ioi: TaskResults, infilling: TaskResults
) -> None:
    assert concluded(RunTask(run=small_run, task="infilling")) is None
    assert (
        "Numbers of denoising steps were not compared on infilling: `mechshift sweep RUN` does it."
        in not_done((ioi, infilling))
    )


def test_the_table_for_a_terminal_has_few_columns(sweep: NumStepsSweep) -> None:
    table = table_of_sweeps([sweep, sweep])
    assert table.columns == [
        *("task", "steps", "overlap", "of ceiling", "early share", "components")
    ]
    assert table["early share"].to_list() == [0, 4] * 2
    assert table["components"].to_list() == [1.5, -2.5] * 2
    assert table_of_sweeps([]).is_empty()
