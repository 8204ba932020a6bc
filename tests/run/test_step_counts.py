"""A pool's order in other numbers of steps, by hand."""

import numpy as np
import pytest

from mechshift.denoising import Schedule
from mechshift.run.step_sweep import default_num_steps, with_num_steps

UNEVEN = Schedule(commit_step=np.array([[2, 0, 1, -1], [0, 1, 2, 3], [0, -1, -1, -1]]))
"""Targets of three, four and one tokens; one token per step."""


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (1, [[0, 0, 0, -1], [0, 0, 0, 0], [0, -1, -1, -1]]),
        (2, [[1, 0, 0, -1], [0, 0, 1, 1], [0, -1, -1, -1]]),
        (3, [[2, 0, 1, -1], [0, 0, 1, 2], [0, -1, -1, -1]]),
    ],
)
def test_the_pools_order_is_cut_as_evenly_as_possible(num_steps, expected):
    assert with_num_steps(UNEVEN, num_steps).commit_step.tolist() == expected


def test_tokens_of_one_step_are_taken_from_left_to_right():
    pooled = Schedule(commit_step=np.array([[1, 0, 1, 0]]))
    assert with_num_steps(pooled, 4).commit_step.tolist() == [[2, 0, 3, 1]]


def test_a_schedule_that_has_so_many_steps_stays_as_its_sampler_made_it():
    uneven = Schedule(commit_step=np.array([[0, 1, 1, 1], [1, 0, 1, -1]]))
    assert with_num_steps(uneven, 2) is uneven
    assert with_num_steps(UNEVEN, 4) is UNEVEN


def test_the_default_doubles_up_to_the_longest_target_and_holds_the_pools_own_number():
    assert default_num_steps(UNEVEN) == [1, 2, 4]
    assert default_num_steps(Schedule(commit_step=np.arange(11)[None])) == [1, 2, 4, 8, 11]
    in_three = Schedule(commit_step=np.array([[0, 0, 1, 1, 2]]))
    assert default_num_steps(in_three) == [1, 2, 3, 4, 5]
