"""What is minimised when an ARM is trained, and when it is made into an MDM?

Both losses are over target tokens only and both read the logits with the shift: position i predicts
token i + 1.

- Autoregressive: mean cross-entropy of the target tokens.
- Masked diffusion: draw t in (0, 1], mask each target token with probability t, and weigh the
  cross-entropy of the masked ones by 1/t. Divided by the number of target tokens this is an
  unbiased estimate of the bound on the likelihood per token.

Sources: Sahoo et al. 2024 (MDLM), arXiv:2406.07524; Shi et al. 2024 (MD4), arXiv:2406.04329.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

MIN_NOISE = 1e-3
"""Smallest t, so that 1/t stays finite (the epsilon of the uniform schedule)."""


def noise_levels(num_rows: int, generator: torch.Generator) -> Float[Tensor, " row"]:
    """One t in (0, 1] per row, spread evenly over the batch to lower the variance (MDLM)."""
    offsets = torch.arange(num_rows) / num_rows
    uniform = (torch.rand(1, generator=generator) + offsets) % 1.0
    return MIN_NOISE + (1.0 - MIN_NOISE) * uniform


def mask_targets(
    ids: Int[Tensor, "row position"],
    is_target: Bool[Tensor, "row position"],
    noise: Float[Tensor, " row"],
    *,
    mask_token_id: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "row position"], Bool[Tensor, "row position"]]:
    """The noised ids, and which positions were masked."""
    masked = is_target & (torch.rand(ids.shape, generator=generator) < noise[:, None])
    return ids.masked_fill(masked, mask_token_id), masked


def weighted_cross_entropy(
    logits: Float[Tensor, "row position vocab"],
    ids: Int[Tensor, "row position"],
    weights: Float[Tensor, "row position"],
    *,
    num_targets: int,
) -> Float[Tensor, ""]:
    """Sum over positions of weight times cross-entropy [nats], divided by `num_targets`.

    `weights[i]` belongs to token i, which position i - 1 predicts; token 0 is never a target.
    """
    chosen = weights[:, 1:] != 0
    losses = cross_entropy(logits[:, :-1][chosen].float(), ids[:, 1:][chosen], reduction="none")
    return (losses * weights[:, 1:][chosen]).sum() / num_targets
