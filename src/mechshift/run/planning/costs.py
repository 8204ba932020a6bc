"""Costs of passes over batches: calls of the decoder, operations, peaks of memory, host's time.

A multiplication and an addition are two operations. Counted are matrix products, which take nearly
all of the time in large models; elementwise work is not.

- Forward: 2 for each weight of a layer and token, 4 d_head for each head and pair of positions,
  2 d_model vocabulary at each readout. Embeddings are looked up, not multiplied. Causal attention
  is counted whole, as kernels with a mask compute it.
- Backward: parameters need no gradient, so every linear map costs what it costs forward, once. A
  fused attention kernel computes its scores again: 5 products instead of 2. GIM's attention, which
  is made of plain products, takes 4.

`torch.utils.flop_counter` counts alike (the tests compare), but does not see the CPU's fused
attention kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float

from mechshift.attribution import (
    CLEAN,
    CORRUPTED,
    METHODS,
    method_options,
    num_forward_passes,
    path_points,
)
from mechshift.attribution._eap import ENDS
from mechshift.comparison import NOISE_FREE_ROWS, ComparisonSettings, draws_over_all_edges
from mechshift.denoising import COMPARED_WITH_CLEAN
from mechshift.graph import KEY, QUERY, VALUE, third_of_layers
from mechshift.run.planning import memory
from mechshift.run.planning.memory import Peak
from mechshift.run.planning.workload import Batches, ModelOnTask
from mechshift.statistics import NUM_BLOCKS

FORWARD, FUSED_BACKWARD, PLAIN_BACKWARD = 1.0, 2.5, 2.0
"""Matrix products of attention in a pass, over those of its forward pass."""

RANKED_EDGES, HOST_FLOPS = 4e8, 3e11
"""As if a host ranked so many edges in a second, and took so many operations of products of weights
and scores: of most rows it looks at a part of the edges alone."""

COMPARISON_SECONDS, WHOLE_COMPARISON = 1.5, 3
"""Of comparing two members however small the graph, and `compare` over `circuit_shift`. With the
two above within 25 % of the processor time of one small core that `docs/benchmarks.md` has."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work that is done, and what it leaves on disk; it adds up field by field."""

    forward_passes: int = 0
    """Calls of the decoder."""
    backward_passes: int = 0
    circuit_runs: int = 0
    """Sparse runs of a circuit on a batch, which do not call the decoder as a whole."""
    flops: float = 0.0
    """Operations in the model's dtype."""
    float32_flops: float = 0.0
    """Operations that are in float32 whatever the model's dtype is."""
    host_seconds: float = 0.0
    """Of what the host does without a model."""
    disk_bytes: int = 0
    peaks: tuple[Peak, ...] = ()
    """The most memory that each of its phases takes."""

    def __add__(self, other: "Work") -> "Work":
        """Both."""
        names = [field.name for field in fields(self)]
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in names})


def forward(model: ModelOnTask, batches: Batches, times: int = 1) -> Work:
    """Calls of the decoder, and of the unembedding at their readouts."""
    flops = times * float(_pass_flops(model, batches, FORWARD).sum())
    return Work(forward_passes=times * len(batches), flops=flops)


def _pass_flops(
    model: ModelOnTask, batches: Batches, attention: float
) -> Float[np.ndarray, " batch"]:
    """Of one pass, forward or backward, through the decoder and the unembedding."""
    shape = model.shape
    return (
        2.0 * batches.tokens * shape.num_layers * (shape.attention_weights + shape.mlp_weights)
        + attention * _pair_flops(model, batches)
        + 2.0 * batches.readouts * shape.d_model * shape.vocab_size
    )


def _pair_flops(model: ModelOnTask, batches: Batches) -> Float[np.ndarray, " batch"]:
    """Of attention's products for all pairs of positions."""
    return 4.0 * batches.pairs * model.shape.num_layers * model.shape.d_query


def decoding(model: ModelOnTask, num_examples: int, times: int = 1) -> Work:
    """Calls that answer so many examples."""
    calls = model.decoding(num_examples)
    return forward(model, calls, times) + Work(peaks=(memory.decode(model, calls),))


def ablating(model: ModelOnTask, batches: Batches, times: int, whole: float | None = None) -> Work:
    """Calls with outputs replaced, or recorded to replace others.

    Args:
        times: calls.
        whole: passes through all layers that they come to, where they begin at later ones.
    """
    calls = forward(model, batches, times)
    share = 1.0 if whole is None else whole / times
    return replace(calls, flops=share * calls.flops, peaks=(memory.ablate(model, batches),))


def method_points(model: ModelOnTask, method: str) -> tuple[float, ...]:
    """Points of the path at which a method takes gradients; none of exact patching."""
    options = method_options(method) | model.settings.attribution.options()
    if method == "eap-ig":
        return path_points(options["rule"], options["ig_steps"])
    # Settings refuse names that are not methods.
    assert method in ("eap", "exact"), f"plan knows not all of {', '.join(METHODS)}"
    return (ENDS[options["gradient_at"]],) if method == "eap" else ()


