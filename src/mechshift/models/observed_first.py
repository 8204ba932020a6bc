"""Observed-first attention: causal over reordered tokens.

WeDLM (arXiv:2512.22737) reads a partly masked text with causal attention over its tokens in another
order, all that are observed before all that are masked, each with the position that it has in the
text. So a masked token sees every observed one, and the masked ones before it; an observed token
sees the observed ones before it, and no masked one.

Attention does not ask in which order keys and queries are stored. So the tokens stay where they
are, and the mask says what the other order would. Everything that reads positions, hooks included,
then finds them in the order of the text.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from mechshift.models.visible_keys import Positions


def keys_observed_first(positions: Positions) -> Bool[Tensor, "row query key"]:
    """Whether the key stands before the query, or is it, in the other order."""
    assert positions.is_masked is not None
    length = positions.is_masked.shape[1]
    place = torch.arange(length, device=positions.is_masked.device) + length * positions.is_masked
    return place[:, None, :] <= place[:, :, None]
