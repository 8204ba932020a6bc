"""Annealing from causal to bidirectional attention while a model is trained.

Attention-mask annealing: at training step n of N a position may look at an earlier one always, and
at a later one with probability r = min(1, (n + 1) / N). One draw per step is shared by the batch,
the heads and the layers.

Source: Gong et al. 2024 (DiffuLLaMA), arXiv:2410.17891.
"""

import torch
from jaxtyping import Bool
from torch import Tensor


def annealing_ratio(step: int, num_steps: int) -> float:
    """Probability that a later position is visible at this training step, in [0, 1]."""
    return 1.0 if num_steps <= 0 else min(1.0, (step + 1) / num_steps)


def visible_positions(
    ratio: float, num_positions: int, generator: torch.Generator
) -> Bool[Tensor, "query key"]:
    """Which keys each query may see: all earlier ones, and later ones with probability `ratio`."""
    causal = torch.ones(num_positions, num_positions, dtype=torch.bool).tril()
    # `rand` is below 1, so a ratio of 1 opens everything and a ratio of 0 nothing.
    return causal | (torch.rand(num_positions, num_positions, generator=generator) < ratio)
