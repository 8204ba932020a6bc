"""With how many denoising steps S can a pool's examples be laid out, and how?

The order in which the MDM committed an example's tokens is kept, and cut into S steps: as evenly
as possible, the first ones taking the remainder (`denoising.schedule`). Tokens that the pool
commits in one step are taken from left to right. An example of T < S target tokens has T steps.
"""

import numpy as np

from mechshift.denoising import Schedule, schedule_from_orders


def longest_target(schedule: Schedule) -> int:
    """Tokens of the longest target; more steps than that change nothing."""
    return int(schedule.example_num_targets.max())


def default_num_steps(schedule: Schedule) -> list[int]:
    """1, 2, 4, ... up to the longest target; that, and the schedule's own number of steps."""
    longest = longest_target(schedule)
    powers = [2**power for power in range(longest.bit_length())]
    return sorted({*powers, schedule.num_steps, longest})


def has_num_steps(schedule: Schedule, num_steps: int) -> bool:
    """Whether every example has min(S, T) steps already."""
    wanted = np.minimum(num_steps, schedule.example_num_targets)
    return np.array_equal(schedule.example_num_steps, wanted)


def with_num_steps(schedule: Schedule, num_steps: int) -> Schedule:
    """The same order in S steps; a schedule that has them is returned as it is.

    So the pool's own schedule stays what it is where its sampler commits unevenly many tokens.
    """
    if has_num_steps(schedule, num_steps):
        return schedule
    orders = [
        np.argsort(steps[:length], kind="stable").tolist()
        for steps, length in zip(
            schedule.commit_step, schedule.example_num_targets.tolist(), strict=True
        )
    ]
    return schedule_from_orders(orders, num_steps)
