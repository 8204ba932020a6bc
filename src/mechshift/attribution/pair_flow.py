"""Flow between pairs of positions: the part of a score that passes from one to another.

The scores of all edges into one destination add up to the inner product of the metric's gradient at
what it reads with dx, the corrupted minus the clean residual stream there (`edge_gradients`). For a
head's k and v that sum falls apart by the position j at which the residual stream is read and the
position i whose query takes it up. With post-rotation q, k and v, attention a, the gradient g at z,
and Dk, Dv the directional derivatives of k and v along dx through norm, projection, per-head norm
and rotation:

    over v[i, j] = - a_ij (g_i . Dv_j)
    over k[i, j] = - ds_ij (q_i . Dk_j) scaling,   ds_ij = a_ij (g_i . v_j - sum_n a_in (g_i . v_n))

Summed over i and j they are the summed EAP-IG scores of the edges into that k and v, exactly. A
query, an MLP and `logits` read the residual stream at the very position that they act on, so none
of their scores crosses positions, and each has one position only:

    over q[i] = - sum_j ds_ij (Dq_i . k_j) scaling,   over m[i] = - g_i . Dm_i

Gradients come from `path`, the operands of attention from the stock code (`attention_operands`).
Attention is computed again in float32 at least. For a batch, memory holds a number for each layer,
head, pair of positions and scored step, of k and of v; nothing grows with the number of examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.functional import jvp
from torch.nn import functional

from mechshift.attribution.path import InputPath
from mechshift.interventions import (
    Arguments,
    AttentionOperands,
    Recording,
    batch_arguments,
    operands_returned,
)
from mechshift.models import LayerParts

FLOW_KINDS = ("k", "v")
"""Kinds of destination through which something flows from one position to another."""

KEY, VALUE = range(len(FLOW_KINDS))


@dataclass(frozen=True, kw_only=True, eq=False)
class PairFlow:
    """Scores of one batch by position, in units of the metric; the batch's padding included."""

    pairs: Float[Tensor, "slot layer kind row head query source"]
    """Of k and v: what flows from the source position to the query position."""
    query: Float[Tensor, "slot layer row head position"]
    mlp: Float[Tensor, "slot layer row position"]
    logits: Float[Tensor, "slot row position"]


def pair_flow(path: InputPath, points: Sequence[float]) -> PairFlow:
    """Scores by position of a batch, with gradients at these points of its path.

    `path` must record one key and one value per KV head (`grouped=True`).
    """
    sums = _PairFlowSums(path, num_points=len(points))
    path.add_gradients(points, sums)
    return sums.total


