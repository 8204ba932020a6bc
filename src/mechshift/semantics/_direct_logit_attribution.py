"""Direct logit attribution: what each component writes towards the target.

The logits read the residual stream x, the sum of what all components write and of the biases that
belong to none. With the divisor r = r(x) of the final norm frozen at its value on the whole stream,
the way from there is linear, and the logit difference is a sum. With w the norm's weight, c its
centring, and v = W_U[target] - W_U[distractor]:

    logit difference = sum over components u of < w c(u) / r , v >
                     + the same for each layer's output-projection bias (GPT-2)
                     + < bias of the final norm , v > + difference of the unembedding's biases

so the contributions add up to it exactly. c is its own transpose, so one vector per readout,
g = c(w v) / r, is enough: a component contributes < u , g >, and a head < z , W_O^T g > at d_head
numbers, with what `models.OutputMap` says where a norm stands behind W_O. Nothing is ranked or
compared with other tokens here; `logit_lens` does that.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2022,
arXiv:2211.00593, section 3.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import CanvasBatch
from mechshift.graph import Graph
from mechshift.models import DecoderParts, held
from mechshift.semantics.readouts import Readouts, readouts_of
from mechshift.semantics.recorded_run import RecordedRun, at_readouts


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectLogitAttribution:
    """Each component's contribution to the logit difference at each readout [logits]."""

    graph: Graph
    readouts: Readouts
    components: Float[np.ndarray, "readout source"]
    """In graph order; positive: writes towards the target."""
    output_bias: Float[np.ndarray, "readout layer"]
    """Of each attention output projection's bias; 0 where there is none."""
    final_bias: Float[np.ndarray, " readout"]
    """Of the biases behind the residual stream: the final norm's and the unembedding's."""
    logit_diff: Float[np.ndarray, " readout"]
    """Target minus distractor, from the model's own logits."""

    def __post_init__(self) -> None:
        num = len(self.readouts.example)
        shapes = self.components.shape, self.output_bias.shape
        fitting = (num, self.graph.num_sources), (num, self.graph.num_layers)
        assert shapes == fitting, f"contributions are of {shapes} readouts and parts, not {fitting}"

    @property
    def gap(self) -> Float[np.ndarray, " readout"]:
        """Logit difference minus all contributions: rounding of the model's precision."""
        explained = self.components.sum(axis=1) + self.output_bias.sum(axis=1) + self.final_bias
        return self.logit_diff - explained


@torch.no_grad()
def direct_logit_attribution(run: RecordedRun, batch: CanvasBatch) -> DirectLogitAttribution:
    """The contributions of one batch, from its clean run; `join_readouts` joins several."""
    parts, record = run.model.parts, run.record
    towards_target = _unembedding_difference(parts, batch)
    direction = _direction(parts, at_readouts(record.final_input, batch), towards_target)
    components = [_written(at_readouts(record.embedding, batch), direction)[:, None]]
    output_bias = []
    for layer, recorded in zip(parts.layers, record.layers, strict=True):
        at_z = direction @ layer.head_map.weight.to(direction.dtype)
        scaled = layer.head_map.scaled(at_readouts(recorded.z, batch))
        by_head = (scaled * at_z).unflatten(-1, (parts.num_heads, -1))
        mlp = _written(at_readouts(recorded.mlp_output, batch), direction)
        components += [by_head.sum(dim=-1), mlp[:, None]]
        output_bias.append(_of_bias(layer.output.bias, direction))
    logits = at_readouts(run.hidden, batch)
    return DirectLogitAttribution(
        graph=run.model.graph(),
        readouts=readouts_of(batch),
        components=torch.cat(components, dim=1).cpu().numpy(),
        output_bias=torch.stack(output_bias, dim=1).cpu().numpy(),
        final_bias=_final_bias(parts, batch, towards_target).cpu().numpy(),
        logit_diff=(
            _written(logits, towards_target) + _unembedding_bias(parts, batch, towards_target)
        )
        .cpu()
        .numpy(),
    )


def _unembedding_difference(
    parts: DecoderParts, batch: CanvasBatch
) -> Float[Tensor, "readout d_model"]:
    weight = held(parts.unembedding, "weight")
    assert weight is not None
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return weight[batch.target_ids].to(dtype) - weight[batch.distractor_ids].to(dtype)


def _direction(
    parts: DecoderParts,
    residual: Float[Tensor, "readout d_model"],
    towards_target: Float[Tensor, "readout d_model"],
) -> Float[Tensor, "readout d_model"]:
    """G of the module's text: what a change of the residual stream is multiplied with."""
    norm = parts.final_norm
    divisor = norm.divisor(norm.centred(residual))
    return norm.centred(norm.weight.to(residual.dtype) * towards_target) / divisor


def _written(
    output: Float[Tensor, "readout d_model"], direction: Float[Tensor, "readout d_model"]
) -> Float[Tensor, " readout"]:
    return (output * direction).sum(dim=-1)


def _of_bias(
    bias: Float[Tensor, " d_model"] | None, direction: Float[Tensor, "readout d_model"]
) -> Float[Tensor, " readout"]:
    if bias is None:
        return direction.new_zeros(len(direction))
    return direction @ bias.to(direction.dtype)


def _unembedding_bias(
    parts: DecoderParts, batch: CanvasBatch, towards_target: Float[Tensor, "readout d_model"]
) -> Float[Tensor, " readout"]:
    bias = held(parts.unembedding, "bias")
    if bias is None:
        return towards_target.new_zeros(len(towards_target))
    return (bias[batch.target_ids] - bias[batch.distractor_ids]).to(towards_target.dtype)


def _final_bias(
    parts: DecoderParts, batch: CanvasBatch, towards_target: Float[Tensor, "readout d_model"]
) -> Float[Tensor, " readout"]:
    unembedding = _unembedding_bias(parts, batch, towards_target)
    return _of_bias(parts.final_norm.bias, towards_target) + unembedding
