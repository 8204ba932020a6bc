"""How many floating-point operations do passes and scores take?

A multiplication and an addition count as two. Counted are matrix products, which take nearly all of
the time in large models; elementwise work is not.

- Forward: 2 for each weight of a layer and token, 4 d_head for each head and pair of positions,
  2 d_model vocabulary at each readout. Embeddings are looked up, not multiplied.
- Backward: parameters need no gradient, so every linear map costs what it costs forward, once. A
  fused attention kernel computes its scores again: 5 products instead of 2. GIM's attention, which
  is made of plain products, takes 4.
- Causal attention is counted whole, as kernels with a mask compute it.

`torch.utils.flop_counter` counts alike (the tests compare), but does not see the CPU's fused
attention kernel.
"""

from dataclasses import dataclass

import numpy as np

from mechshift.graph import KEY, QUERY, VALUE, Graph
from mechshift.models import ModelShape
from mechshift.run.planning.batches import Batch, Pass

FUSED_BACKWARD, PLAIN_BACKWARD = 2.5, 2.0
"""Matrix products of attention's backward pass, over those of its forward pass."""


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations in the model's dtype, and those that are in float32 whatever the model's is."""

    model: float = 0.0
    float32: float = 0.0

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(model=self.model + other.model, float32=self.float32 + other.float32)

    @property
    def total(self) -> float:
        return self.model + self.float32


def forward_flops(shape: ModelShape, call: Pass) -> Flops:
    """Of one call of the decoder and of the unembedding at its readouts."""
    return Flops(
        model=_linear(shape, call.tokens)
        + _attention(shape, call)
        + _unembedding(shape, call.readouts)
    )


def backward_flops(shape: ModelShape, call: Pass, *, gim: bool = False) -> Flops:
    """Of one backward pass from the readouts to the embeddings."""
    attention = PLAIN_BACKWARD if gim else FUSED_BACKWARD
    return Flops(
        model=_linear(shape, call.tokens)
        + attention * _attention(shape, call)
        + _unembedding(shape, call.readouts)
    )


def contraction_flops(shape: ModelShape, graph: Graph, batch: Batch, num_points: int) -> Flops:
    """Of turning a batch's differences and gradients into scores (`attribution.edge_gradients`).

    For each token:

    - after each point, and after the last, every head's z through its slice of the output
      projection;
    - after each point, inner products of all sources with every attention norm's input, which each
      slot multiplies with a factor for each edge into a head;
    - after the last, for each slot, every head's gradient through its projection, and an inner
      product of d_model numbers for each edge.
    """
    destinations = shape.num_heads + 2 * graph.num_key_value_groups
    writes = shape.num_layers * shape.d_query * shape.d_model
    along_inputs = shape.num_layers * graph.num_sources * shape.d_model
    into_heads = graph.num_parents[np.isin(graph.destination_kind, (QUERY, KEY, VALUE))].sum()
    at_point = writes + along_inputs + batch.slots * int(into_heads)
    directions = shape.num_layers * destinations * shape.head_dim * shape.d_model
    products = graph.num_edges * shape.d_model
    at_end = writes + batch.slots * (directions + products)
    return Flops(float32=batch.tokens * 2.0 * (num_points * at_point + at_end))


def circuit_flops(shape: ModelShape, graph: Graph, batch: Batch, num_edges: int) -> Flops:
    """Of running a circuit of so many edges: an upper estimate, since which edges is not yet known.

    As if a circuit had as many live sources and destinations as it has edges, spread evenly, and
    no two destinations of a layer the same parents. In the full graph all of them have.
    """
    full = num_edges >= graph.num_edges
    live = min(1.0, num_edges / graph.num_sources)
    read = min(1.0, num_edges / graph.num_destinations)
    repeated = 0 if full else shape.num_heads - shape.num_key_value_heads
    extra = 2 * repeated * shape.head_dim * shape.d_model
    linear = shape.attention_weights + shape.mlp_weights + extra
    parents = _distinct_parents(shape, graph, full=full)
    projected = live * shape.num_layers * linear
    # `logits` is read at the readouts only.
    summed = read * live * parents * shape.d_model
    last = 2.0 * batch.readouts * live * graph.num_sources * shape.d_model
    return Flops(
        model=2.0 * batch.tokens * (projected + summed)
        + live * _attention(shape, batch.forward)
        + _unembedding(shape, batch.readouts)
        + last
    )


def _distinct_parents(shape: ModelShape, graph: Graph, *, full: bool) -> int:
    """Parents of all distinct inputs of heads and MLPs."""
    before = [1 + layer * (shape.num_heads + 1) for layer in range(shape.num_layers)]
    inputs = 1 if full else shape.num_heads + 2 * graph.num_key_value_groups
    return sum(inputs * count + count + shape.num_heads for count in before)


def _linear(shape: ModelShape, tokens: int) -> float:
    return 2.0 * tokens * shape.num_layers * (shape.attention_weights + shape.mlp_weights)


def _attention(shape: ModelShape, call: Pass) -> float:
    pairs = call.rows * call.positions * call.keys
    return 4.0 * pairs * shape.num_layers * shape.d_query


def _unembedding(shape: ModelShape, readouts: int) -> float:
    return 2.0 * readouts * shape.d_model * shape.vocab_size
