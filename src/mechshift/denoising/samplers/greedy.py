"""The library's own greedy samplers: the most probable tokens, in an order of choice.

With S steps and T target tokens, a step commits its even share of the tokens (see `step_sizes`):

1. `MostConfident`: where the most probable token's probability is highest;
2. `LeftToRight`: the next from the left;
3. `RandomOrder`: the next of a permutation that depends on the seed and the example only.

The first is LLaDA's low-confidence remasking at temperature 0 with one block (arXiv:2502.09992),
in the precision of the logits instead of float64. The others are no one's: they separate the
order from the model.
"""

from abc import abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.samplers.draws import first_argmax, highest
from mechshift.denoising.samplers.interface import Commit, Sampler, StepState
from mechshift.denoising.schedule import random_permutation, step_sizes


class _Greedy(Sampler):
    @property
    def source(self) -> str:
        return f"mechshift's own {type(self).__name__}"

    def num_steps(self, num_targets: int, requested: int | None) -> int:
        return len(step_sizes(num_targets, requested))

    def num_commits(self, state: StepState) -> int:
        return step_sizes(state.num_targets, state.num_steps)[state.step]

    def commit(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> Commit:
        tokens = first_argmax(logits).tolist()
        chosen = highest(self._priority(state, logits), self.num_commits(state))
        return Commit(
            positions=tuple(state.masked[row] for row in chosen),
            tokens=tuple(tokens[row] for row in chosen),
        )

    @abstractmethod
    def _priority(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> list[float]:
        """One number for each masked position; the highest are committed."""


@dataclass(frozen=True, kw_only=True)
class MostConfident(_Greedy):
    """Commit where the most probable token is most probable."""

    def _priority(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> list[float]:
        return logits.softmax(dim=-1).amax(dim=-1).tolist()


@dataclass(frozen=True, kw_only=True)
class LeftToRight(_Greedy):
    """Commit the leftmost masked positions."""

    def _priority(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> list[float]:
        return [-float(position) for position in state.masked]


@dataclass(frozen=True, kw_only=True)
class RandomOrder(_Greedy):
    """Commit positions in the order of one permutation per example."""

    def _priority(self, state: StepState, logits: Float[Tensor, "masked vocab"]) -> list[float]:
        order = random_permutation(state.num_targets, seed=state.seed, example=state.example)
        place = {position: rank for rank, position in enumerate(order)}
        return [-float(place[position]) for position in state.masked]
