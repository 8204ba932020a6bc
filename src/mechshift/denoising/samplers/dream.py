"""Dream's `diffusion_generate`: which masked positions are written, by one of four rules.

With times 1 = t_0 > ... > t_S = eps, evenly spaced, and n positions masked before step i:

1. scale the logits by the temperature, keep `top_p`, then `top_k`, and take the softmax p;
2. a token per masked position: drawn from p, or the most probable one at temperature 0;
3. `origin`: write every position independently with chance 1 - t_{i+1} / t_i, at the last step all;
4. the other rules: write k = floor(n (1 - t_{i+1} / t_i)) positions, at the last step all n, and
   choose those of the highest confidence, or draw them without replacement with weights
   exp(confidence / alg_temp). The confidence is
   `maskgit_plus`: p of the token taken;
   `topk_margin`: p of the most probable token less p of the second;
   `entropy`: sum of p log(p + 1e-10), the negative entropy.

Written tokens stay. The floor is taken of what is left, so steps are uneven: with as many steps as
tokens the first commits nothing and the last two, and 10 tokens in 4 steps go 2, 2, 2, 4.

Differences that are meant: k is a batch mean in the published code, which ties a row to its batch;
here every example is a batch of its own. Confidences are compared in float32 or wider, not in the
model's precision, where bfloat16 makes many ties.

Source: Dream 7B, arXiv:2508.15487; `_sample` in generation_utils.py of DreamLM/Dream, read in the
copy that ZHZisZZ/dllm keeps; names of the rules from Dream's README, which takes `origin` from
arXiv:2107.03006, `maskgit_plus` from arXiv:2202.04200 and `topk_margin` from arXiv:2502.06768.
The paper's own text was not available to check against. The default there is 512 steps, which
commit in the same order as one step per token where nothing is random.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.denoising.samplers.draws import (
    check_sampling,
    draw_tokens,
    draw_without_replacement,
    first_argmax,
    highest,
    keep_top_k,
    keep_top_p,
)
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.errors import DenoisingError

Confidence = Callable[
    [Float[Tensor, "masked vocab"], Int64[Tensor, " masked"]], Float[Tensor, " masked"]
]


def _taken(
    p: Float[Tensor, "masked vocab"], tokens: Int64[Tensor, " masked"]
) -> Float[Tensor, " masked"]:
    return p.gather(-1, tokens[:, None]).squeeze(-1)


def _margin(
    p: Float[Tensor, "masked vocab"], tokens: Int64[Tensor, " masked"]
) -> Float[Tensor, " masked"]:
    best = p.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]


def _negative_entropy(
    p: Float[Tensor, "masked vocab"], tokens: Int64[Tensor, " masked"]
) -> Float[Tensor, " masked"]:
    return (p * (p + 1e-10).log()).sum(dim=-1)


CONFIDENCES: dict[str, Confidence] = {
    "maskgit_plus": _taken,
    "topk_margin": _margin,
    "entropy": _negative_entropy,
}
ALGS = ("origin", *CONFIDENCES)


@dataclass(frozen=True, kw_only=True)
class Dream(Sampler):
    """The sampler that Dream is published with; its settings by the published names."""

    alg: str = "origin"
    """The rule: origin, maskgit_plus, topk_margin or entropy."""
    temperature: float = 0.0
    """0 takes the most probable token."""
    top_p: float | None = None
    top_k: int | None = None
    alg_temp: float | None = None
    """Randomness of the order; None or 0 for none. Without effect on `origin`."""
    eps: float = 1e-3
    """The time after the last step."""

    def __post_init__(self) -> None:
        if self.alg not in ALGS:
            raise DenoisingError(f"Dream has no alg '{self.alg}'; known: {', '.join(ALGS)}.")
        check_sampling(self.temperature, self.top_p, self.top_k)
        if self.alg_temp is not None and not self.alg_temp >= 0:
            raise DenoisingError(f"alg_temp is {self.alg_temp}; it must be 0 or more.")
        if not 0 < self.eps < 1:
            raise DenoisingError(f"eps is {self.eps}; it must be between 0 and 1.")

    @property
    def source(self) -> str:
        return f"Dream (arXiv:2508.15487), alg='{self.alg}' of diffusion_generate"

    def num_commits(self, state: StepState) -> int | None:
        if self.alg == "origin":
            return None
        masked = len(state.masked)
        if state.step == state.num_steps - 1:
            return masked
        return int(torch.tensor(float(masked)) * self._share(state))

    def commit(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> Commit:
        generator = state.generator()
        probabilities = self._probabilities(logits)
        if self.alg == "origin":
            uniform = generator.random(len(state.masked))
            written = np.flatnonzero(uniform < self._chance(state)).tolist()
            tokens = self._tokens(probabilities, generator)
        else:
            tokens = self._tokens(probabilities, generator)
            confidence = CONFIDENCES[self.alg](probabilities, tokens)
            written = self._choose(state, confidence.tolist(), generator)
        return Commit(
            positions=tuple(state.masked[row] for row in written),
            tokens=tuple(tokens[written].tolist()),
        )

    def _share(self, state: StepState) -> Float[Tensor, ""]:
        """1 - t_{i+1} / t_i, in the published float32: a floor may depend on the last bit."""
        times = torch.linspace(1, self.eps, state.num_steps + 1, dtype=torch.float32)
        return 1 - times[state.step + 1] / times[state.step]

    def _chance(self, state: StepState) -> float:
        return 1.0 if state.step == state.num_steps - 1 else float(self._share(state))

    def _probabilities(
        self, logits: Float[Tensor, "masked vocab"]
    ) -> Float[Tensor, "masked vocab"]:
        if self.temperature > 0:
            logits = logits / self.temperature
        if self.top_p is not None and self.top_p < 1:
            logits = keep_top_p(logits, self.top_p)
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        return logits.softmax(dim=-1)

    def _tokens(
        self, probabilities: Float[Tensor, "masked vocab"], generator: np.random.Generator
    ) -> Int64[Tensor, " masked"]:
        if self.temperature > 0:
            return draw_tokens(probabilities, generator)
        return first_argmax(probabilities)

    def _choose(
        self, state: StepState, confidence: list[float], generator: np.random.Generator
    ) -> list[int]:
        count = self.num_commits(state)
        assert count is not None
        if not self.alg_temp:
            return highest(confidence, count)
        weights = [value / self.alg_temp for value in confidence]
        return draw_without_replacement(weights, count, generator)
