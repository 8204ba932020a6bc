"""Block diffusion: all blocks of a text denoised in one pass.

A block diffusion model denoises a block while all earlier ones are clean. The text is laid out
twice, noised and clean, side by side and with the same position ids: a noised block sees itself and
the clean blocks before it, a clean block itself and the clean blocks before it. One pass then gives
every block the logits that it has when it is denoised alone.

With the logit shift the first token of a block is predicted from the last place of the block
before, which is clean by then: it is read there.

Source: Arriola et al. 2025 (BD3LM), arXiv:2503.09573.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def visible_in_both(num_positions: int, block_length: int) -> Bool[Tensor, "query key"]:
    """Which of the noised, then the clean positions each of them sees; both axes twice as long."""
    block = torch.arange(num_positions) // block_length
    same = block[:, None] == block
    before = block < block[:, None]
    nothing = torch.zeros_like(same)
    return torch.cat(
        [torch.cat([same, before], dim=1), torch.cat([nothing, same | before], dim=1)], dim=0
    )


def predicted_from(num_positions: int, block_length: int, *, shift: bool) -> Int[Tensor, " token"]:
    """Where, in the double layout, the logits of each token are read; token 0 has none if shifted.

    With the shift token 0 is said to be read at place 0, and must not be a target.
    """
    position = torch.arange(num_positions)
    if not shift:
        return position
    first_of_block = position % block_length == 0
    clean = num_positions + position - 1
    return torch.where(first_of_block, clean, position - 1).clamp(min=0)


def block_noise_levels(
    num_rows: int,
    num_positions: int,
    block_length: int,
    generator: torch.Generator,
    *,
    min_noise: float,
) -> Float[Tensor, "row position"]:
    """One t in (0, 1] for each block of each row, spread evenly over all of them."""
    num_blocks = -(-num_positions // block_length)
    offsets = torch.randperm(num_rows * num_blocks, generator=generator) / (num_rows * num_blocks)
    uniform = (torch.rand(1, generator=generator) + offsets) % 1.0
    levels = (min_noise + (1.0 - min_noise) * uniform).reshape(num_rows, num_blocks)
    return levels.repeat_interleave(block_length, dim=1)[:, :num_positions]
