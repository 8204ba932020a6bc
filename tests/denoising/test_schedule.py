import numpy as np
import pytest

from mechshift.denoising import Schedule, left_to_right, random_order, schedule_from_orders
from mechshift.denoising.schedule import step_sizes
from mechshift.errors import DenoisingError


@pytest.mark.parametrize(
    ("num_targets", "num_steps", "sizes"),
    [
        (5, None, [1, 1, 1, 1, 1]),
        (5, 1, [5]),
        (5, 2, [3, 2]),
        (5, 3, [2, 2, 1]),
        (5, 5, [1, 1, 1, 1, 1]),
        (5, 9, [1, 1, 1, 1, 1]),
        (1, 4, [1]),
    ],
)
def test_tokens_are_split_evenly_and_the_first_steps_take_the_rest(num_targets, num_steps, sizes):
    assert step_sizes(num_targets, num_steps) == sizes


def test_left_to_right_commits_the_leftmost_tokens_first():
    schedule = left_to_right([3, 1, 5], 2)
    assert schedule.commit_step.tolist() == [
        [0, 0, 1, -1, -1],
        [0, -1, -1, -1, -1],
        [0, 0, 0, 1, 1],
    ]
    assert schedule.num_steps == 2
    assert schedule.example_num_steps.tolist() == [2, 1, 2]
    assert schedule.example_num_targets.tolist() == [3, 1, 5]


def test_an_order_says_which_positions_come_first():
    schedule = schedule_from_orders([[2, 0, 1], [1, 0]], None)
    assert schedule.commit_step.tolist() == [[1, 2, 0], [1, 0, -1]]


def test_a_random_order_commits_every_token_once_and_depends_on_row_and_seed_only():
    lengths = [6, 6, 4]
    schedule = random_order(lengths, seed=3)
    for steps, length in zip(schedule.commit_step, lengths, strict=True):
        assert sorted(steps[:length]) == list(range(length))
    assert np.array_equal(schedule.commit_step, random_order(lengths, seed=3).commit_step)
    assert np.array_equal(schedule.commit_step[:2], random_order([6, 6], seed=3).commit_step)
    orders = {tuple(random_order([6], seed=seed).commit_step[0]) for seed in range(5)}
    assert len(orders) > 1
    assert tuple(schedule.commit_step[0]) != tuple(schedule.commit_step[1])


def test_a_random_order_with_fewer_steps_has_even_steps():
    steps = random_order([7], 3, seed=0).commit_step[0]
    assert np.bincount(steps).tolist() == [3, 2, 2]


@pytest.mark.parametrize("row", [[0, 2], [1, 2], [-1, 0], [0, -1, 1], [-1, -1], [0, -2]])
def test_a_schedule_with_gaps_is_refused(row):
    with pytest.raises(DenoisingError, match="schedule of example 0 is .* without gaps"):
        Schedule(commit_step=np.array([row]))


def test_schedules_without_tokens_or_steps_are_refused():
    with pytest.raises(DenoisingError, match="num_steps is 0; it must be at least 1"):
        left_to_right([2], 0)
    with pytest.raises(DenoisingError, match="without target tokens"):
        left_to_right([2, 0])