@dataclass(frozen=True, kw_only=True, eq=False)
class _ResidualDifferences:
    """Corrupted minus clean residual stream: the sum of what all earlier sources write."""

    attention: tuple[Float[Tensor, "row position d_model"], ...]
    """Before each layer."""
    mlp: tuple[Float[Tensor, "row position d_model"], ...]
    """Before each layer's MLP."""
    final: Float[Tensor, "row position d_model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _HeadOperands:
    """Of one layer at one point, for each query head; the scaling is in `query` and its tangent."""

    query: Float[Tensor, "row head position d_head"]
    key: Float[Tensor, "row head position d_head"]
    value: Float[Tensor, "row head position d_head"]
    query_tangent: Float[Tensor, "row head position d_head"]
    key_tangent: Float[Tensor, "row head position d_head"]
    value_tangent: Float[Tensor, "row head position d_head"]
    attention: Float[Tensor, "row head query source"]


class _PairFlowSums:
    """A `GradientSums` that turns each gradient into scores by position at once."""

    def __init__(self, path: InputPath, *, num_points: int) -> None:
        self._path = path
        self._model = path.model
        parts = path.model.parts
        dtype = torch.promote_types(path.model.dtype, torch.float32)
        # The metric falls where the score rises; the sum over points becomes a mean.
        self._weight = -1.0 / num_points
        self._arguments = batch_arguments(path.model, path.batch)
        self._dtype = dtype
        self._differences: _ResidualDifferences | None = None
        self._heads: list[_HeadOperands] = []
        rows, positions = path.batch.clean_ids.shape
        slots, layers = path.batch.num_slots, len(parts.layers)
        new = partial(torch.zeros, dtype=dtype, device=path.model.device)
        pairs = (parts.num_heads, positions, positions)
        self.total = PairFlow(
            pairs=new((slots, layers, len(FLOW_KINDS), rows, *pairs)),
            query=new((slots, layers, rows, *pairs[:2])),
            mlp=new((slots, layers, rows, positions)),
            logits=new((slots, rows, positions)),
        )

    def differentiated(self, record: Recording) -> list[Tensor]:
        per_layer = (tensor for layer in record.layers for tensor in (layer.z, layer.mlp_read))
        return [*per_layer, record.final_input]

    def begin_point(self, record: Recording) -> None:
        self._heads = []
        if self._differences is None:
            self._differences = _residual_differences(self._path, self._dtype)
        # The stock modules are hooked, and are now called by themselves.
        with torch.no_grad(), record.kept(), operands_returned(self._model):
            for index, layer in enumerate(self._model.parts.layers):
                recorded = record.layers[index]
                stream = recorded.attention_input.detach()
                along = self._differences.attention[index].to(stream.dtype)
                operands = _head_operands(layer, self._arguments[index], stream, along, self._dtype)
                self._heads.append(operands)

    def add(self, slot: int, index: int, gradient: Tensor) -> None:
        layer, is_mlp = divmod(index, 2)
        differences = self._differences
        assert differences is not None  # since the first point began
        with torch.no_grad():
            gradient = gradient.to(self._dtype) * self._weight
            if layer == len(self._heads):
                self.total.logits[slot] += (gradient * differences.final).sum(dim=-1)
            elif is_mlp:
                self.total.mlp[slot, layer] += (gradient * differences.mlp[layer]).sum(dim=-1)
            else:
                self._add_heads(slot, layer, gradient)

    def _add_heads(
        self, slot: int, layer: int, z_gradient: Float[Tensor, "row position d_query"]
    ) -> None:
        of = self._heads[layer]
        to_z = z_gradient.unflatten(-1, (of.query.shape[1], -1)).transpose(1, 2)
        to_attention = to_z @ of.value.mT
        mean = (of.attention * to_attention).sum(dim=-1, keepdim=True)
        to_scores = of.attention * (to_attention - mean)
        pairs = self.total.pairs[slot, layer]
        pairs[KEY] += to_scores * (of.query @ of.key_tangent.mT)
        pairs[VALUE] += of.attention * (to_z @ of.value_tangent.mT)
        self.total.query[slot, layer] += (to_scores * (of.query_tangent @ of.key.mT)).sum(dim=-1)


def _residual_differences(path: InputPath, dtype: torch.dtype) -> _ResidualDifferences:
    written, parts = path.differences, path.model.parts
    stream = written.embedding.to(dtype)
    attention, mlp = [], []
    with torch.no_grad():
        for index, layer in enumerate(parts.layers):
            attention.append(stream)
            # The bias of the output projection cancels in the difference.
            z = written.z[index].to(dtype)
            stream = stream + functional.linear(z, layer.head_map.weight.to(dtype))
            mlp.append(stream)
            stream = stream + written.mlp[index].to(dtype)
    return _ResidualDifferences(attention=tuple(attention), mlp=tuple(mlp), final=stream)


def _head_operands(
    layer: LayerParts,
    arguments: Arguments,
    stream: Float[Tensor, "row position d_model"],
    along: Float[Tensor, "row position d_model"],
    dtype: torch.dtype,
) -> _HeadOperands:
    """Operands of attention and their derivatives along a change of the residual stream."""
    returned: list[AttentionOperands] = []

    def operands_of(stream: Float[Tensor, "row position d_model"]) -> tuple[Tensor, ...]:
        _, operands = layer.attention(hidden_states=layer.attention_norm(stream), **arguments)
        returned.append(operands)
        return operands.query, operands.key, operands.value

    values, tangents = jvp(operands_of, stream, along)
    num_heads, scaling, mask = values[0].shape[1], returned[0].scaling, returned[0].mask

    def by_head(tensor: Float[Tensor, "row kv_head position d_head"]) -> Tensor:
        return tensor.to(dtype).repeat_interleave(num_heads // tensor.shape[1], dim=1)

    query, key, value = map(by_head, values)
    query_tangent, key_tangent, value_tangent = map(by_head, tangents)
    scores = scaling * query @ key.mT
    return _HeadOperands(
        query=scaling * query,
        key=key,
        value=value,
        query_tangent=scaling * query_tangent,
        key_tangent=key_tangent,
        value_tangent=value_tangent,
        attention=(scores if mask is None else scores + mask.to(dtype)).softmax(dim=-1),
    )
