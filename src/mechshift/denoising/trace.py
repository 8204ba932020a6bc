"""Traces: what a sampler did step by step, and which of its steps are attributed.

A trace keeps the sampler's own step numbers. Attribution needs a schedule: steps without gaps, each
token committed once. The one follows from the other:

1. a token's step is the last one that changed it: the last commit counts where a sampler masks
   positions again or writes over them, and writing the same token again changes nothing;
2. steps that are then no token's step are dropped, and the others numbered 0, 1, ... in order.

For a sampler that never changes what it wrote, which is all but `DiffusionVsAR`, the canvas at an
attributed step is the one that the sampler saw. Where tokens were changed later it is not: they
are shown masked until their last commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechshift.denoising.schedule import Schedule
from mechshift.errors import DenoisingError


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """Changes of one step."""

    step: int
    """As the sampler's published loop counts, from 0."""
    positions: tuple[int, ...]
    """Target positions that were written, ascending."""
    tokens: tuple[int, ...]
    """One for each of them."""
    remasked: tuple[int, ...] = ()
    """Target positions that were masked again, ascending."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Changes that one example's sampler made, from the first step to the last."""

    sampler: str
    """The sampler and its settings, as `repr` writes them; "autoregressive" for an ARM."""
    num_steps: int
    """Steps of the sampler's loop, with those that changed nothing."""
    num_targets: int
    steps: tuple[TraceStep, ...]
    """The steps that changed something, in order."""

    def __post_init__(self) -> None:
        left = [position for position, step in enumerate(self.last_commits) if step < 0]
        if left:
            raise DenoisingError(
                f"the sampler {self.sampler} left the target positions {left} masked after"
                f" {self.num_steps} steps; every one must be committed."
            )

    @property
    def num_committed(self) -> list[int]:
        """How many tokens each step of the loop wrote."""
        counts = [0] * self.num_steps
        for step in self.steps:
            counts[step.step] = len(step.positions)
        return counts

    @property
    def last_commits(self) -> list[int]:
        """The step that last changed each target token; -1 where it ends masked."""
        commits = [-1] * self.num_targets
        for step in self.steps:
            for position in step.positions:
                commits[position] = step.step
            for position in step.remasked:
                commits[position] = -1
        return commits


def trace_schedule(traces: Sequence[Trace]) -> Schedule:
    """The steps of each trace that are attributed, numbered without gaps."""
    longest = max((trace.num_targets for trace in traces), default=0)
    commit_step = np.full((len(traces), longest), -1, dtype=np.int64)
    for row, trace in zip(commit_step, traces, strict=True):
        row[: trace.num_targets] = np.unique(trace.last_commits, return_inverse=True)[1]
    return Schedule(commit_step=commit_step)
