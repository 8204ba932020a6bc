"""Attention that is given as which keys each query sees, in a stock decoder.

Block-causal, observed-first and causal-prefix attention are each one function of a batch (a file of
its own each); `MaskedDecoder` puts what it says in place of the padding mask.

The mask is additive and of the model's own float type: the eager attention of transformers adds a
boolean mask as zeros and ones, without an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Facts on each position of a batch before the decoder reads it."""

    present: Bool[Tensor, "row position"]
    """False at padding."""
    position_ids: Int64[Tensor, "row position"]
    """Counted from the first token of a row."""
    is_masked: Bool[Tensor, "row position"] | None
    """Whether the token is the mask; padding may have the id of the mask. None: nobody asks."""


VisibleKeys = Callable[[Positions], Bool[Tensor, "row query key"]]
"""Mask of the keys that each query sees, padding apart: `MaskedDecoder` hides padding from all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedDecoder:
    """A stock decoder, called as before, that attends as a function says."""

    decoder: PreTrainedModel
    """Its `config.is_causal` is False."""
    visible: VisibleKeys

    def __call__(
        self,
        *,
        attention_mask: Int64[Tensor, "row position"],
        position_ids: Int64[Tensor, "row position"],
        is_masked: Bool[Tensor, "row position"] | None = None,
        **rest: Any,
    ) -> Any:
        """Call the decoder with a mask of four axes in place of the padding mask."""
        assert rest.get("past_key_values") is None, "a cache holds keys of finished text only"
        present = attention_mask.bool()
        positions = Positions(present=present, position_ids=position_ids, is_masked=is_masked)
        visible = self.visible(positions) & present[:, None, :]
        mask: Float[Tensor, "row 1 query key"] = additive_mask(visible, self.decoder.dtype)
        return self.decoder(attention_mask=mask, position_ids=position_ids, **rest)


def additive_mask(
    visible: Bool[Tensor, "row query key"], dtype: torch.dtype
) -> Float[Tensor, "row 1 query key"]:
    """0 where the query sees the key, else the lowest number."""
    # Not minus infinity, which makes NaN of a query that sees nothing.
    hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return hidden.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
