"""The interface of samplers: what one is given at a step, and what it returns.

A sampler is a pure function of a `StepState` and of the logits at target positions. It knows
neither the model nor the canvas, and its random draws depend on the seed, the example and the step
only, so that no result depends on which examples share a batch.

What every sampler here leaves to its caller: the logit shift, and ruling out the mask token. The
published samplers of Dream, DiffuLLaMA and LLaDA do not rule it out; a position that takes it
stays masked for another step, or for good. A caller that wants every target written sets its
logit to -inf, as `decode` does.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechshift.errors import DenoisingError


@dataclass(frozen=True, kw_only=True)
class StepState:
    """One example before a step."""

    step: int
    """As the sampler's published loop counts, from 0."""
    num_steps: int
    """Of the whole loop, as `Sampler.num_steps` gave it."""
    num_targets: int
    masked: tuple[int, ...]
    """Target positions that hold the mask token, ascending; of a model that denoises one block at a
    time, those of the block."""
    seed: int = 0
    example: int = 0
    """Row in the pool."""

    def generator(self) -> np.random.Generator:
        """The random draws of this step, from their beginning."""
        return np.random.default_rng([self.seed, self.example, self.step])


@dataclass(frozen=True, kw_only=True)
class Commit:
    """Tokens that a step writes into the target, and those that it masks again."""

    positions: tuple[int, ...]
    """Target positions that hold `tokens` after the step."""
    tokens: tuple[int, ...]
    remasked: tuple[int, ...] = ()
    """Target positions that held a token and hold the mask token after the step."""

    def __post_init__(self) -> None:
        assert len(self.positions) == len(self.tokens)
        touched = self.positions + self.remasked
        assert len(set(touched)) == len(touched), touched


class Sampler(ABC):
    """A rule that says which target tokens are committed at each step."""

    reads_committed: ClassVar[bool] = False
    """Whether `commit` needs the logits at every target position, not at the masked ones only."""

    @property
    @abstractmethod
    def source(self) -> str:
        """The paper's and the code's name of the rule."""

    def num_steps(self, num_targets: int, requested: int | None) -> int:
        """Steps of the loop; None asks for one step per target token.

        Raises:
            DenoisingError: fewer than one step, or a number that the sampler cannot have.
        """
        if requested is not None and requested < 1:
            raise DenoisingError(f"num_steps is {requested}; it must be at least 1.")
        return num_targets if requested is None else requested

    def num_commits(self, state: StepState) -> int | None:
        """How many tokens the step commits; None where only `commit` can tell."""
        return None

    @abstractmethod
    def commit(self, state: StepState, logits: Float[Tensor, "read vocab"]) -> Commit:
        """Take the step.

        Args:
            state: the example before the step.
            logits: one row for each masked position or, where `reads_committed`, for each target
                position; float32 or wider.
        """
