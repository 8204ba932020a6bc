"""Flow from right to left: what decides, and that figure and table show the record's numbers."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.attribution import PositionFlow
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import ComparisonSettings, DirectionOfFlow
from mechshift.denoising import GENERAL_SPANS
from mechshift.flat_records import from_flat, to_flat
from mechshift.page.formats import Cell, estimate_cell
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.flow import (
    FLOW,
    SHARE,
    right_to_left,
    right_to_left_table,
)
from mechshift.topics.topic import Measured, StoredMember, StoredTask, TaskResults


class Member(StoredMember):
    """A member with these flows and nothing else."""

    name = "other"
    settings = ComparisonSettings(num_resamples=40)

    def __init__(self, flows: tuple[PositionFlow, PositionFlow] | None) -> None:
        self.flows = flows

    def flow(self) -> tuple[PositionFlow, PositionFlow] | None:
        return self.flows


class OneTraced(StoredTask):
    """A task on which the ARM's flow alone was traced."""

    task = "ioi"
    settings = ComparisonSettings()

    def flow(self, member: str) -> PositionFlow | None:
        return even_flow(0.0) if member == "arm" else None


def even_flow(right_to_left: float) -> PositionFlow:
    """Twelve examples of one step; so much of what flows in each goes from right to left."""
    shapes = part_shapes(3, 1 + len(GENERAL_SPANS))
    arrays = {name: np.ones((12, 1, *shape)) for name, shape in shapes.items()}
    shares = np.array([right_to_left, 0.0, 1 - right_to_left])
    arrays["by_direction"] = np.broadcast_to(shares, arrays["by_direction"].shape)
    return PositionFlow(
        spans=("IO", *GENERAL_SPANS),
        num_steps=np.ones(12, dtype=int),
        clean_metric=np.zeros((12, 1)),
        corrupted_metric=np.zeros((12, 1)),
        **arrays,
    )


def measure(flows: tuple[PositionFlow, PositionFlow] | None) -> Measured:
    (quantity,) = FLOW.quantities
    return quantity.measure(Member(flows))


def with_share(task: TaskResults, measured: Measured) -> TaskResults:
    return replace(task, mdm=replace(task.mdm, measured={**task.mdm.measured, SHARE: measured}))


@pytest.fixture
def direction(results: dict[str, TaskResults]) -> DirectionOfFlow:
    """Of two steps; the second is on too few examples for an interval."""
    found = FLOW.of(results["infilling"])
    assert found is not None and len(found.step_num_examples) == 2
    sides = {}
    for side in ("arm", "mdm"):
        by_step = getattr(found, side).by_step
        low, high = by_step.low.copy(), by_step.high.copy()
        low[1] = high[1] = np.nan
        sides[side] = replace(getattr(found, side), by_step=replace(by_step, low=low, high=high))
    return replace(found, step_num_examples=np.array([12, 9]), **sides)


@pytest.mark.parametrize(
    ("low", "high", "answer", "verdict"),
    [
        (0.06, 0.4, "yes", "reads from the right"),
        (0.04, 0.06, "not decided", "not decided"),
        (0.0, 0.04, "hardly", "hardly reads from the right"),
    ],
)
def test_the_mdm_reads_from_its_right_where_a_twentieth_certainly_comes_from_there(
    results: dict[str, TaskResults], low: float, high: float, answer: str, verdict: str
) -> None:
    """The same for the verdict, the answer in words and the headline."""
    middle = (low + high) / 2
    share = Estimate(value=middle, interval=Interval(low=low, high=high, level=0.95))
    task = with_share(results["ioi"], Measured(estimate=share))
    (finding,) = FLOW.findings(task)
    assert finding.verdict == answer
    assert f"{middle:.2f} [{low:.2f}, {high:.2f}] of what flows" in finding.sentence
    assert "0.00 of the ARM's" in finding.sentence and "Above 0.05 counts" in finding.sentence
    (rule,) = FLOW.rules
    (statement,) = rule.decide(task)
    assert (statement.axis, statement.verdict) == ("direction", verdict)
    assert statement.sentence == (
        f"From right to left runs {middle:.2f} [{low:.2f}, {high:.2f}] of the MDM's flow:"
        f" {verdict}."
    )
    (row,) = FLOW.headline
    assert row.cell(task) == estimate_cell(share)


