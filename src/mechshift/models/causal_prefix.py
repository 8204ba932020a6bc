"""Causal-prefix attention: causal, but for the block that is being denoised.

SDLM (arXiv:2509.24007) and Nemotron-Labs-Diffusion (arXiv:2607.05722) read all finished text
causally, as the ARM that they were made from, and in both directions the block that is being
written: the last finished token and the masks behind it, as many positions together as the block is
long. So a masked token sees the whole text before it and all of its block; a finished token sees
what is before it, and the one that begins the block sees the masks too.

1. The block begins at the token before the first mask, or at the first mask where nothing is before
   it; it moves on with what is written.
2. Position i sees position j where j <= i, or where both are in the block.
3. Positions behind the block see what is before them. No sampler of these models lets them be, and
   none of their logits is read (`denoised_block`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from mechshift.models.visible_keys import Positions


def keys_of_prefix_and_block(
    positions: Positions, block_length: int
) -> Bool[Tensor, "row query key"]:
    """Whether the key is not behind the query, or both are in the block."""
    assert positions.is_masked is not None
    position = positions.position_ids
    # What fills a row up to its batch may have the id of the mask.
    is_denoised = positions.is_masked & positions.present
    behind_all = torch.iinfo(position.dtype).max // 2
    first = position.masked_fill(~is_denoised, behind_all).amin(dim=1, keepdim=True)
    start = (first - 1).clamp(min=0)
    in_block = (position >= start) & (position < start + block_length)
    earlier = position[:, None, :] <= position[:, :, None]
    return earlier | (in_block[:, None, :] & in_block[:, :, None])


def denoised_block(ids: Sequence[int], mask_token_id: int, block_length: int) -> range:
    """The positions of the block that is being denoised; none where nothing is masked.

    Args:
        ids: of one row without padding.
        mask_token_id: the mask token.
        block_length: positions in a block.
    """
    if mask_token_id not in ids:
        return range(0)
    start = max(ids.index(mask_token_id) - 1, 0)
    return range(start, min(start + block_length, len(ids)))
