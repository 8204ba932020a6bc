"""Block-causal attention in a stock decoder.

Positions are cut into blocks of equal length, counted from the first token that is not padding. A
position sees its own block and all earlier ones: full attention inside a block, causal between
blocks. BD3LM, SDAR and Fast-dLLM v2 are trained so. (BD3LM's published sampler pads the prompt to
whole blocks first; here, as in its training, blocks are counted from the first token.)

The mask is additive and of the model's own float type: the eager attention of transformers adds a
boolean mask as zeros and ones, without an error.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockCausalDecoder:
    """A stock decoder, called as before, that attends block by block."""

    decoder: PreTrainedModel
    """Its `config.is_causal` is False."""
    block_length: int

    def __call__(
        self,
        *,
        attention_mask: Int64[Tensor, "row position"],
        position_ids: Int64[Tensor, "row position"],
        **rest: Any,
    ) -> Any:
        """Call the decoder with a mask of four axes in place of the padding mask."""
        assert rest.get("past_key_values") is None, "a cache holds keys of finished blocks only"
        mask = block_causal_mask(
            attention_mask, position_ids, self.block_length, self.decoder.dtype
        )
        return self.decoder(attention_mask=mask, position_ids=position_ids, **rest)


def block_causal_mask(
    attention_mask: Int64[Tensor, "row position"],
    position_ids: Int64[Tensor, "row position"],
    block_length: int,
    dtype: torch.dtype,
) -> Float[Tensor, "row 1 position position"]:
    """0 where the query (last but one axis) sees the key (last axis), else the lowest number."""
    block = position_ids // block_length
    earlier = block[:, None, :] <= block[:, :, None]
    return additive_mask(earlier & attention_mask.bool()[:, None, :], dtype)


def additive_mask(
    visible: Bool[Tensor, "row query key"], dtype: torch.dtype
) -> Float[Tensor, "row 1 query key"]:
    """0 where the query sees the key, else the lowest number."""
    # Not minus infinity, which makes NaN of a query that sees nothing.
    hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return hidden.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