def test_a_quarter_from_right_to_left_is_a_quarter_on_every_resample() -> None:
    measured = measure((even_flow(0.0), even_flow(0.25)))
    assert measured.estimate is not None and measured.draws is not None
    interval = measured.estimate.interval
    assert (measured.estimate.value, interval.low, interval.high) == pytest.approx(3 * (0.25,))
    np.testing.assert_allclose(measured.draws, np.full(40, 0.25))


def test_the_draws_are_those_of_the_interval_and_the_number_that_of_the_record(
    results: dict[str, TaskResults],
) -> None:
    measured, found = results["ioi"].mdm.measured[SHARE], FLOW.of(results["ioi"])
    assert found is not None and measured.estimate is not None and measured.draws is not None
    assert measured.estimate == found.mdm.overall.at(0)
    draws = measured.draws - measured.draws.mean() + measured.estimate.value
    interval = measured.estimate.interval
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))


def test_without_flow_the_share_is_missing_with_its_reason(
    results: dict[str, TaskResults],
) -> None:
    measured = measure(None)
    assert measured.reason == "flow between positions was not traced"
    task = with_share(replace(results["ioi"], records={}), measured)
    assert not FLOW.findings(task) and not FLOW.exhibits(task)
    assert FLOW.headline[0].cell(task) == Cell(text="not measured")
    (statement,) = FLOW.rules[0].decide(task)
    assert (statement.verdict, statement.sentence) == ("not measured", "Direction: not measured.")


def test_a_record_needs_the_flow_of_both_models() -> None:
    assert FLOW.conclude is not None
    assert FLOW.conclude(OneTraced()) is None


def test_the_record_comes_back_from_its_parts(direction: DirectionOfFlow) -> None:
    again = from_flat(DirectionOfFlow, to_flat(direction))
    assert again.spans == direction.spans
    np.testing.assert_array_equal(again.mdm.overall_draws, direction.mdm.overall_draws)


def test_the_definition_is_that_of_the_run() -> None:
    (definition,) = FLOW.method({"flow": {"metric": "log_prob", "ig_steps": 9, "rule": "right"}})
    assert "averaged over 9 points (rule “right”), whichever method" in definition.meaning
    assert FLOW.method({"semantics": {}}) == ()


def test_shares_from_right_to_left_have_curves_by_layer_and_by_step(
    direction: DirectionOfFlow,
) -> None:
    figure = right_to_left(direction).to_plotly()
    for name, shares in (("ARM", direction.arm), ("MDM", direction.mdm)):
        layers, steps = (
            next(t for t in figure.data if t.name == name and t.xaxis == axis)
            for axis in ("x", "x2")
        )
        np.testing.assert_array_equal(layers.y, shares.by_layer.value)
        np.testing.assert_array_equal(steps.y, shares.by_step.value)
        np.testing.assert_allclose(steps.y[:1] + steps.error_y.array[:1], shares.by_step.high[:1])
        assert np.isnan(steps.error_y.array[1])
        assert [t.name for t in figure.data].count(f"{name} interval") == 1
    assert not any(next(t for t in figure.data if t.name == "ARM").y)
    assert "ARM 0.0%, MDM" in figure.layout.title.subtitle.text


def test_the_direction_table_holds_both_models_and_their_difference(
    direction: DirectionOfFlow,
) -> None:
    table = right_to_left_table(direction)
    assert len(table) == 3 * (3 + 2 + 6 + 2)
    mdm = table.filter(pl.col("model") == "mdm")
    whole = mdm.filter(pl.col("of") == "overall")
    assert whole["entry"].to_list() == ["right-to-left", "same-position", "left-to-right"]
    assert whole["share"].to_list() == direction.mdm.overall.value.tolist()
    shift = table.filter((pl.col("model") == "mdm - arm") & (pl.col("of") == "layer"))
    assert shift["high"].to_list() == direction.shift.by_layer.high.tolist()
    assert mdm.filter((pl.col("of") == "step") & (pl.col("entry") == "1"))["low"].to_list() == [
        None
    ]


def test_a_share_of_nothing_is_left_empty_in_the_table(direction: DirectionOfFlow) -> None:
    nothing = np.full(2, np.nan)
    by_kind = Estimates(value=nothing, low=nothing, high=nothing, level=0.95)
    table = right_to_left_table(replace(direction, mdm=replace(direction.mdm, by_kind=by_kind)))
    kinds = table.filter((pl.col("model") == "mdm") & (pl.col("of") == "kind"))
    assert kinds["share"].to_list() == [None, None]