def along_path(
    model: ModelOnTask, batches: Batches, points: Sequence[float], *, gim: bool = False
) -> Work:
    """Calls at the points of a path and at its ends, and a backward pass a point and step."""
    other_ends = {CORRUPTED, CLEAN} - set(points)
    calls = len(points) + len(other_ends) + (model.metric in COMPARED_WITH_CLEAN)
    flops = _pass_flops(model, batches, PLAIN_BACKWARD if gim else FUSED_BACKWARD)
    return forward(model, batches, calls) + Work(
        backward_passes=len(points) * int(batches.slots.sum()),
        flops=len(points) * float((batches.slots * flops).sum()),
    )


def scoring(model: ModelOnTask, batches: Batches) -> Work:
    """Scores of every edge, by the method that the settings name."""
    settings = model.settings.attribution
    points = method_points(model, settings.method)
    work = along_path(model, batches, points, gim=model.uses_gim)
    if points:
        peaks: tuple[Peak, ...] = memory.gradients(model, batches), memory.contract(model, batches)
        return work + Work(float32_flops=_contraction(model, batches, len(points)), peaks=peaks)
    edges_per_pass = (method_options("exact") | settings.options())["edges_per_pass"]
    return work + Work(
        forward_passes=(num_forward_passes(model.graph, edges_per_pass) - 2) * len(batches),
        # Each pass holds the batch once for each edge that it changes.
        flops=forward(model, batches).flops * model.graph.num_edges,
        peaks=(memory.exact(model, batches, edges_per_pass),),
    )


def _contraction(model: ModelOnTask, batches: Batches, num_points: int) -> float:
    """Turning differences and gradients into scores (`attribution.edge_gradients`).

    For each token:

    - after each point, and after the last, every head's z through its slice of the output
      projection;
    - after each point, inner products of all sources with every attention norm's input, which each
      slot multiplies with a factor for each edge into a head;
    - after the last, for each slot, every head's gradient through its projection, and an inner
      product of d_model numbers for each edge.
    """
    shape, graph = model.shape, model.graph
    destinations = shape.num_heads + 2 * graph.num_key_value_groups
    writes = shape.num_layers * shape.d_query * shape.d_model
    along_inputs = shape.num_layers * graph.num_sources * shape.d_model
    into_heads = graph.num_parents[np.isin(graph.destination_kind, (QUERY, KEY, VALUE))].sum()
    at_point = writes + along_inputs + batches.slots * int(into_heads)
    directions = shape.num_layers * destinations * shape.head_dim * shape.d_model
    at_end = writes + batches.slots * (directions + graph.num_edges * shape.d_model)
    return float((2.0 * batches.tokens * (num_points * at_point + at_end)).sum())


def circuits(model: ModelOnTask, batches: Batches, sizes: Sequence[int]) -> Work:
    """Sparse runs of circuits of these sizes, on batches that are also run clean and corrupted."""
    return forward(model, batches, 2) + Work(
        circuit_runs=len(sizes) * len(batches),
        flops=sum((circuit_flops(model, batches, size) for size in sizes), 0.0),
        peaks=tuple(memory.circuit(model, batches, size) for size in {*sizes}),
    )


def circuit_flops(model: ModelOnTask, batches: Batches, num_edges: int) -> float:
    """Running a circuit of so many edges: an upper estimate, since which edges is not yet known.

    As if a circuit had as many live sources and destinations as it has edges, spread evenly, and
    no two destinations of a layer the same parents. In the full graph all of them have.
    """
    shape, graph = model.shape, model.graph
    full = num_edges >= graph.num_edges
    live = min(1.0, num_edges / graph.num_sources)
    read = min(1.0, num_edges / graph.num_destinations)
    repeated = 0 if full else shape.num_heads - shape.num_key_value_heads
    inputs = 1 if full else shape.num_heads + 2 * graph.num_key_value_groups
    before = [1 + layer * (shape.num_heads + 1) for layer in range(shape.num_layers)]
    parents = sum(inputs * count + count + shape.num_heads for count in before)
    # Keys and values of query heads that share a KV head; what destinations read; and `logits`,
    # which is read at the readouts only.
    projected = 2 * repeated * shape.num_layers * shape.head_dim * shape.d_model
    of_token = 2.0 * (live * projected + read * parents * shape.d_model)
    of_readout = 2.0 * live * graph.num_sources * shape.d_model
    unembedding = 2.0 * batches.readouts * shape.d_model * shape.vocab_size
    flops = live * (_pass_flops(model, batches, FORWARD) - unembedding) + unembedding
    return float((flops + batches.tokens * of_token + batches.readouts * of_readout).sum())


