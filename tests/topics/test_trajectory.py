from dataclasses import dataclass, replace

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import CircuitShift, ComparisonSettings, circuit_shift
from mechshift.evaluation import CircuitMetrics
from mechshift.flat_records import from_flat, to_flat
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Interval, share_correct
from mechshift.topics.registry import quantities, tracked_quantities
from mechshift.topics.topic import Measured, Quantity
from mechshift.topics.trajectory import Trajectory, TrajectoryPoint, measure_checkpoint

ONE_HEAD = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)

ONE = Estimate(value=1.0, interval=Interval(low=0.5, high=1.5, level=0.95))


@dataclass(frozen=True)
class Member:
    """A checkpoint as the quantities below need it."""

    arm: EdgeScores
    own: EdgeScores
    solved: Estimate
    exchanged: dict[str, CircuitMetrics]
    name: str = "mdm-step-000032"
    settings: ComparisonSettings = ComparisonSettings(
        circuit_size=8, num_resamples=20, num_splits=10, num_shuffles=5, num_exchanges=10
    )

    def shift(self) -> CircuitShift:
        return circuit_shift("ioi", self.arm, self.own, self.settings)

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        return self.arm, self.own

    def flow(self) -> None:
        return None

    def crossed(self) -> dict[str, CircuitMetrics]:
        return self.exchanged

    def accuracy(self) -> Estimate:
        return self.solved


def edge_scores(values: np.ndarray) -> EdgeScores:
    """Of [example, step, edge] values."""
    num_examples, num_steps, _ = values.shape
    nothing = np.zeros((num_examples, num_steps))
    return EdgeScores(
        graph=ONE_HEAD,
        values=values,
        num_steps=np.full(num_examples, num_steps),
        clean_metric=nothing,
        corrupted_metric=nothing,
        input_score=nothing,
    )


def metrics(circuit: float, full: float, empty: float) -> CircuitMetrics:
    """One circuit of three edges on ten examples of one step, all alike but for a ripple."""
    ripple = np.linspace(-0.1, 0.1, 10)[:, None]
    return CircuitMetrics(
        sizes=np.array([3]),
        live_sizes=np.array([3]),
        num_edges=8,
        metric=(circuit + ripple)[None],
        full=full + ripple,
        empty=empty + ripple,
        num_steps=np.ones(10, dtype=np.int64),
    )


@pytest.fixture(scope="module")
def member() -> Member:
    """Ten examples of two steps that are all alike; every edge scores 1 and then 2."""
    ascending = np.broadcast_to(np.arange(1.0, 9.0) / 2, (10, 2, 8))
    level = np.broadcast_to(np.array([1.0, 2.0])[None, :, None], (10, 2, 8))
    return Member(
        arm=edge_scores(ascending.copy()),
        own=edge_scores(level.copy()),
        solved=share_correct(np.array([True, True, True, False]), 4),
        exchanged={
            "own circuit": metrics(3.0, 4.0, 0.0),
            "the ARM's circuit in it": metrics(3.0, 1.0, 1.0),
            "its circuit in the ARM": metrics(1.0, 4.0, 0.0),
        },
    )


def test_todays_quantities_are_followed_in_page_order():
    assert [one.name for one in tracked_quantities()] == [
        "noise-free overlap",
        "likeness by weight",
        "core kept",
        "early share shift",
        "centre of mass shift",
        "early share shift, as read",
        "centre of mass shift, as read",
        "effective components shift",
        "right-to-left share",
        "own circuit",
        "the ARM's circuit in it",
        "its circuit in the ARM",
        "accuracy",
    ]


def test_every_quantity_of_a_verdict_is_followed_over_training():
    by_name = {tracked.name: tracked for tracked in tracked_quantities()}
    assert len(by_name) == len(tracked_quantities())
    for quantity in quantities("members"):
        assert by_name[quantity.name].neutral == quantity.neutral


def test_a_number_is_there_or_has_a_reason_but_not_both():
    assert Measured(estimate=ONE).reason == ""
    assert Measured(reason="too few").estimate is None
    for both_or_neither in ({}, {"estimate": ONE, "reason": "too few"}):
        with pytest.raises(AssertionError):
            Measured(**both_or_neither)


