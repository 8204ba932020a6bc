"""LLaDA's `generate`: blocks from left to right, in each the most confident positions first.

1. The target is cut into blocks of `block_length`; steps are shared out evenly among the blocks.
2. A block's tokens are shared out evenly among its steps in advance; the first steps take one more
   where they do not divide.
3. A token per masked position: drawn from the softmax of logits / temperature, or the most probable
   one at temperature 0.
4. Of the block's masked positions those with the highest confidence are written and stay:
   `low_confidence`: the token's probability, in float64, at temperature 1 whatever the temperature
   of the draw; `random`: a uniform number.

Both counts must divide, as in the published code: the target into blocks, the steps among them.
Classifier-free guidance and the suppression of end tokens are not offered. "Low-confidence
remasking" is the paper's name for keeping the tokens of high confidence: nothing written is ever
masked again.

Source: LLaDA, arXiv:2502.09992; `generate` of generate.py in ML-GSAI/LLaDA, whose draw by Gumbel
noise has the distribution of step 3 and whose defaults are 128 steps, tokens and block tokens.
Paper text not checked.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.denoising.samplers.draws import check_sampling, draw_tokens, first_argmax, highest
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.denoising.schedule import step_sizes
from mechshift.errors import DenoisingError

REMASKING = ("low_confidence", "random")


@dataclass(frozen=True, kw_only=True)
class LLaDA(Sampler):
    """The sampler that LLaDA is published with; its settings by the published names."""

    remasking: str = "low_confidence"
    """The rule: low_confidence or random."""
    temperature: float = 0.0
    """0 takes the most probable token."""
    block_length: int | None = None
    """Target tokens per block; None makes the target one block."""

    def __post_init__(self) -> None:
        if self.remasking not in REMASKING:
            known = ", ".join(REMASKING)
            raise DenoisingError(f"LLaDA has no remasking '{self.remasking}'; known: {known}.")
        check_sampling(self.temperature)
        if self.block_length is not None and self.block_length < 1:
            raise DenoisingError(f"block_length is {self.block_length}; it must be at least 1.")

    @property
    def source(self) -> str:
        return f"LLaDA (arXiv:2502.09992), remasking='{self.remasking}' of generate"

    def num_steps(self, num_targets: int, requested: int | None) -> int:
        steps = super().num_steps(num_targets, requested)
        block = self.block_length or num_targets
        if num_targets % block:
            raise DenoisingError(
                f"a target of {num_targets} tokens does not divide into LLaDA's blocks of {block};"
                " choose a block_length that divides every target."
            )
        if steps % (num_targets // block):
            raise DenoisingError(
                f"{steps} steps do not divide among LLaDA's {num_targets // block} blocks of"
                f" {block}; choose a multiple of {num_targets // block}."
            )
        return steps

    def num_commits(self, state: StepState) -> int:
        block = self.block_length or state.num_targets
        steps = self._block_steps(state)
        sizes = step_sizes(block, steps)
        # step_sizes stops when nothing is left; the published loop goes on and commits nothing.
        within = state.step % steps
        return sizes[within] if within < len(sizes) else 0

    def commit(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> Commit:
        generator = state.generator()
        tokens = self._tokens(logits, generator)
        confidence = self._confidence(logits, tokens, generator)
        block = self.block_length or state.num_targets
        end = (state.step // self._block_steps(state) + 1) * block
        in_block = [position for position in state.masked if position < end]
        # Masked positions ascend, so those of the block are the first rows.
        written = highest(confidence[: len(in_block)], self.num_commits(state))
        return Commit(
            positions=tuple(in_block[row] for row in written),
            tokens=tuple(tokens[written].tolist()),
        )

    def _block_steps(self, state: StepState) -> int:
        return state.num_steps * (self.block_length or state.num_targets) // state.num_targets

    def _tokens(
        self, logits: Float[Tensor, "masked vocab"], generator: np.random.Generator
    ) -> Int64[Tensor, " masked"]:
        if self.temperature > 0:
            return draw_tokens((logits.double() / self.temperature).softmax(dim=-1), generator)
        return first_argmax(logits)

    def _confidence(
        self,
        logits: Float[Tensor, "masked vocab"],
        tokens: Int64[Tensor, " masked"],
        generator: np.random.Generator,
    ) -> list[float]:
        if self.remasking == "random":
            return generator.random(len(tokens)).tolist()
        probabilities = logits.double().softmax(dim=-1)
        return probabilities.gather(-1, tokens[:, None]).squeeze(-1).tolist()
