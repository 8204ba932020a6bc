"""Memory at the peak of each phase of a run, beside the weights of all loaded models.

The formulas follow what the stages hold (`attribution.path`, `destination_gradients`,
`edge_gradients`, `pair_flow`, `evaluation.circuit_run`, `ablation.sweep`), tensor by tensor. A peak
is that of the largest of the batches that are given. Allocators round up and fragment, so a plan
fills a share of the memory only. Two phases are the host's: a chunk's scores wait to be saved, and
scores are compared.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from mechshift.attribution import NUM_GROUPS
from mechshift.attribution.edge_gradients import CONTRACTED_BYTES
from mechshift.comparison import (
    ARRAYS_OF_BLOCK,
    BLOCK_BYTES,
    CHUNK_BYTES,
    COLUMNS,
    MEASURING_BYTES,
)
from mechshift.denoising import COMPARED_WITH_CLEAN
from mechshift.graph import third_of_layers
from mechshift.run.planning.workload import Batches, ModelOnTask
from mechshift.semantics._logit_lens import LOGITS_PER_PIECE

WIDE = 4
"""Bytes of a float32, in which sums and scores are kept."""

GIM_BACKWARD = 5
"""float32 tensors [row, head, query, key] that the backward pass of GIM's attention holds."""

VOCABULARY_TENSORS = {"logit_diff": 2, "log_prob": 3, "prob_diff": 5, "kl": 7}
"""float32 tensors [readout, vocab] that a metric and its gradient hold beside the logits."""

MANY_THREADS = 16
"""Threads that a host is taken to have."""

Bytes = Int[np.ndarray, " batch"]
"""Of each batch."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most memory that one phase takes for one model on one task [bytes]."""

    phase: str
    """`decode`, `gradients`, `contract`, and so on: what a function here is called, or does."""
    task: str
    model: str
    weights_bytes: int
    """Of all models that are loaded, which are in memory together."""
    made_bytes: int
    """Of everything that is made for the batch, and kept of the one before."""
    total_bytes: int
    memory: Literal["device", "host"]
    """Whose it is."""


def _peak(model: ModelOnTask, phase: str, batches: Bytes | int) -> Peak:
    largest, on_host = int(np.max(batches)), phase in ("chunk", "compare")
    weights = model.weights if model.host_is_device or not on_host else 0
    return Peak(
        phase=phase,
        task=model.task,
        model=model.name,
        weights_bytes=weights,
        made_bytes=largest,
        total_bytes=weights + largest,
        memory="host" if on_host else "device",
    )


def decode(model: ModelOnTask, batches: Batches) -> Peak:
    """A call without gradients that finds the pool, beside an ARM's keys and values."""
    shape, cached = model.shape, batches.rows * (batches.positions + batches.cached)
    cache = 2 * shape.num_layers * shape.d_key * (model.kind == "arm")
    logits = batches.readouts * shape.vocab_size * (model.itemsize + 2 * WIDE)
    layer = batches.tokens * _layer_numbers(model)
    return _peak(
        model, "decode", logits + (layer + cached * cache + batches.pairs) * model.itemsize
    )


def gradients(model: ModelOnTask, batches: Batches) -> Peak:
    """The first backward pass of a point of the path; every point has the same."""
    groups = model.graph.num_key_value_groups
    path = _backward_pass(model, batches, groups, gim=model.uses_gim)
    kept = _gradient_sums(model, batches) + 2 * _scores(model, batches) + _held(model)
    return _peak(model, "gradients", path + kept)


