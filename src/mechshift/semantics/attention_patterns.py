"""Attention patterns of each head, whichever kernel the model runs.

Fast kernels do not return attention weights. They need not be asked: a head's output is its weights
times its values, so values that name their positions read the weights off.

1. Take a layer's recorded queries and keys, and for values e_j at position j, with e_j a unit
   vector of d_head dimensions. `attend` runs the stock attention, so norms of q and k, rotation,
   mask and scale are the model's own; z at query i is the row of weights of i.
2. Positions are named d_head at a time.

With queries of zero the same call gives uniform attention over the keys that a query can see: what
a head without preference would do there, whatever the mask.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.interventions.patched_projections import Heads, attend
from mechshift.semantics.recorded_run import RecordedRun


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionPattern:
    """Attention weights of one layer; rows sum to 1. Rows of padding queries mean nothing.

    In float32 at least, with the precision of the model.
    """

    weights: Float[Tensor, "row head query key"]
    uniform: Float[Tensor, "row query key"]
    """Equal weights on every key that the query can see."""


@torch.no_grad()
def attention_pattern(run: RecordedRun, layer: int) -> AttentionPattern:
    """The attention weights of a layer in a recorded run."""
    recorded, d_head = run.record.layers[layer], run.model.parts.head_dim
    query, key = (t.unflatten(-1, (-1, d_head)) for t in (recorded.query, recorded.key))
    uniform = _weights(run, layer, torch.zeros_like(query[:, :, :1]), key[:, :, :1])
    return AttentionPattern(weights=_weights(run, layer, query, key), uniform=uniform[:, 0])


def _weights(
    run: RecordedRun, layer: int, query: Heads, key: Heads
) -> Float[Tensor, "row head query key"]:
    parts = run.model.parts
    length, d_head = query.shape[1], query.shape[-1]
    read = []
    for first in range(0, length, d_head):
        named = min(d_head, length - first)
        value = torch.zeros_like(query)
        places = torch.arange(named, device=query.device)
        value[:, first + places, :, places] = 1.0
        z = attend(parts.layers[layer], query, key, value, run.arguments[layer])
        read.append(z[..., :named])
    weights = torch.cat(read, dim=-1).transpose(1, 2)
    return weights.to(torch.promote_types(weights.dtype, torch.float32))
