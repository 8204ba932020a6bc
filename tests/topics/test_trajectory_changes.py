"""Changes over training: contrasts by hand, their level over many checkpoints, half-way steps."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.statistics import Estimate, Interval
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.topic import Measured
from mechshift.topics.trajectory_changes import changes, changes_table
from mechshift.topics.trajectory_curves import trajectory_table
from mechshift.topics.trajectory_page import TrajectoryFacts, TrajectoryInput, render_trajectory

QUANTITY = next(one for one in tracked_quantities() if one.name == "early share shift")
STEPS = (0, 10, 30, 100, 300, 1000)
NUM_RESAMPLES = 300


@pytest.fixture(scope="module")
def trajectory_of(make_trajectory):
    """One training whose early share takes these values, from draws [resample, step]."""
    made = make_trajectory("ioi")
    point = made.points[0]

    def trajectory(values, draws):
        points = []
        for step, value, of_step in zip(STEPS, values, draws.T, strict=True):
            low, high = np.quantile(of_step, [0.025, 0.975])
            interval = Interval(low=min(low, value), high=max(high, value), level=0.95)
            one = Measured(estimate=Estimate(value=float(value), interval=interval), draws=of_step)
            measured = {QUANTITY.name: one}
            points.append(replace(point, step=step, training="diffusion", measured=measured))
        return replace(made, points=tuple(points))

    return trajectory


def drawn(generator, truth, *, shared=0.02, own=0.01):
    """Values that scatter around the truth, with a part in common, and resamples around them."""

    def scatter(num_rows):
        common = shared * generator.normal(size=(num_rows, 1))
        return common + own * generator.normal(size=(num_rows, len(truth)))

    values = truth + scatter(1)[0]
    return values, values + scatter(NUM_RESAMPLES)


def test_a_change_is_found_where_and_when_it_comes(trajectory_of):
    truth = np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.2])
    values, draws = drawn(np.random.default_rng(0), truth)
    (change,) = changes(trajectory_of(values, draws), [QUANTITY])
    assert change.steps == STEPS[1:]
    np.testing.assert_allclose(change.contrasts.value, values[1:] - values[0])
    assert change.first_beyond == 100
    # At step 100 the contrast is half of the last, give or take.
    assert change.half_way == (30, 300)
    assert (
        "half of that is reached between steps 30 and 300; step 100 is the first beyond the band"
        in change.words
    )


@pytest.mark.parametrize(
    ("values", "half_way"),
    [
        ([0.0, 0.0, 0.05, 0.15, 0.2, 0.2], (30, 100)),
        ([0.0, 0.15, 0.2, 0.2, 0.2, 0.2], (0, 10)),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.2], (300, 1000)),
        ([0.0, 0.15, 0.0, 0.0, 0.0, 0.2], (0, 10)),  # first reached, whatever comes then
        ([0.0, 0.0, 0.05, np.nan, 0.2, 0.2], (30, 300)),  # and not known where it is undefined
        ([0.0, np.nan, np.nan, np.nan, np.nan, 0.2], None),  # somewhere between the ends
    ],
)
def test_half_way_lies_between_two_checkpoints_and_no_nearer(trajectory_of, values, half_way):
    """Without noise."""
    values = np.array(values)
    draws = np.tile(values, (NUM_RESAMPLES, 1)) + 1e-9 * np.arange(NUM_RESAMPLES)[:, None]
    draws[:, 0] = 0.0
    trajectory = trajectory_of(np.nan_to_num(values), np.nan_to_num(draws))
    points = tuple(
        replace(one, measured={QUANTITY.name: Measured(reason="undefined")})
        if np.isnan(value)
        else one
        for one, value in zip(trajectory.points, values, strict=True)
    )
    (change,) = changes(replace(trajectory, points=points), [QUANTITY])
    assert change.half_way == half_way
    assert ("half of that is reached between" in change.words) == (half_way is not None)
    assert "not decided" not in change.words


def test_of_the_ends_alone_nothing_is_said_of_what_lies_between(trajectory_of):
    values, draws = drawn(np.random.default_rng(0), np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.2]))
    trajectory = trajectory_of(values, draws)
    ends = replace(trajectory, points=(trajectory.points[0], trajectory.points[-1]))
    (change,) = changes(ends, [QUANTITY])
    assert change.half_way is None
    assert "half of that" not in change.words and "beyond the band" not in change.words
    assert "not decided" not in change.words


def test_a_training_in_which_nothing_moves_rarely_leaves_its_band(trajectory_of):
    """Of 100, at most 11 at 5 % in 99 of 100 cases; by the intervals of single steps, far more."""
    generator = np.random.default_rng(1)
    together = single = undecided = 0
    for _ in range(100):
        values, draws = drawn(generator, np.zeros(len(STEPS)))
        (change,) = changes(trajectory_of(values, draws), [QUANTITY])
        together += change.first_beyond is not None
        contrast, of_draws = values[1:] - values[0], draws[:, 1:] - draws[:, :1]
        low, high = np.quantile(of_draws, [0.025, 0.975], axis=0)
        single += bool(((low > 0) | (high < 0)).any() and len(contrast))
        undecided += change.half_way is None
    assert together <= 11 < single
    assert undecided >= 89


def test_bands_of_the_curves_hold_the_line_for_all_checkpoints_at_once(trajectory_of):
    generator = np.random.default_rng(2)
    left = 0
    for _ in range(100):
        values, draws = drawn(generator, np.zeros(len(STEPS)), shared=0.01)
        table = trajectory_table([trajectory_of(values, draws)], [QUANTITY])
        assert (table["band_low"] <= table["low"] + 0.02).all()
        left += bool(((table["band_low"] > 0) | (table["band_high"] < 0)).any())
    assert left <= 11


def test_numbers_without_draws_have_no_contrast_and_undefined_ones_no_interval(trajectory_of):
    values, draws = drawn(np.random.default_rng(3), np.zeros(len(STEPS)))
    draws[3, 2] = np.nan
    trajectory = trajectory_of(values, np.nan_to_num(draws))
    points = list(trajectory.points)
    name = QUANTITY.name
    points[2] = replace(
        points[2], measured={name: replace(points[2].measured[name], draws=draws[:, 2])}
    )
    (change,) = changes(replace(trajectory, points=tuple(points)), [QUANTITY])
    assert change.contrasts.at(1) is None and change.contrasts.at(4) is not None
    table = changes_table([change])
    assert table["low"].null_count() == 1 and len(table) == len(STEPS) - 1
    nothing = [
        replace(one, measured={name: replace(one.measured[name], draws=None)}) for one in points
    ]
    assert changes(replace(trajectory, points=tuple(nothing)), [QUANTITY]) == ()


def test_the_page_says_what_changed_and_its_table_lies_beside_it(trajectory_of):
    values, draws = drawn(np.random.default_rng(0), np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.2]))
    facts = TrajectoryFacts(arm_name="a", config={}, versions={}, weights={})
    trajectory = trajectory_of(values, draws)
    shown = TrajectoryInput(
        tasks=(trajectory,), tracked=(QUANTITY,), descriptions={"ioi": ""}, facts=facts
    )
    made = render_trajectory(shown)
    (change,) = changes(trajectory, [QUANTITY])
    assert "When did it change?" in made.page and change.words in made.page
    assert 'href="ioi-changes.csv"' in made.page
    assert made.texts["ioi-changes.csv"].count("\n") == len(STEPS)
