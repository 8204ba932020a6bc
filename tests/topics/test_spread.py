"""Spread over components: what is planted is found, and the figure shows the record's numbers."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import ComparisonSettings
from mechshift.flat_records import from_flat, to_flat
from mechshift.page.formats import Cell, estimate_cell
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.semantics import ConcentrationShift
from mechshift.statistics import Estimate, Interval
from mechshift.testing import Noise, planted_pair
from mechshift.topics.spread import (
    SHIFT,
    SPREAD,
    Spread,
    caution,
    concentration_bars,
    concentration_bars_table,
)
from mechshift.topics.topic import Measured, StoredMember, TaskResults


class Member(StoredMember):
    """A member with these scores and nothing else."""

    name = "other"
    settings = ComparisonSettings(num_resamples=100)

    def __init__(self, arm: EdgeScores, own: EdgeScores) -> None:
        self.arm, self.own = arm, own

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        return self.arm, self.own


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def with_shift(task: TaskResults, measured: Measured) -> TaskResults:
    return replace(task, mdm=replace(task.mdm, measured={**task.mdm.measured, SHIFT: measured}))


def measure(arm: EdgeScores, own: EdgeScores) -> Measured:
    (quantity,) = SPREAD.quantities
    return quantity.measure(Member(arm, own))


def decided(task: TaskResults) -> str:
    (rule,) = SPREAD.rules
    (statement,) = rule.decide(task)
    assert statement.axis == rule.axis == "specialisation"
    return statement.verdict


@pytest.fixture
def record(results: dict[str, TaskResults]) -> Spread:
    found = SPREAD.of(results["ioi"])
    assert found is not None
    return found


@pytest.fixture
def spread(record: Spread) -> ConcentrationShift:
    return record.concentration


@pytest.mark.parametrize(
    ("plant", "verdict"),
    [
        ("identical", "not decided"),
        ("moved", "not decided"),
        ("rewired", "not decided"),
        ("distributed", "more distributed"),
    ],
)
def test_a_verdict_finds_what_was_planted_and_nothing_else(
    results: dict[str, TaskResults], plant: str, verdict: str
) -> None:
    pair = planted_pair(plant, noise=Noise(own=0.5))
    assert decided(with_shift(results["ioi"], measure(pair.arm, pair.mdm))) == verdict


def test_three_more_equal_components_are_a_shift_of_three_on_every_resample() -> None:
    """All of the ARM's score leaves one head; the MDM's leaves four components in equal parts."""
    pair = planted_pair("identical", num_examples=12)
    graph, sides = pair.arm.graph, []
    for nodes in (("a0.h0",), ("a0.h0", "a1.h1", "m2", "a5.h0")):
        values = np.zeros_like(pair.arm.values)
        for node in nodes:
            values[..., graph.edge_index(f"{node}->logits")] = 2.0
        # What `input` sends is left out, however much it is.
        values[..., graph.edge_index("input->logits")] = 50.0
        sides.append(replace(pair.arm, values=values))
    measured = measure(*sides)
    assert measured.estimate is not None and measured.draws is not None
    assert measured.estimate.value == pytest.approx(3)
    np.testing.assert_allclose(measured.draws, np.full(100, 3.0))


def test_the_draws_are_those_of_the_interval_and_the_number_that_of_the_record(
    results: dict[str, TaskResults], record: Spread
) -> None:
    measured = results["ioi"].mdm.measured[SHIFT]
    draws, found = measured.draws, measured.estimate
    assert draws is not None and found is not None and found == record.noise_free.shift
    assert measured.caution == caution(record.noise_free)
    low, high = np.percentile(draws - draws.mean() + found.value, [2.5, 97.5])
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("low", "high", "answer", "verdict"),
    [
        (0.1, 0.3, "yes, more distributed", "more distributed"),
        (-0.1, 0.3, "not decided", "not decided"),
        (-0.3, -0.1, "no, sharper", "sharper"),
    ],
)
def test_a_shift_decides_only_where_its_interval_leaves_out_zero(
    results: dict[str, TaskResults], low: float, high: float, answer: str, verdict: str
) -> None:
    """The same for the verdict, the answer in words and the headline."""
    shift = estimate(low, high)
    task = with_shift(results["ioi"], Measured(estimate=shift))
    (finding,) = SPREAD.findings(task)
    assert (finding.verdict, decided(task)) == (answer, verdict)
    assert f"the difference is {shift.value:+.2f}".replace("-", "\u2212") in finding.sentence
    note = "not decided" if verdict == "not decided" else ""
    assert SPREAD.headline[2].cell(task) == estimate_cell(shift, signed=True, note=note)


def test_the_headline_has_the_effective_numbers_of_both_models(
    results: dict[str, TaskResults], record: Spread
) -> None:
    cells = {row.name: row.cell(results["ioi"]) for row in SPREAD.headline}
    arm, mdm = record.noise_free.arm, record.noise_free.mdm
    assert arm is not None and cells["Effective number, ARM"] == estimate_cell(arm)
    assert mdm is not None and cells["Effective number, MDM"] == estimate_cell(mdm)


def test_nothing_is_decided_of_models_that_are_not_equally_noisy(
    results: dict[str, TaskResults],
) -> None:
    """Or that say the opposite once they are, however clear the interval is."""
    pair = planted_pair("distributed", noise=Noise(own=0.5, mdm_factor=3.0))
    measured = measure(pair.arm, pair.mdm)
    assert re.fullmatch(
        r"relative noise is 0\.\d\d in the ARM and 0\.\d\d in the other, more than 1.5 times apart",
        measured.caution,
    )
    task = with_shift(results["ioi"], replace(measured, estimate=estimate(0.5, 1.0)))
    (finding,) = SPREAD.findings(task)
    assert decided(task) == finding.verdict == "not decided"
    assert measured.caution in finding.sentence
    assert SPREAD.headline[2].cell(task).note == "not decided"


def test_a_shift_that_turns_at_equal_noise_is_not_decided(record: Spread) -> None:
    found = replace(
        record.noise_free,
        shift=estimate(0.1, 0.3),
        shift_at_equal_noise=-0.05,
        arm_noise=0.1,
        mdm_noise=0.14,
    )
    assert caution(found) == "with both models equally noisy the difference is \u22120.05"
    assert caution(replace(found, shift_at_equal_noise=0.05)) == ""
    assert caution(replace(found, mdm_noise=0.16)).startswith("relative noise is 0.10")


def test_nothing_is_said_of_what_was_not_computed(results: dict[str, TaskResults]) -> None:
    task = replace(results["ioi"], records={})
    assert not SPREAD.findings(task) and not SPREAD.exhibits(task)
    assert SPREAD.headline[0].cell(task) == Cell(text="not measured")


def test_the_record_comes_back_from_its_parts(record: Spread) -> None:
    again = from_flat(Spread, to_flat(record))
    assert again.concentration.shift.gini == record.concentration.shift.gini
    assert again.noise_free.shift == record.noise_free.shift


def test_concentration_is_drawn_for_both_models_with_intervals(spread: ConcentrationShift) -> None:
    figure = concentration_bars(spread).to_plotly()
    assert [(trace.name, trace.marker.color) for trace in figure.data] == 2 * [
        ("ARM", ARM_COLOUR),
        ("MDM", MDM_COLOUR),
    ]
    arm = spread.arm
    assert list(figure.data[0].y) == [
        arm.gini.value,
        arm.top_1_share.value,
        arm.top_10_share.value,
    ]
    assert list(figure.data[2].y) == [arm.effective_number.value]
    bar = figure.data[3].error_y
    interval = spread.mdm.effective_number.interval
    assert bar.array[0] + bar.arrayminus[0] == pytest.approx(interval.high - interval.low)
    # Six layers of four heads and an MLP.
    assert figure.layout.yaxis2.title.text == "components of 30"


def test_the_concentration_table_holds_the_paired_shift(spread: ConcentrationShift) -> None:
    table = concentration_bars_table(spread)
    assert len(table) == 4 * 3
    row = table.filter((pl.col("measure") == "gini") & (pl.col("side") == "shift")).to_dicts()[0]
    assert row["value"] == spread.shift.gini.value
    assert row["low"] == spread.shift.gini.interval.low
