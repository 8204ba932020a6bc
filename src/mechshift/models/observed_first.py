"""Observed-first attention in a stock decoder: causal over reordered tokens.

WeDLM (arXiv:2512.22737) reads a partly masked text with causal attention over its tokens in another
order, all that are observed before all that are masked, each with the position that it has in the
text. So a masked token sees every observed one, and the masked ones before it; an observed token
sees the observed ones before it, and no masked one.

Attention does not ask in which order keys and queries are stored. So the tokens stay where they
are, and the mask says what the other order would. Everything that reads positions, hooks included,
then finds them in the order of the text.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel

from mechshift.models.block_attention import additive_mask


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedFirstDecoder:
    """A stock decoder, called as before and with `is_masked`, that attends in the other order."""

    decoder: PreTrainedModel
    """Its `config.is_causal` is False."""

    def __call__(
        self,
        *,
        is_masked: Bool[Tensor, "row position"],
        attention_mask: Int64[Tensor, "row position"],
        position_ids: Int64[Tensor, "row position"],
        **rest: Any,
    ) -> Any:
        """Call the decoder with a mask of four axes in place of the padding mask."""
        assert rest.get("past_key_values") is None, "a cache holds keys that stay what they are"
        mask = observed_first_mask(attention_mask, is_masked, self.decoder.dtype)
        return self.decoder(attention_mask=mask, position_ids=position_ids, **rest)


def observed_first_mask(
    attention_mask: Int64[Tensor, "row position"],
    is_masked: Bool[Tensor, "row position"],
    dtype: torch.dtype,
) -> Float[Tensor, "row 1 query key"]:
    """0 where the query sees the key, else the lowest number."""
    length = is_masked.shape[1]
    place = torch.arange(length, device=is_masked.device) + length * is_masked
    earlier = place[:, None, :] <= place[:, :, None]
    return additive_mask(earlier & attention_mask.bool()[:, None, :], dtype)
