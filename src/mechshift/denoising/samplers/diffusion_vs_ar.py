"""The top-k decoding of "diffusion-vs-ar", which masks written tokens again.

At each of T steps, with t counted from T - 1 down to 0 and n target positions:

1. take the most probable token at every target position, written or not, and its log-probability
   as the score;
2. add noise_scale * (t / T) * Gumbel noise to the scores;
3. mask the positions that score below the score of rank floor(n t / T) from below, counting from
   0, also those that were written before; write the tokens of step 1 everywhere else, also over
   tokens that were written before.

At t = 0 everything is written.

Source: Ye et al., "Beyond Autoregression", arXiv:2410.14157; `topk_decoding` of
HKUNLP/diffusion-vs-ar, read in a public copy, with the strategies "deterministic-linear"
(noise_scale 0) and "stochastic0.5-linear" (0.5; the code's 1e-8 inside the logarithms of the noise
is left out). Its runs use 20 steps. The cosine schedule is not offered. Paper text not checked.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.samplers.draws import first_argmax
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.denoising.samplers.least_certain import least_certain
from mechshift.errors import DenoisingError


@dataclass(frozen=True, kw_only=True)
class DiffusionVsAR(Sampler):
    """Write all but the floor(n t / T) least certain positions, and mask those."""

    reads_committed: ClassVar[bool] = True

    noise_scale: float = 0.5
    """Of the Gumbel noise at the first step; 0 makes the sampler deterministic."""

    def __post_init__(self) -> None:
        if not (self.noise_scale >= 0 and math.isfinite(self.noise_scale)):
            raise DenoisingError(f"noise_scale is {self.noise_scale}; it must be 0 or more.")

    @property
    def source(self) -> str:
        return "Beyond Autoregression (arXiv:2410.14157), topk_decoding of diffusion-vs-ar, linear"

    def commit(self, state: StepState, logits: Float[Tensor, "target vocab"]) -> Commit:
        tokens = first_argmax(logits).tolist()
        scores = logits.log_softmax(dim=-1).amax(dim=-1).cpu().double()
        rate = (state.num_steps - 1 - state.step) / state.num_steps
        noise = torch.from_numpy(state.generator().gumbel(size=state.num_targets))
        low = least_certain(state, scores + self.noise_scale * rate * noise)
        written = [position for position in range(state.num_targets) if not low[position]]
        return Commit(
            positions=tuple(written),
            tokens=tuple(tokens[position] for position in written),
            remasked=tuple(
                position
                for position in range(state.num_targets)
                if low[position] and position not in state.masked
            ),
        )