def tracing_flow(model: ModelOnTask, batches: Batches) -> Work:
    """Tracing flow between positions; it is known to a few per cent.

    One more call finds masks and angles. At each point the operands of attention and their
    derivatives take the projections of q, k and v three times, each slot four products for all
    pairs of positions; and at the end pairs are added up by span.
    """
    shape, points = model.shape, method_points(model, "eap-ig")
    projections = shape.num_layers * shape.d_model * (shape.d_query + 2 * shape.d_key)
    at_points = len(points) * 3 * 2.0 * batches.tokens * projections
    products = len(points) * (1 + 4 * batches.slots) * _pair_flops(model, batches) / 2
    by_span = batches.slots * 8.0 * batches.pairs * shape.num_layers * model.num_spans
    writes = 2.0 * batches.tokens * shape.num_layers * shape.d_query * shape.d_model
    one_call = _pass_flops(model, without_readouts(batches), attention=0.0)
    return along_path(model, batches, points) + Work(
        forward_passes=len(batches),
        flops=float((one_call + at_points).sum()),
        float32_flops=float((writes + products + by_span).sum()),
        peaks=(memory.flow(model, batches),),
    )


def reading(model: ModelOnTask, batches: Batches, *, num_patterns: int = 1) -> Work:
    """Reading all components; operations are known to a few per cent.

    The lens of each component, and once more of what each head reads of the target, is a product
    with the unembedding. Weights of attention are read `num_patterns` times, once for the roles of
    random sequences and twice for those of a task, by running it for a head's width of positions
    at a time.
    """
    shape, readouts = model.shape, batches.readouts
    lenses = 2 + shape.num_layers * (2 * shape.num_heads + 2)
    lens = lenses * 2.0 * readouts * shape.d_model * shape.vocab_size
    again = num_patterns * -(-batches.positions // shape.head_dim) * (1 + 1 / shape.num_heads)
    # What heads write at a readout, and what they read of each position.
    written = 2.0 * readouts * (3 * shape.d_model + batches.positions)
    return forward(model, without_readouts(batches)) + Work(
        flops=float((lens + again * _pair_flops(model, batches)).sum()),
        float32_flops=float((written * shape.num_layers * shape.d_query).sum()),
        peaks=(memory.read(model, batches),),
    )


def attributing_neurons(model: ModelOnTask, batches: Batches) -> Work:
    """Attributing the hidden units of the early layers."""
    shape, points = model.shape, path_points("left", model.settings.semantics.ig_steps)
    early = max(1, int(third_of_layers(shape.num_layers)[0].sum()))
    units = 2.0 * batches.tokens * batches.slots * early * shape.d_model * shape.d_mlp
    # The corrupted end, which is a point too, is run by itself, for the units' values.
    work = along_path(model, batches, points) + forward(model, batches)
    peaks = (memory.attribute_neurons(model, batches),)
    return work + Work(float32_flops=float(units.sum()), peaks=peaks)


def attributing_experts(model: ModelOnTask, batches: Batches) -> Work:
    """Attributing the experts of all layers: both ends once more, and what experts write there."""
    shape, points = model.shape, path_points("left", model.settings.semantics.ig_steps)
    again = 2 * 2.0 * batches.tokens * shape.num_layers * shape.mlp_weights
    work = along_path(model, batches, points) + forward(model, batches, 2)
    peaks = (memory.attribute_experts(model, batches),)
    return work + Work(flops=float(again.sum()), peaks=peaks)


def without_readouts(batches: Batches) -> Batches:
    """The same calls without the unembedding after them."""
    return replace(batches, readouts=np.zeros_like(batches.readouts))


def comparing(model: ModelOnTask, num_steps: int, *, whole: bool, times: int = 1) -> Work:
    """Comparing two members, by the host: products of weights and scores, whose rows are ranked.

    Args:
        model: one of them; both have its graph.
        num_steps: denoising steps of both.
        whole: `compare`; otherwise `circuit_shift`, as of controls.
        times: how often.
    """
    num_rows, num_edges = model.num_rows, model.graph.num_edges
    made, ranked = compared_rows(model.settings.comparison)
    # Products of all pairs of examples in float64 take as long as two in float32; two of their
    # three matrices are symmetric.
    products = 2.0 * made * num_rows + 2 * 2 * 2.0 * num_rows**2
    seconds = num_edges * ((ranked + NOISE_FREE_ROWS) / RANKED_EDGES + products / HOST_FLOPS)
    seconds += COMPARISON_SECONDS
    if whole:
        fewer = draws_over_all_edges(model.graph, model.settings.comparison)
        of_steps = 2.0 * 2 * num_steps * fewer.num_resamples * num_rows * num_edges
        seconds = WHOLE_COMPARISON * seconds + of_steps / HOST_FLOPS
    return Work(host_seconds=times * seconds, peaks=(memory.compare(model),))


def compared_rows(settings: ComparisonSettings) -> tuple[int, int]:
    """Rows of mean scores that comparing two members makes, and those that it ranks."""
    resamples, exchanges = settings.num_resamples, settings.num_exchanges
    few = settings.num_splits_per_resample
    halves = 4 * (settings.num_splits + few * (resamples + NUM_BLOCKS))
    # A side of an exchange is a product with both models' scores, of a half with half of them.
    made = 2 * resamples + 4 * exchanges + halves + 4 * few * (1 + exchanges)
    return made, 2 * (resamples + exchanges) + halves
