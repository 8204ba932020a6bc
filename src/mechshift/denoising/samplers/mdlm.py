"""MDLM's ancestral sampler: every masked position is written by chance alone, then the rest.

With S requested steps and times 1 = t_0 > ... > t_S = eps, evenly spaced:

1. at steps 0 to S - 1, write every masked position independently with chance
   (t_i - t_{i+1}) / t_i, the token drawn from the model's distribution;
2. at step S, the "noise removal", write every position that is left with its most probable token.

So there is one step more than requested. Written tokens stay. The noise is log-linear: the chance
of being masked at time t is proportional to t, and its factor cancels. There is no temperature;
the mask token must be ruled out by the caller, which is MDLM's own "zero masking probabilities".

Source: MDLM, arXiv:2406.07524, ancestral sampling under SUBS; `_ddpm_update` and `_sample` of
diffusion.py in kuleshov-group/mdlm, whose one draw over tokens and the mask together has the
distribution of step 1. Its default predictor `ddpm_cache` only saves forward passes where nothing
changed. Defaults there: 128 steps, eps 1e-5, noise removal on. Paper text not checked.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.samplers.draws import draw_tokens, first_argmax
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.errors import DenoisingError


@dataclass(frozen=True, kw_only=True)
class MDLM(Sampler):
    """Ancestral sampling of a masked diffusion model."""

    eps: float = 1e-5
    """The time after the last ancestral step."""

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise DenoisingError(f"eps is {self.eps}; it must be between 0 and 1.")

    @property
    def source(self) -> str:
        return "MDLM (arXiv:2406.07524), predictor 'ddpm' with noise removal of diffusion.py"

    def num_steps(self, num_targets: int, requested: int | None) -> int:
        return super().num_steps(num_targets, requested) + 1

    def commit(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> Commit:
        if state.step == state.num_steps - 1:
            return Commit(positions=state.masked, tokens=tuple(first_argmax(logits).tolist()))
        generator = state.generator()
        uniform = generator.random(len(state.masked))
        written = np.flatnonzero(uniform < self._chance(state)).tolist()
        tokens = draw_tokens(logits.softmax(dim=-1), generator)
        return Commit(
            positions=tuple(state.masked[row] for row in written),
            tokens=tuple(tokens[written].tolist()),
        )

    def _chance(self, state: StepState) -> float:
        interval = (1 - self.eps) / (state.num_steps - 1)
        return interval / (1 - state.step * interval)
