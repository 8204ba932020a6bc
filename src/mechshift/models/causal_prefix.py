"""Causal-prefix attention in a stock decoder: causal, but for the block that is being denoised.

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
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel

from mechshift.models.block_attention import additive_mask


@dataclass(frozen=True, kw_only=True, eq=False)
class CausalPrefixDecoder:
    """A stock decoder, called as before and with `is_masked`, that attends so."""

    decoder: PreTrainedModel
    """Its `config.is_causal` is False."""
    block_length: int

    def __call__(
        self,
        *,
        is_masked: Bool[Tensor, "row position"],
        attention_mask: Int64[Tensor, "row position"],
        position_ids: Int64[Tensor, "row position"],
        **rest: Any,
    ) -> Any:
        """Call the decoder with a mask of four axes in place of the padding mask."""
        assert rest.get("past_key_values") is None, "a cache holds keys of finished text only"
        visible = causal_prefix_visibility(
            attention_mask, position_ids, is_masked, self.block_length
        )
        mask: Float[Tensor, "row 1 query key"] = additive_mask(visible, self.decoder.dtype)
        return self.decoder(attention_mask=mask, position_ids=position_ids, **rest)


def causal_prefix_visibility(
    attention_mask: Int64[Tensor, "row position"],
    position_ids: Int64[Tensor, "row position"],
    is_masked: Bool[Tensor, "row position"],
    block_length: int,
) -> Bool[Tensor, "row query key"]:
    """Whether the query sees the key."""
    token = attention_mask.bool()
    # What fills a row up to its batch may have the id of the mask.
    behind_all = torch.iinfo(position_ids.dtype).max // 2
    first = position_ids.masked_fill(~(is_masked & token), behind_all).amin(dim=1, keepdim=True)
    start = (first - 1).clamp(min=0)
    in_block = (position_ids >= start) & (position_ids < start + block_length)
    earlier = position_ids[:, None, :] <= position_ids[:, :, None]
    together = in_block[:, None, :] & in_block[:, :, None]
    return (earlier | together) & token[:, None, :]


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
