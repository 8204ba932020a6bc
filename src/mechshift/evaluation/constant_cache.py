"""Constant outputs for ablated edges: each source's mean, or zero.

Instead of the corrupted run there is a run that nothing computes: source u writes c_u at every
position, its mean over other examples or zero, and a destination without in-circuit parents reads
the sum of the constants before it. A destination with some reads, for each of them, what it writes
in this run instead of its constant. So only edges are ablated, as in `evaluate_graph` of EAP-IG
(interventions `zero` and `mean-positional`), and as there:

1. `input` is a source like any other: its edges outside the circuit carry the constant.
2. A head's constant is its z. Where a norm stands behind a layer's heads, what they write is what
   it makes of all their constants, and in a run what it makes of the live heads' z and the other
   heads' constants.
3. What belongs to no source stays: the bias of each output projection, and learned positions (a
   node of their own in TransformerLens; here `input` writes them, so its constant keeps them).
4. Dangling edges are dropped first (`without_dangling`; EAP-IG prunes). Under resampling this
   changes nothing. Here it is part of the definition: a head that nothing in the circuit feeds
   would make something else of constants than its own constant.

With all edges in the circuit every constant cancels and the metric is the clean one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.source_differences import SourceOutputs
from mechshift.denoising import CanvasBatch, readout_hidden
from mechshift.evaluation._corrupted_cache import CorruptedCache
from mechshift.interventions import LayerRecording, Recording, recording
from mechshift.interventions.patched_projections import attention_arguments
from mechshift.models import DecoderParts, LanguageModel


def zero_cache(model: LanguageModel, batch: CanvasBatch) -> CorruptedCache:
    """Every source writes zero."""
    clean = _clean_inputs(model, batch)
    token_embedding = model.parts.embedding(batch.clean_ids)
    head = token_embedding.new_zeros(
        (*batch.clean_ids.shape, model.parts.num_heads * model.parts.head_dim)
    )
    layers = range(len(model.parts.layers))
    zeros = SourceOutputs(
        embedding=clean.embedding - token_embedding,
        z=tuple(head for _ in layers),
        mlp=tuple(torch.zeros_like(token_embedding) for _ in layers),
    )
    return _cache(model, batch, clean, zeros)


def constant_cache(
    model: LanguageModel, batch: CanvasBatch, constants: SourceOutputs
) -> CorruptedCache:
    """Every source writes `constants`, which has the rows and positions of the batch."""
    return _cache(model, batch, _clean_inputs(model, batch), constants)


@dataclass(frozen=True, kw_only=True, eq=False)
class _CleanInputs:
    """Parts of the clean run that a run needs besides its constants."""

    embedding: Float[Tensor, "batch position d_model"]
    attention_arguments: Sequence[dict[str, Any]]


@torch.no_grad()
def _clean_inputs(model: LanguageModel, batch: CanvasBatch) -> _CleanInputs:
    """A whole pass, because only the stock decoder knows how it calls its attention."""
    with (
        recording(model.parts, grouped=True) as activations,
        attention_arguments(model.parts) as arguments,
    ):
        model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return _CleanInputs(embedding=activations.embedding, attention_arguments=arguments)


@torch.no_grad()
def _cache(
    model: LanguageModel, batch: CanvasBatch, clean: _CleanInputs, constants: SourceOutputs
) -> CorruptedCache:
    activations = _constant_activations(model.parts, constants)
    hidden = model.parts.final_norm(readout_hidden(activations.final_input, batch))
    return CorruptedCache(
        batch=batch,
        activations=activations,
        attention_arguments=clean.attention_arguments,
        input_difference=clean.embedding - constants.embedding,
        logits=model.parts.unembedding(hidden),
    )


def _constant_activations(parts: DecoderParts, constants: SourceOutputs) -> Recording:
    """The residual stream as the running sum of the constants, and what is projected from it."""
    record = Recording(layers=tuple(LayerRecording() for _ in parts.layers))
    residual = constants.embedding
    for layer, kept, z, mlp in zip(
        parts.layers, record.layers, constants.z, constants.mlp, strict=True
    ):
        kept.attention_input = residual
        normed = layer.attention_norm(residual)
        kept.query, kept.key, kept.value = (
            layer.query(normed),
            layer.key(normed),
            layer.value(normed),
        )
        kept.z = z
        kept.mlp_input = residual + layer.head_map(z)
        kept.mlp_output = mlp
        residual = kept.mlp_input + mlp
    record.final_input = residual
    return record
