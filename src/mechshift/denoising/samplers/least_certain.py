"""The least certain positions, which HKUNLP's top-k samplers leave masked.

With n target positions at step i of T, and t = T - 1 - i: the positions whose score lies strictly
below the score of rank floor(n t / T), counted from 0 from the lowest. Where scores tie at the
cut fewer stay masked than that.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.samplers.interface import StepState


def least_certain(state: StepState, scores: Float[Tensor, " target"]) -> list[bool]:
    """Whether each target position stays masked, or becomes masked, by its score."""
    cut = scores.sort().values[num_least_certain(state)]
    return (scores < cut).tolist()


def num_least_certain(state: StepState) -> int:
    """floor(n t / T), in the published float32, where 22 * 13 / 22 comes to less than 13."""
    left = state.num_steps - 1 - state.step
    return int(torch.tensor(state.num_targets, dtype=torch.float32) * (left / state.num_steps))
