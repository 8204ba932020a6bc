"""Schedules: the denoising step at which each target token is committed.

A schedule is shared by the two models of a pair and by the clean and corrupted run of an example,
so that every step scores the same tokens everywhere. With S steps and T target tokens:

1. an example has min(S, T) steps; S = None means one token per step, T steps;
2. the T tokens are split as evenly as possible; the first T mod S steps take one token more
   (the counts of LLaDA's sampler, arXiv:2502.09992);
3. the order says which tokens: left to right, seeded random, or as a decoder committed them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mechshift.errors import DenoisingError


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """The commit step of every target token of every example."""

    commit_step: Int[np.ndarray, "example target"]
    """0-based; -1 beyond an example's last target token. Every example's steps are contiguous."""

    def __post_init__(self) -> None:
        for example, steps in enumerate(self.commit_step):
            length = int((steps >= 0).sum())
            used = np.unique(steps[:length])
            contiguous = np.array_equal(used, np.arange(len(used)))
            if length == 0 or (steps[length:] != -1).any() or not contiguous:
                raise DenoisingError(
                    f"the schedule of example {example} is {steps.tolist()}; it needs steps 0, 1,"
                    " ... without gaps, followed by -1 only."
                )

    @property
    def num_steps(self) -> int:
        """Steps of the example that has most."""
        return int(self.commit_step.max(initial=-1)) + 1

    @property
    def example_num_steps(self) -> Int[np.ndarray, " example"]:
        return self.commit_step.max(axis=1, initial=-1) + 1

    @property
    def example_num_targets(self) -> Int[np.ndarray, " example"]:
        return (self.commit_step >= 0).sum(axis=1)


def step_sizes(num_targets: int, num_steps: int | None) -> list[int]:
    """How many tokens each step commits; the first steps take the remainder.

    Raises:
        DenoisingError: no target tokens, or fewer than one step.
    """
    if num_targets < 1:
        raise DenoisingError("an example without target tokens has no schedule.")
    if num_steps is not None and num_steps < 1:
        raise DenoisingError(f"num_steps is {num_steps}; it must be at least 1.")
    steps = num_targets if num_steps is None else min(num_steps, num_targets)
    base, extra = divmod(num_targets, steps)
    return [base + (step < extra) for step in range(steps)]


def schedule_from_orders(orders: Sequence[Sequence[int]], num_steps: int | None) -> Schedule:
    """The schedule that commits target positions in the given order, one order per example."""
    commit_step = np.full((len(orders), max(map(len, orders), default=0)), -1, dtype=np.int64)
    for row, order in zip(commit_step, orders, strict=True):
        sizes = step_sizes(len(order), num_steps)
        row[list(order)] = np.repeat(np.arange(len(sizes)), sizes)
    return Schedule(commit_step=commit_step)


def left_to_right(lengths: Sequence[int], num_steps: int | None = None) -> Schedule:
    """Commit the leftmost tokens first; `lengths` are the examples' target tokens."""
    return schedule_from_orders([range(length) for length in lengths], num_steps)


def random_order(lengths: Sequence[int], num_steps: int | None = None, *, seed: int) -> Schedule:
    """Commit tokens in a random order; that of an example depends on its row and the seed only."""
    return schedule_from_orders(random_orders(lengths, seed=seed), num_steps)


def random_orders(lengths: Sequence[int], *, seed: int) -> list[list[int]]:
    """One permutation of the target positions for each example."""
    return [
        random_permutation(length, seed=seed, example=example)
        for example, length in enumerate(lengths)
    ]


def random_permutation(length: int, *, seed: int, example: int) -> list[int]:
    """The random order of one example's target positions."""
    return np.random.default_rng([seed, example]).permutation(length).tolist()
