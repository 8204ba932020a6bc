"""Norms of how far the corruption moves what each source writes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mechshift.attribution.source_differences import SourceOutputs, source_outputs, write_heads
from mechshift.denoising import Canvas, CanvasBatch, batch_canvases
from mechshift.interventions import recording
from mechshift.models import DecoderParts, LanguageModel


def difference_norms(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Float64[np.ndarray, " source"]:
    """Norm of the corrupted minus the clean output of every source [residual stream units].

    Summed over positions and denoising steps and averaged over examples, as edge scores are.

    Args:
        model: whose sources.
        canvases: of the examples to average over.
        batch_size: canvases in one pass; changes time and memory, not results.
        progress: called with the number of canvases that one pass has finished; the numbers add
            up to twice the canvases.
    """
    total: Float64[np.ndarray, " source"] = np.zeros(model.graph().num_sources)
    for batch in batch_canvases(model, canvases, batch_size):
        clean, corrupted = (
            _outputs(model, batch, ids) for ids in (batch.clean_ids, batch.corrupted_ids)
        )
        norms = _norms(model.parts, clean, corrupted)
        real = batch.attention_mask.to(norms.dtype)
        total += torch.einsum("bsp,bp->s", norms, real).double().cpu().numpy()
        if progress is not None:
            progress(2 * batch.num_rows)
    return total / len({canvas.example for canvas in canvases})


@torch.no_grad()
def _outputs(
    model: LanguageModel, batch: CanvasBatch, ids: Int64[Tensor, "batch position"]
) -> SourceOutputs:
    with recording(model.parts, grouped=True) as activations:
        model.hidden(ids, batch.attention_mask, batch.position_ids)
    return source_outputs(activations)


@torch.no_grad()
def _norms(
    parts: DecoderParts, clean: SourceOutputs, corrupted: SourceOutputs
) -> Float[Tensor, "batch source position"]:
    """Layer by layer: the outputs of all heads at once would dwarf the model's activations."""
    norms = [(corrupted.embedding - clean.embedding).norm(dim=-1)[:, None]]
    for index, layer in enumerate(parts.layers):
        scaled = [layer.head_map.scaled(run.z[index]) for run in (corrupted, clean)]
        heads = write_heads(scaled[0] - scaled[1], layer, parts.num_heads)
        norms.append(heads.norm(dim=-1))
        norms.append((corrupted.mlp[index] - clean.mlp[index]).norm(dim=-1)[:, None])
    return torch.cat(norms, dim=1)
