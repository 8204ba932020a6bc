"""Operands of attention: what a layer's kernel receives after norms and rotation.

transformers looks its attention kernels up by name. Inside `operands_returned` the model names a
kernel that computes nothing and hands back what it was given, beside its query in place of z. All
that happens before the kernel is the stock code's: projections, Qwen3's norms of queries and keys,
rotation, and the choice of mask. Forward-mode derivatives go through it like any other tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from mechshift.denoising import CanvasBatch
from mechshift.interventions.patched_projections import Arguments, attention_arguments
from mechshift.models import LanguageModel

KERNEL = "mechshift_operands"


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionOperands:
    """Operands of one call of an attention kernel."""

    query: Float[Tensor, "row head position d_head"]
    key: Float[Tensor, "row kv_head position d_head"]
    value: Float[Tensor, "row kv_head position d_head"]
    mask: Float[Tensor, "_ 1 query_position key_position"] | None
    """Added to the scores: 0, or the lowest number where a query does not see a key."""
    scaling: float
    """The factor of query x key."""


@contextmanager
def operands_returned(model: LanguageModel) -> Iterator[None]:
    """Let attention modules return their query as z, and `AttentionOperands` as their weights."""
    # The name stays registered; no other model asks for it.
    AttentionInterface.register(KERNEL, _return_operands)
    AttentionMaskInterface.register(KERNEL, eager_mask)
    config = model.module.config
    before = config._attn_implementation
    config._attn_implementation = KERNEL
    try:
        yield
    finally:
        config._attn_implementation = before


@torch.no_grad()
def batch_arguments(model: LanguageModel, batch: CanvasBatch) -> list[Arguments]:
    """How each layer's attention is called on this batch inside `operands_returned`.

    Masks and angles of rotation depend on the padding of a batch, not on its tokens, so one pass
    serves all runs along a path. It computes no attention, and what comes out of it means nothing.
    """
    with operands_returned(model), attention_arguments(model.parts) as arguments:
        model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return arguments


def _return_operands(
    _module: nn.Module,
    query: Float[Tensor, "row head position d_head"],
    key: Float[Tensor, "row kv_head position d_head"],
    value: Float[Tensor, "row kv_head position d_head"],
    attention_mask: Float[Tensor, "_ 1 query_position key_position"] | None,
    *,
    scaling: float,
    **_flags: Any,
) -> tuple[Float[Tensor, "row position head d_head"], AttentionOperands]:
    operands = AttentionOperands(
        query=query, key=key, value=value, mask=attention_mask, scaling=scaling
    )
    return query.transpose(1, 2), operands