def test_a_checkpoint_is_measured_by_every_tracked_quantity_in_order(member):
    def called(name: str) -> Measured:
        return Measured(reason=f"of {name}")

    tracked = [
        Quantity(
            name=name,
            unit="",
            neutral=None,
            meaning="",
            measure=lambda one, name=name: called(f"{one.name}, {name}"),
        )
        for name in ("second", "first")
    ]
    point = measure_checkpoint(member, training="control", step=32, tracked=tracked)
    assert (point.training, point.step) == ("control", 32)
    assert {name: one.reason for name, one in point.measured.items()} == {
        "second": "of mdm-step-000032, second",
        "first": "of mdm-step-000032, first",
    }
    assert list(point.measured) == ["second", "first"]


def test_a_checkpoints_scores_and_depth_are_its_own_and_not_its_parents(member):
    point = measure_checkpoint(member, training="diffusion", step=32, tracked=())
    np.testing.assert_array_equal(point.scores, np.full(8, 3.0))
    # Of the eight edges `input` writes five: into q, k and v, the MLP and the logits.
    np.testing.assert_allclose(point.share.value, [5 / 8, 3 / 8])


def test_the_accuracy_of_a_checkpoint_is_of_all_examples_that_it_was_asked(member):
    (accuracy,) = (one for one in tracked_quantities() if one.name == "accuracy")
    point = measure_checkpoint(member, training="diffusion", step=32, tracked=[accuracy])
    estimate = point.measured["accuracy"].estimate
    assert estimate is not None and estimate.value == 0.75
    # Wilson's interval for 3 of 4 at 95 %.
    assert estimate.interval.low == pytest.approx(0.3006, abs=1e-4)
    assert estimate.interval.high == pytest.approx(0.9544, abs=1e-4)


def faithfulness_of(member: Member) -> dict[str, Measured]:
    """The three numbers of exchanged circuits by name."""
    tracked = [one for one in tracked_quantities() if one.unit == "faithfulness"]
    return dict(measure_checkpoint(member, training="diffusion", step=32, tracked=tracked).measured)


def test_faithfulness_is_measured_where_full_and_empty_differ_and_explained_where_not(member):
    found = faithfulness_of(member)
    for name, expected in (("own circuit", 0.75), ("its circuit in the ARM", 0.25)):
        estimate = found[name].estimate
        assert estimate is not None and found[name].reason == ""
        np.testing.assert_allclose(estimate.value, expected)
    undefined = found["the ARM's circuit in it"]
    assert undefined.estimate is None
    assert "on 10 examples the full model's metric minus the empty circuit's is 0 to 0" in (
        undefined.reason
    )


def test_a_full_model_no_better_than_its_empty_circuit_has_a_reason_and_no_interval(member):
    noisy = metrics(0.0, 0.0, 0.0)
    alternating = np.where(np.arange(10) % 2, 1.0, -0.9)[:, None]
    noisy = replace(noisy, full=noisy.empty + alternating)
    exchanged = {**member.exchanged, "own circuit": noisy}
    found = faithfulness_of(replace(member, exchanged=exchanged))["own circuit"]
    assert found.estimate is None
    assert "which includes 0. Use more examples or another metric." in found.reason


def test_the_points_of_a_trajectory_have_the_same_quantities(make_trajectory):
    trajectory: Trajectory = make_trajectory("ioi")
    first, *others = trajectory.points
    fewer = {name: one for name, one in first.measured.items() if name != "accuracy"}
    with pytest.raises(AssertionError):
        replace(trajectory, points=(replace(first, measured=fewer), *others))


def test_a_point_is_stored_and_read_back_with_its_reasons(make_trajectory):
    (point,) = (one for one in make_trajectory("ioi").of("diffusion") if one.step == 32)
    again = from_flat(TrajectoryPoint, to_flat(point))
    assert (again.training, again.step) == ("diffusion", 32)
    assert again.measured == point.measured and again.measured["own circuit"].reason
    np.testing.assert_array_equal(again.share.low, point.share.low)
    np.testing.assert_array_equal(again.scores, point.scores)


def test_a_trajectory_gives_its_points_by_training_and_step(make_trajectory):
    trajectory: Trajectory = make_trajectory("ioi")
    assert trajectory.trainings == ("diffusion", "control")
    assert [point.step for point in trajectory.of("diffusion")] == [0, 32, 64, 1000]
    assert [point.step for point in trajectory.of("control")] == [0, 32, 500]
    alone = replace(trajectory, points=trajectory.of("control"))
    assert alone.trainings == ("control",)
