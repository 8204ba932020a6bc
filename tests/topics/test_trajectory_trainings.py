"""Trainings of either kind over steps: Welch's interval where examples vary by nothing."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mechshift.statistics import Estimate, Interval
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.topic import Measured
from mechshift.topics.trajectory import (
    TRAINING_KINDS,
    training_kind,
    training_name,
    training_place,
    training_title,
)
from mechshift.topics.trajectory_page import TrajectoryFacts, TrajectoryInput, render_trajectory
from mechshift.topics.trajectory_trainings import differences, differences_table

QUANTITY = next(one for one in tracked_quantities() if one.name == "early share shift")
STEPS = (10, 100, 1000)
NUM_RESAMPLES = 50
NOTHING = np.zeros(NUM_RESAMPLES)


def measured(value, noise=NOTHING):
    interval = Interval(low=value - 0.1, high=value + 0.1, level=0.95)
    estimate = Estimate(value=float(value), interval=interval)
    return {QUANTITY.name: Measured(estimate=estimate, draws=value + noise)}


@pytest.fixture(scope="module")
def trajectory_of(make_trajectory):
    """Trainings whose early share takes these values [kind, training, step], from the parent's 0.

    Draws scatter with `noise` [resample], the same in all of them.
    """
    made = make_trajectory("ioi")
    point = made.points[0]

    def trajectory(values, noise=NOTHING):
        points = []
        for kind, of_kind in zip(TRAINING_KINDS, values, strict=True):
            points.append(replace(point, training=kind, step=0, measured=measured(0.0)))
            for number, of_training in enumerate(of_kind, start=1):
                points += [
                    replace(
                        point,
                        training=training_name(kind, number),
                        step=step,
                        measured=measured(value, noise),
                    )
                    for step, value in zip(STEPS, of_training, strict=True)
                ]
        return replace(made, points=tuple(points))

    return trajectory


def test_without_noise_of_examples_it_is_welchs_interval_at_a_level_for_all_steps(trajectory_of):
    values = np.random.default_rng(0).normal(size=(2, 4, 3))
    values[0] += np.array([0.0, 3.0, 9.0])
    (found,) = differences(trajectory_of(values), [QUANTITY])
    assert found.steps == STEPS and found.num_trainings == ((4, 4),) * 3
    for place, one in enumerate(found.differences):
        welch = stats.ttest_ind(*values[:, :, place], equal_var=False)
        expected = welch.confidence_interval(1 - 0.05 / 3)
        assert one.value == pytest.approx(values[0, :, place].mean() - values[1, :, place].mean())
        assert (one.interval.low, one.interval.high) == pytest.approx(expected)
    assert "after 1,000 steps it differs by" in found.words and "first does after" in found.words
    table = differences_table([found])
    assert table.columns == ["quantity", "step", *TRAINING_KINDS, "difference", "low", "high"]
    assert table["step"].to_list() == list(STEPS)


def test_trainings_that_differ_by_chance_alone_are_rarely_told_apart_at_any_step(trajectory_of):
    """200 runs: at a level of .05 for all steps together no more than 18, in 99 of 100."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        values = generator.normal(size=(2, 3, 1)) + 0.3 * generator.normal(size=(2, 3, 3))
        (found,) = differences(
            trajectory_of(values, 0.3 * generator.normal(size=NUM_RESAMPLES)), [QUANTITY]
        )
        wrong += any(one.excludes(0.0) for one in found.differences)
    assert wrong <= 18


def test_two_trainings_of_a_kind_say_nothing_of_it(trajectory_of):
    values = np.random.default_rng(0).normal(size=(2, 3, 3))
    several = trajectory_of(values)
    points = [one for one in several.points if one.training != "control-3"]
    assert differences(replace(several, points=tuple(points)), [QUANTITY]) == ()
    # Nor do three of which one has another number of steps; the other steps are compared.
    points = [one for one in several.points if (one.training, one.step) != ("control-3", 100)]
    (found,) = differences(replace(several, points=tuple(points)), [QUANTITY])
    assert found.steps == (10, 1000)


def test_an_undefined_number_leaves_the_step_open(trajectory_of):
    several = trajectory_of(np.random.default_rng(0).normal(size=(2, 3, 3)))
    undefined = {QUANTITY.name: Measured(reason="nothing")}
    points = [
        replace(one, measured=undefined) if (one.training, one.step) == ("control-2", 1000) else one
        for one in several.points
    ]
    (found,) = differences(replace(several, points=tuple(points)), [QUANTITY])
    assert found.num_trainings[-1] == (3, 2) and found.differences[-1] is None
    assert found.words.endswith("undefined at the end.")
    assert differences_table([found])["difference"].null_count() == 1


def test_trainings_are_named_by_kind_and_number():
    names = [training_name(kind, number) for kind in TRAINING_KINDS for number in (1, 2, 12)]
    with_diffusion = ["diffusion", "diffusion-2", "diffusion-12"]
    assert names == [*with_diffusion, "control", "control-2", "control-12"]
    assert sorted(reversed(names), key=training_place) == names
    assert [training_kind(name) for name in names[2:4]] == ["diffusion", "control"]
    assert training_title("control-2") == "control: the ARM's own objective (training 2)"


def test_a_further_training_begins_at_the_parent_and_is_a_thin_line(trajectory_of):
    several = trajectory_of(np.random.default_rng(0).normal(size=(2, 3, 3)))
    assert several.trainings == tuple(
        training_name(kind, number) for kind in TRAINING_KINDS for number in (1, 2, 3)
    )
    first = several.of("control-2")[0]
    assert (first.training, first.step) == ("control-2", 0)
    # One that kept its ends alone is not drawn step by step.
    points = [one for one in several.points if one.training != "diffusion-2" or one.step == 1000]
    ends = replace(several, points=tuple(points))
    assert [one.step for one in ends.of("diffusion-2")] == [0, 1000]
    assert "diffusion-2" not in ends.followed and "diffusion-3" in ends.followed


def test_the_page_shows_lines_differences_and_their_table(trajectory_of):
    values = np.random.default_rng(0).normal(size=(2, 3, 3)) * 0.01
    values[0] += 0.5
    facts = TrajectoryFacts(arm_name="arm", config={}, versions={}, weights={})
    rendered = render_trajectory(
        TrajectoryInput(
            tasks=(trajectory_of(values),),
            tracked=(QUANTITY,),
            descriptions={"ioi": ""},
            facts=facts,
        )
    )
    assert "What does diffusion do that the control does not?" in rendered.page
    assert "thin: further seeds" in rendered.page
    table = pl.read_csv(rendered.texts["ioi-trainings.csv"].encode())
    assert table["difference"].to_list() == pytest.approx(
        values[0].mean(axis=0) - values[1].mean(axis=0)
    )