def contract(model: ModelOnTask, batches: Batches) -> Peak:
    """Gradients become scores, after each point and after the last; an upper bound.

    As if what is held along norms' inputs after a point, with its activations, and the directions
    of a layer's heads after the last point were there together. Differences at full width are made
    block by block of rows, the next beside the last.
    """
    shape, graph = model.shape, model.graph
    row = graph.num_sources * batches.positions * shape.d_model * WIDE
    rows = np.minimum(batches.rows, np.maximum(1, CONTRACTED_BYTES // row))
    full_width = rows * row * (1 + (rows < batches.rows))
    # In float32 an RMSNorm's input is the very tensor that was recorded.
    copied = model.itemsize < WIDE or shape.family.layer_norm
    inputs = shape.num_layers * shape.d_model * WIDE
    recorded = _recorded_numbers(model, graph.num_key_value_groups) * model.itemsize
    # Inner products along all norms' inputs; or directions of one layer's heads, and the
    # projections that make them, in parts and joined.
    along_inputs = rows * batches.positions * (inputs + 2 * shape.num_layers * graph.num_sources)
    wide_heads = _destinations(model) * shape.d_model * WIDE
    projections = wide_heads * shape.head_dim
    directions = np.maximum(projections, rows * batches.positions * wide_heads)
    reference = (model.metric in COMPARED_WITH_CLEAN) * shape.vocab_size * model.itemsize
    return _peak(
        model,
        "contract",
        batches.tokens * (recorded + copied * inputs)
        + batches.readouts * reference
        + _gradient_sums(model, batches)
        + _differences(model, batches, WIDE)
        + full_width
        + np.maximum(along_inputs * WIDE, projections + directions)
        + 2 * _scores(model, batches)
        + _held(model),
    )


def exact(model: ModelOnTask, batches: Batches, edges_per_pass: int) -> Peak:
    """Exact patching: a pass that holds the batch once for each changed edge."""
    shape, graph = model.shape, model.graph
    copies = min(edges_per_pass, graph.num_sources)
    layer = 3 * (shape.d_mlp + shape.d_routed) + 6 * shape.d_query + 6 * shape.d_model
    # Recorded per query head, whatever the graph; and differences at full width.
    numbers = _recorded_numbers(model, shape.num_heads) + graph.num_sources * shape.d_model
    passing = batches.tokens * (numbers + copies * layer) + copies * batches.pairs
    kept = 2 * _logits(model, batches) + 5 * _scores(model, batches) // 2 + _held(model)
    differences = _differences(model, batches, model.itemsize)
    return _peak(model, "exact", passing * model.itemsize + differences + kept)


def flow(model: ModelOnTask, batches: Batches) -> Peak:
    """A backward pass of flow, which keeps numbers for all pairs of positions."""
    shape, layers = model.shape, model.shape.num_layers
    path = _backward_pass(model, batches, shape.num_key_value_heads)
    pairs = batches.pairs * shape.num_heads
    # Operands of attention and their derivatives, of every layer; in one layer what is added.
    streams = batches.tokens * (2 * layers + 1) * shape.d_model
    operands = layers * (6 * batches.tokens * shape.d_query + pairs) + 4 * pairs
    scores = batches.slots * layers * 2 * pairs
    return _peak(model, "flow", path + (streams + operands + scores) * WIDE)


def read(model: ModelOnTask, batches: Batches) -> Peak:
    """All components are read, through the lens a piece of the vocabulary at a time."""
    shape, heads = model.shape, model.shape.num_heads + 1
    recorded = batches.tokens * _recorded_numbers(model, shape.num_heads) + batches.pairs
    lens = np.minimum(batches.readouts * heads * shape.vocab_size, LOGITS_PER_PIECE)
    written = batches.readouts * heads * shape.d_model
    wide = 4 * lens + written + 3 * batches.pairs * shape.num_heads
    return _peak(model, "read", (recorded + lens) * model.itemsize + wide * WIDE)


def attribute_neurons(model: ModelOnTask, batches: Batches) -> Peak:
    """A backward pass to the hidden units of the early layers, as a part of reading."""
    shape = model.shape
    early = max(1, int(third_of_layers(shape.num_layers)[0].sum()))
    units = 2 * batches.tokens * early * shape.d_mlp * model.itemsize
    sums = batches.tokens * batches.slots * early * shape.d_model * WIDE
    path = _backward_pass(model, batches, shape.num_key_value_heads)
    return _peak(model, "read", path + units + sums)


def attribute_experts(model: ModelOnTask, batches: Batches) -> Peak:
    """A backward pass to what the mixtures write, as a part of reading."""
    shape = model.shape
    sums = batches.tokens * batches.slots * shape.num_layers * shape.d_model * WIDE
    path = _backward_pass(model, batches, shape.num_key_value_heads)
    return _peak(model, "read", path + sums)


def ablate(model: ModelOnTask, batches: Batches) -> Peak:
    """Ablations: outputs of the clean and the corrupted run, and one plan's pass.

    Of the corrupted run those of neurons are kept only where neurons are ablated.
    """
    shape = model.shape
    nodes = shape.num_layers * (shape.d_query + shape.d_model) + shape.d_model
    d_mlp = 0 if shape.num_experts else shape.d_mlp
    hidden = (1 + ("neurons" in model.settings.ablation.kinds)) * shape.num_layers * d_mlp
    # While norms are measured: what the heads of a layer write, and its squares.
    written = 2 * shape.num_heads * shape.d_model * WIDE
    passing = max(_layer_numbers(model) * model.itemsize, written)
    kept = (batches.tokens * (2 * nodes + hidden) + batches.pairs) * model.itemsize
    return _peak(model, "ablate", batches.tokens * passing + kept + 2 * _logits(model, batches))


def circuit(model: ModelOnTask, batches: Batches, num_edges: int) -> Peak:
    """A sparse run of a circuit of so many edges, as if it had as many live sources."""
    shape, graph, itemsize = model.shape, model.graph, model.itemsize
    # In the full graph the destinations of a layer all have the same parents.
    distinct = 1 if num_edges >= graph.num_edges else min(_destinations(model), num_edges)
    # The sum, and RMSNorm's two float32 copies of it; then what heads, or the MLP, make.
    inputs = distinct * shape.d_model * (itemsize + 2 * WIDE)
    written = itemsize * (shape.num_heads * shape.d_model + 6 * shape.d_query)
    units = (3 if shape.family.gated_mlp else 4) * shape.d_mlp + 3 * shape.d_routed
    hidden = itemsize * (units + 2 * shape.d_model)
    # The run that ablated edges carry, the difference of the embeddings, and those of sources.
    cached = _recorded_numbers(model, shape.num_key_value_heads) + shape.d_model
    live = min(graph.num_sources, num_edges) * shape.d_model
    per_token = (cached + live) * itemsize + max(inputs + written, hidden)
    attention, logits = batches.pairs * itemsize, 3 * _logits(model, batches) // 2
    return _peak(model, "circuits", batches.tokens * per_token + attention + logits)


def chunk(model: ModelOnTask) -> Peak:
    """Scores of a chunk of examples, before they are saved."""
    return _peak(model, "chunk", chunk_bytes(model))


def chunk_bytes(model: ModelOnTask) -> int:
    """The same [bytes]. Chunks are written into a file, which is mapped where it is read.

    Those of single examples are held until a chunk's shards are averaged, and sums over groups of
    examples are in float64 until they are written.
    """
    attribution, num_steps = model.settings.attribution, model.schedule.num_steps
    num_examples = min(attribution.examples_per_chunk, model.settings.pool.num_examples)
    shards = num_examples // attribution.examples_per_shard
    rows = num_examples + (shards if attribution.examples_per_shard > 1 else 0)
    if num_steps > 1 and attribution.steps == "grouped" and model.is_read_by_step:
        rows += 2 * min(NUM_GROUPS, shards)
    held_steps = 1 if attribution.steps == "summed" else num_steps
    return rows * held_steps * model.graph.num_edges * WIDE


def compare(model: ModelOnTask) -> Peak:
    """A member's scores are compared with another's; at most.

    Both models' scores, summed over steps and at one step; pieces of rows of mean scores, made,
    measured and still in use; sums over blocks of examples, in float64; and what threads work in.
    """
    settings, edges = model.settings.comparison, model.graph.num_edges
    draws = max(settings.num_resamples, settings.num_exchanges, settings.num_shuffles)
    row = 4 * edges * WIDE  # of the halves of two models
    piece = max(row, min(CHUNK_BYTES, draws * row))
    block = ARRAYS_OF_BLOCK * max(2 * edges * WIDE, min(BLOCK_BYTES, 2 * draws * edges * WIDE))
    threads = max(block, min(MEASURING_BYTES, MANY_THREADS * block))
    scores = (4 * model.num_rows + 64) * edges * WIDE
    # Likeness by weight: sums of some edges in float64, and products of all pairs of clusters.
    by_weight = 2 * WIDE * model.num_rows * (2 * min(edges, COLUMNS) + 4 * model.num_rows)
    return _peak(model, "compare", scores + max(3 * piece + threads, by_weight))


def saved_per_token(model: ModelOnTask, groups: int) -> int:
    """Bytes that one layer of a forward pass leaves for its backward pass and the hooks.

    The residual stream before both norms and the MLP's output; q, k, v, the rotated q and k, z;
    what the MLP's product and activation saved, and in a mixture what its experts read.

    Args:
        model: whose layer.
        groups: heads whose keys and values the hooks keep: KV heads, or as many as query heads.
    """
    shape, family, keys = model.shape, model.shape.family, groups * model.shape.head_dim
    heads = 6 * shape.d_query
    if family.fused_projections:
        # Each of q, k and v is put back into a copy of the fused output.
        heads = 13 * shape.d_query
    elif keys < shape.d_query:
        # Beside a mask the kernel takes keys and values that are repeated for query heads.
        heads = 5 * shape.d_query + 2 * keys
    mlp = (3 if family.gated_mlp else 4) * shape.d_mlp + shape.d_routed
    numbers = 3 * shape.d_model + heads + mlp
    # What norms behind attention and MLP read, in float32 whatever the model's precision.
    copied = 2 * shape.d_model * family.post_norms
    if model.itemsize < WIDE and not family.layer_norm:
        # RMSNorm works on a float32 copy of what it reads.
        copied += 2 * shape.d_model + family.head_norms * (shape.d_query + keys)
    return numbers * model.itemsize + copied * WIDE


def _backward_pass(
    model: ModelOnTask, batches: Batches, groups: int, *, gim: bool = False
) -> Bytes:
    """What every backward pass along a path holds; `groups` as in `saved_per_token`."""
    shape, itemsize = model.shape, model.itemsize
    pairs = batches.pairs * shape.num_heads
    # In the layer that the pass is in: gradients of the MLP's product, or of GELU written out.
    passing = batches.tokens * itemsize * (3 if shape.family.gated_mlp else 7) * shape.d_mlp
    # Fused kernels keep the sum of each row of weights, no weights.
    attention = batches.tokens * shape.num_heads * WIDE
    if gim:
        passing = np.maximum(passing, pairs * GIM_BACKWARD * WIDE)
        # The scores in float32, and the weights; values a second time, with half the gradient.
        values = 0 if shape.family.fused_projections else shape.d_query * itemsize
        attention = pairs * (WIDE + itemsize) + batches.tokens * values
    # What the final norm reads, and its float32 copy.
    last = itemsize + (itemsize < WIDE and not shape.family.layer_norm) * WIDE
    saved = shape.num_layers * saved_per_token(model, groups) + shape.d_model * last
    activations = batches.tokens * saved + passing + batches.pairs * itemsize
    kept = _logits(model, batches) + _differences(model, batches, WIDE)
    return activations + shape.num_layers * attention + kept


def _destinations(model: ModelOnTask) -> int:
    """Of one layer's heads."""
    return model.shape.num_heads + 2 * model.graph.num_key_value_groups


def _recorded_numbers(model: ModelOnTask, groups: int) -> int:
    """Numbers that the hooks keep of a token, with keys and values of so many heads a layer."""
    shape = model.shape
    # A part of a fused output keeps all of it in memory.
    fused = shape.family.fused_projections
    heads = 10 * shape.d_query if fused else 2 * (shape.d_query + groups * shape.head_dim)
    return shape.num_layers * (3 * shape.d_model + heads) + shape.d_model


def _layer_numbers(model: ModelOnTask) -> int:
    """Of a token, in one layer of a pass without gradients; gone when the next layer begins."""
    shape = model.shape
    return 3 * (shape.d_mlp + shape.d_routed) + 6 * shape.d_query + 4 * shape.d_model


def _differences(model: ModelOnTask, batches: Batches, itemsize: int) -> Bytes:
    """Of what all sources write, heads as z."""
    layers = model.shape.num_layers * (model.shape.d_query + model.shape.d_model)
    return batches.tokens * (model.shape.d_model + layers) * itemsize


def _gradient_sums(model: ModelOnTask, batches: Batches) -> Bytes:
    """At every destination: a head's direction, and one factor of the norm's second term."""
    heads = _destinations(model) * (model.shape.head_dim + 1)
    layers = model.shape.num_layers * (heads + model.shape.d_model)
    return batches.tokens * batches.slots * (model.shape.d_model + layers) * WIDE


def _scores(model: ModelOnTask, batches: Batches) -> Bytes:
    return batches.rows * batches.slots * model.graph.num_edges * WIDE


def _held(model: ModelOnTask) -> int:
    """Scores of the chunk, where they lie on the device."""
    return chunk_bytes(model) if model.host_is_device else 0


def _logits(model: ModelOnTask, batches: Batches) -> Bytes:
    copies = VOCABULARY_TENSORS[model.metric] + (model.itemsize < WIDE)
    return batches.readouts * model.shape.vocab_size * (model.itemsize + copies * WIDE)
