"""The cache of a corrupted run, from which any circuit can be run on the batch.

Everything that a destination without in-circuit parents keeps, and what the difference of a
source to its corrupted value is taken against. Made once per batch, read by all circuits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import CanvasBatch, readout_logits
from mechshift.interventions import Recording, input_stream, recording
from mechshift.interventions.patched_projections import attention_arguments
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class CorruptedCache:
    """Content of the ablated edges of one batch: the corrupted run, or constants in its place.

    Not to be written to.
    """

    batch: CanvasBatch
    activations: Recording
    """Keys and values are per KV head, whatever the circuit's graph."""
    attention_arguments: Sequence[dict[str, Any]]
    """Per layer: mask, rotary embedding and flags of the stock attention call."""
    input_difference: Float[Tensor, "batch position d_model"]
    """Clean minus corrupted output of `input`."""
    logits: Float[Tensor, "readout vocab"]
    """Logits of this run: those of the empty circuit."""


@torch.no_grad()
def corrupted_cache(model: LanguageModel, batch: CanvasBatch) -> CorruptedCache:
    """Run the stock model on the corrupted tokens of a batch and keep what circuits need.

    What `input` writes is taken from the model, not from its table of embeddings: a decoder may
    scale them, and adds learned positions.
    """
    parts = model.parts
    with (
        recording(parts, grouped=True) as activations,
        attention_arguments(parts) as arguments,
    ):
        hidden = model.hidden(batch.corrupted_ids, batch.attention_mask, batch.position_ids)
    clean_input = input_stream(model, batch.clean_ids, batch.attention_mask, batch.position_ids)
    return CorruptedCache(
        batch=batch,
        activations=activations,
        attention_arguments=arguments,
        input_difference=clean_input - activations.embedding,
        logits=readout_logits(model, hidden, batch),
    )
