"""A recorded run: all components' outputs and attention in one forward pass.

Every analysis of this package reads a `RecordedRun`, so that one clean forward pass serves them
all. The hooks are gone when the pass is over.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.attribution.source_differences import write_heads
from mechshift.denoising import CanvasBatch
from mechshift.interventions import Recording, recording
from mechshift.interventions.patched_projections import Arguments, attention_arguments
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedRun:
    """One forward pass without gradients."""

    model: LanguageModel
    attention_mask: Int64[Tensor, "row position"]
    """1 at tokens, 0 at padding."""
    record: Recording
    """Keys and values stand once for each query head."""
    arguments: list[Arguments]
    """How each layer's attention was called, for `patched_projections.attend`."""
    hidden: Float[Tensor, "row position d_model"]
    """After the final norm."""


@torch.no_grad()
def recorded_run(
    model: LanguageModel,
    input_ids: Int64[Tensor, "row position"],
    attention_mask: Int64[Tensor, "row position"],
    position_ids: Int64[Tensor, "row position"],
) -> RecordedRun:
    """Run the model once and keep its activations."""
    with recording(model.parts) as record, attention_arguments(model.parts) as arguments:
        hidden = model.hidden(input_ids, attention_mask, position_ids)
    return RecordedRun(
        model=model,
        attention_mask=attention_mask,
        record=record,
        arguments=arguments,
        hidden=hidden,
    )


def clean_run(model: LanguageModel, batch: CanvasBatch) -> RecordedRun:
    """Run the model once on the clean canvases of a batch."""
    return recorded_run(model, batch.clean_ids, batch.attention_mask, batch.position_ids)


def layer_outputs(
    run: RecordedRun, batch: CanvasBatch, layer: int
) -> Float[Tensor, "readout component d_model"]:
    """What each head of a layer, and then its MLP, adds to the residual stream at the readouts.

    In float32 at least. The bias of the attention's output projection belongs to no head.
    """
    parts, recorded = run.model.parts, run.record.layers[layer]
    scaled = parts.layers[layer].head_map.scaled(at_readouts(recorded.z, batch))
    heads = write_heads(scaled[None], parts.layers[layer], parts.num_heads)[0].transpose(0, 1)
    return torch.cat([heads, at_readouts(recorded.mlp_output, batch)[:, None]], dim=1)


def residual_stream(run: RecordedRun, batch: CanvasBatch) -> Float[Tensor, "readout level d_model"]:
    """The residual stream at the readouts before each layer, and last before the final norm."""
    levels = [layer.attention_input for layer in run.record.layers]
    return torch.stack(
        [at_readouts(level, batch) for level in (*levels, run.record.final_input)], dim=1
    )


def at_readouts(
    tensor: Float[Tensor, "row position d"], batch: CanvasBatch
) -> Float[Tensor, "readout d"]:
    """The entries at the scored positions, in float32 at least."""
    picked = tensor[batch.readout_row, batch.readout_position]
    return picked.to(torch.promote_types(picked.dtype, torch.float32))
