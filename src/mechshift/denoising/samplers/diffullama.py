"""DiffuLLaMA's two samplers, also DiffuGPT's: random order, and the least certain stay masked.

Both predict a token x0 at every target position at each of T steps. Count t from T - 1 down to 0:

1. `DiffuLLaMARandomKeep`: write every masked position independently with chance 1 / (t + 1).
2. `DiffuLLaMATopKMask`: score each of the n target positions by the log-probability of its x0, let
   c be the score of rank floor(n t / T) from below, counting from 0, and write the masked positions
   that score c or more. Positions that were written before are ranked too, so that a step may write
   more or fewer tokens than n / T. Equal scores at the cut are all written.

At t = 0 both write whatever is left. Written tokens stay.

x0 is drawn from the softmax of logits / temperature, which the first sampler cuts to `top_p`. The
published codes divide by the temperature, so they have no temperature 0; here it takes the most
probable token of the plain logits, and the order of the first sampler stays random.

Source: DiffuLLaMA, arXiv:2410.17891; code of HKUNLP/DiffuLLaMA, read in public copies:
`generate_samples` of model.py, which calls itself "random keep", and `generate_samples` of
LLaMA-Factory's ddm/trainer.py, which calls itself "top-k-mask" (`gsm=True` takes the most probable
tokens). `generate_samples_v2` of the latter is not offered: it reads a variable before setting it.
Defaults of the first (temperature 0.9, top_p 0.9) are those of inf_diffullama.py, with 64 steps;
those of the second were not found and are the same temperature. Paper text not checked.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.samplers.draws import (
    check_sampling,
    draw_tokens,
    first_argmax,
    keep_top_p,
)
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.denoising.samplers.least_certain import least_certain


@dataclass(frozen=True, kw_only=True)
class DiffuLLaMARandomKeep(Sampler):
    """Write each masked position with chance 1 / (steps left)."""

    temperature: float = 0.9
    """`logits_temp` of the code, which uses 0.95 for DiffuGPT."""
    top_p: float | None = 0.9
    """`topp_temp` of the code."""

    def __post_init__(self) -> None:
        check_sampling(self.temperature, self.top_p)

    @property
    def source(self) -> str:
        return "DiffuLLaMA (arXiv:2410.17891), generate_samples of model.py, 'random keep'"

    def commit(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> Commit:
        generator = state.generator()
        uniform = generator.random(len(state.masked))
        written = np.flatnonzero(uniform < 1 / (state.num_steps - state.step)).tolist()
        if self.temperature > 0:
            scaled = logits / self.temperature
            kept = scaled if self.top_p is None else keep_top_p(scaled, self.top_p)
            tokens = draw_tokens(kept.softmax(dim=-1), generator)
        else:
            tokens = first_argmax(logits)
        return Commit(
            positions=tuple(state.masked[row] for row in written),
            tokens=tuple(tokens[written].tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class DiffuLLaMATopKMask(Sampler):
    """Write the masked positions that are not among the floor(n t / T) least certain."""

    reads_committed: ClassVar[bool] = True

    temperature: float = 0.9
    """`logits_temp` of the code."""
    gsm: bool = False
    """Take the most probable tokens, as the code does for GSM8K; temperature 0 does so too."""

    def __post_init__(self) -> None:
        check_sampling(self.temperature)

    @property
    def source(self) -> str:
        return "DiffuLLaMA (arXiv:2410.17891), generate_samples of ddm/trainer.py, 'top-k-mask'"

    def num_commits(self, state: StepState) -> int | None:
        return None if state.masked else 0

    def commit(self, state: StepState, logits: Float[Tensor, "target vocab"]) -> Commit:
        log_p = (logits / (self.temperature or 1.0)).log_softmax(dim=-1)
        if self.gsm or self.temperature == 0:
            tokens = first_argmax(log_p)
        else:
            tokens = draw_tokens(log_p.exp(), state.generator())
        scores = log_p.gather(-1, tokens[:, None]).squeeze(-1)
        low = least_certain(state, scores)
        written = [position for position in state.masked if not low[position]]
        return Commit(positions=tuple(written), tokens=tuple(tokens[written].tolist()))
