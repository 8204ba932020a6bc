"""Noising: which tokens are hidden from a model, and the weight of each in the loss.

The forward process of masked diffusion: draw t in (0, 1], and mask each token with probability t.

Weights of a masked token:
- 1/t, with which the loss is an unbiased estimate of the bound on the likelihood (MDLM, MD4);
- CART: half the sum over visible tokens of p (1 - p)^(d - 1), d their distance, so that a token
  with much to go by counts more (Dream; our source is the training code of Dream-Coder).

Sources: Sahoo et al. 2024 (MDLM), arXiv:2406.07524; Shi et al. 2024 (MD4), arXiv:2406.04329; Ye et
al. 2025 (Dream), arXiv:2508.15487.
"""

# "row #position" names axes, of which the last may be 1; ruff takes it for code.
# ruff: noqa: F821

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def noise_levels(
    num_rows: int, generator: torch.Generator, *, min_noise: float
) -> Float[Tensor, " row"]:
    """One t in (0, 1] per row, spread evenly over the batch to lower the variance (MDLM)."""
    offsets = torch.arange(num_rows) / num_rows
    uniform = (torch.rand(1, generator=generator) + offsets) % 1.0
    return min_noise + (1.0 - min_noise) * uniform


def mask_targets(
    ids: Int[Tensor, "row position"],
    is_target: Bool[Tensor, "row position"],
    noise: Float[Tensor, "row #position"],
    *,
    mask_token_id: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "row position"], Bool[Tensor, "row position"]]:
    """The noised ids, and which positions were masked."""
    masked = is_target & (torch.rand(ids.shape, generator=generator) < noise)
    return ids.masked_fill(masked, mask_token_id), masked


def inverse_noise(
    masked: Bool[Tensor, "row position"], noise: Float[Tensor, "row #position"]
) -> Float[Tensor, "row position"]:
    """1/t where a token was masked, else 0."""
    return masked / noise


def context_weights(
    masked: Bool[Tensor, "row position"], present: Int[Tensor, "row position"], *, p: float
) -> Float[Tensor, "row position"]:
    """CART's weight where a token was masked, else 0."""
    position = torch.arange(masked.shape[1])
    distance = (position[:, None] - position).abs()
    # A token is not its own context.
    weight = torch.where(distance > 0, 0.5 * p * (1 - p) ** (distance - 1.0), 0.0)
    visible = present.bool() & ~masked
    return (visible.float() @ weight) * masked
