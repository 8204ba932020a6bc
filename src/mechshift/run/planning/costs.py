"""Costs of a run's stages: passes, operations, the host's work, and bytes on disk.

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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from inspect import signature
from typing import Any, TypeVar

import numpy as np

from mechshift.attribution import (
    CLEAN,
    CORRUPTED,
    METHODS,
    method_options,
    num_forward_passes,
    path_points,
)
from mechshift.attribution._eap import ENDS
from mechshift.comparison import (
    NARROW,
    NOISE_FREE_ROWS,
    NUM_SIMULATED,
    TAKEN_APART,
    ComparisonSettings,
    draws_over_all_edges,
)
from mechshift.denoising import COMPARED_WITH_CLEAN
from mechshift.evaluation import NUM_REDISCOVERED
from mechshift.graph import KEY, QUERY, VALUE, Graph, third_of_layers
from mechshift.models import ModelShape
from mechshift.run.planning.workload import Batch
from mechshift.run.settings import AttributionSettings, EvaluationSettings
from mechshift.tasks import build_pool

FUSED_BACKWARD, PLAIN_BACKWARD = 2.5, 2.0
"""Matrix products of attention's backward pass, over those of its forward pass."""

DECODING_BATCH_SIZE: int = signature(build_pool).parameters["batch_size"].default
"""Examples that are decoded at once; `mechshift run` does not ask."""

SEVERAL_SIZES = 6
"""What ranking a row's edges for circuits of several sizes takes, over ranking them for one."""

ORDER = 2
"""What shuffling a row's edges and choosing a circuit of them takes, over the same."""


Sum = TypeVar("Sum", bound="Summed")


@dataclass(frozen=True, kw_only=True)
class Summed:
    """Numbers that add up, field by field."""

    def __add__(self: Sum, other: Sum) -> Sum:
        return _each(self, lambda name: getattr(self, name) + getattr(other, name))

    def __mul__(self: Sum, times: int) -> Sum:
        return _each(self, lambda name: getattr(self, name) * times)


def _each(record: Sum, value: Callable[[str], Any]) -> Sum:
    return type(record)(**{field.name: value(field.name) for field in fields(record)})


@dataclass(frozen=True, kw_only=True)
class Flops(Summed):
    """Operations in the model's dtype, and those that are in float32 whatever the model's is."""

    model: float = 0.0
    float32: float = 0.0

    @property
    def total(self) -> float:
        return self.model + self.float32


@dataclass(frozen=True, kw_only=True)
class HostWork(Summed):
    """What the host does by itself, beside a model."""

    elements: float = 0.0
    """Edges that are ranked for one circuit size, over all rows of mean scores."""
    flops: float = 0.0
    """Of the products of weights with scores that these rows are."""
    seconds: float = 0.0
    """Of what hardly depends on sizes."""


@dataclass(frozen=True, kw_only=True)
class Work(Summed):
    """Passes, what they cost, and what they leave on disk."""

    forward_passes: int = 0
    """Calls of the decoder."""
    backward_passes: int = 0
    circuit_runs: int = 0
    """Sparse runs of a circuit on a batch, which do not call the decoder as a whole."""
    flops: Flops = Flops()
    host: HostWork = HostWork()
    disk_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class MethodPasses:
    """The passes over one batch of canvases that a method of attribution takes."""

    num_points: int
    """Points of the path at which gradients are taken; 0: a method without gradients."""
    forward: int
    """Calls of the decoder on the clean or corrupted batch, those at the points among them."""
    intervened: int = 0
    """Further calls, each with the batch repeated for up to `edges_per_pass` changed edges."""
    edges_per_pass: int = 0
    gim: bool = False
    """Whether attention is GIM's."""

    def backward(self, num_slots: int) -> int:
        """Backward passes: one for each point and scored step."""
        return self.num_points * num_slots


def method_passes(settings: AttributionSettings, metric: str, graph: Graph) -> MethodPasses:
    """The passes of the method that the settings name."""
    options = method_options(settings.method) | settings.options()
    reference = int(metric in COMPARED_WITH_CLEAN)
    if settings.method == "exact":
        return MethodPasses(
            num_points=0,
            forward=2 + reference,
            intervened=num_forward_passes(graph, options["edges_per_pass"]) - 2,
            edges_per_pass=options["edges_per_pass"],
        )
    if settings.method == "eap-ig":
        return path_passes(options["rule"], options["ig_steps"], metric, gim=options["gim"])
    # Settings refuse names that are not methods.
    assert settings.method == "eap", f"plan knows not all of {', '.join(METHODS)}"
    return _passes_at((ENDS[options["gradient_at"]],), metric, gim=options["gim"])


def path_passes(rule: str, ig_steps: int, metric: str, *, gim: bool = False) -> MethodPasses:
    """Of gradients along the path of EAP-IG."""
    return _passes_at(path_points(rule, ig_steps), metric, gim=gim)


def _passes_at(points: Sequence[float], metric: str, *, gim: bool) -> MethodPasses:
    other_ends = {CORRUPTED, CLEAN} - set(points)
    forward = len(points) + len(other_ends) + (metric in COMPARED_WITH_CLEAN)
    return MethodPasses(num_points=len(points), forward=forward, gim=gim)


def forward_flops(shape: ModelShape, batch: Batch) -> Flops:
    """Of one call of the decoder and of the unembedding at its readouts."""
    return Flops(
        model=_linear(shape, batch) + _attention(shape, batch) + _unembedding(shape, batch.readouts)
    )


def backward_flops(shape: ModelShape, batch: Batch, *, gim: bool = False) -> Flops:
    """Of one backward pass from the readouts to the embeddings."""
    attention = PLAIN_BACKWARD if gim else FUSED_BACKWARD
    return Flops(
        model=_linear(shape, batch)
        + attention * _attention(shape, batch)
        + _unembedding(shape, batch.readouts)
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
    at_end = writes + batch.slots * (directions + graph.num_edges * shape.d_model)
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
    projected = shape.num_layers * (shape.attention_weights + shape.mlp_weights + extra)
    inputs = 1 if full else shape.num_heads + 2 * graph.num_key_value_groups
    before = [1 + layer * (shape.num_heads + 1) for layer in range(shape.num_layers)]
    parents = sum(inputs * count + count + shape.num_heads for count in before)
    # `logits` is read at the readouts only.
    last = 2.0 * batch.readouts * live * graph.num_sources * shape.d_model
    return Flops(
        model=2.0 * batch.tokens * (live * projected + read * parents * shape.d_model)
        + live * _attention(shape, batch)
        + _unembedding(shape, batch.readouts)
        + last
    )


def _linear(shape: ModelShape, batch: Batch) -> float:
    return 2.0 * batch.tokens * shape.num_layers * (shape.attention_weights + shape.mlp_weights)


def _attention(shape: ModelShape, batch: Batch) -> float:
    return 4.0 * batch.pairs * shape.num_layers * shape.d_query


def _unembedding(shape: ModelShape, readouts: int) -> float:
    return 2.0 * readouts * shape.d_model * shape.vocab_size


def _writes(shape: ModelShape, tokens: int) -> float:
    """What all heads write, by themselves."""
    return 2.0 * tokens * shape.num_layers * shape.d_query * shape.d_model


def forward_work(shape: ModelShape, batch: Batch, times: int = 1) -> Work:
    """Of calls of the decoder."""
    return Work(forward_passes=times, flops=forward_flops(shape, batch) * times)


def path_work(shape: ModelShape, passes: MethodPasses, batch: Batch) -> Work:
    """Of calls along a path, with their backward passes."""
    backward = passes.backward(batch.slots)
    return forward_work(shape, batch, passes.forward) + Work(
        backward_passes=backward,
        flops=backward_flops(shape, batch, gim=passes.gim) * backward,
    )


def scoring_work(shape: ModelShape, graph: Graph, passes: MethodPasses, batch: Batch) -> Work:
    """Of scoring every edge on a batch."""
    work = path_work(shape, passes, batch)
    if passes.num_points:
        return work + Work(flops=contraction_flops(shape, graph, batch, passes.num_points))
    return work + Work(
        forward_passes=passes.intervened, flops=forward_flops(shape, batch) * graph.num_edges
    )


def flow_work(shape: ModelShape, passes: MethodPasses, num_spans: int, batch: Batch) -> Work:
    """Of tracing flow on a batch (`attribution.pair_flow`); it is known to a few per cent.

    One more call finds masks and angles. At each point the operands of attention and their
    derivatives take the projections of q, k and v three times, each slot four products for all
    pairs of positions; and at the end pairs are added up by span.
    """
    projections = shape.d_query + 2 * shape.d_key
    at_point = 3 * 2.0 * batch.tokens * shape.num_layers * shape.d_model * projections
    product = 2.0 * batch.pairs * shape.num_layers * shape.d_query
    summed = 2 * 2 * 2.0 * batch.pairs * shape.num_layers * num_spans
    pairs = passes.num_points * (1 + 4 * batch.slots) * product + batch.slots * summed
    without_kernel = Flops(model=_linear(shape, batch))
    return path_work(shape, passes, batch) + Work(
        forward_passes=1,
        flops=without_kernel
        + Flops(model=passes.num_points * at_point, float32=_writes(shape, batch.tokens) + pairs),
    )


def reading_work(shape: ModelShape, batch: Batch, *, num_patterns: int = 1) -> Work:
    """Of reading all components on a batch; operations are known to a few per cent.

    The lens of each component, and once more of what each head reads of the target, is a product
    with the unembedding. Weights of attention are read `num_patterns` times, once for the roles of
    random sequences and twice for those of a task, by running it for a head's width of positions
    at a time.
    """
    lenses = 2 + shape.num_layers * (2 * shape.num_heads + 2)
    again = num_patterns * math.ceil(batch.positions / shape.head_dim) * (1 + 1 / shape.num_heads)
    flops = Flops(
        model=_unembedding(shape, batch.readouts * lenses) + again * _attention(shape, batch),
        float32=3 * _writes(shape, batch.readouts)
        + 2.0 * batch.readouts * batch.positions * shape.num_layers * shape.d_query,
    )
    return forward_work(shape, replace(batch, readouts=0)) + Work(flops=flops)


def neurons_work(shape: ModelShape, metric: str, ig_steps: int, batch: Batch) -> Work:
    """Of attributing the hidden units of the early layers on a batch."""
    passes = path_passes("left", ig_steps, metric)
    # Both ends are run by themselves, for the units' values.
    passes = replace(passes, forward=ig_steps + 2 + (metric in COMPARED_WITH_CLEAN))
    early = max(1, int(third_of_layers(shape.num_layers)[0].sum()))
    units = 2.0 * batch.tokens * batch.slots * early * shape.d_model * shape.d_mlp
    return path_work(shape, passes, batch) + Work(flops=Flops(float32=units))


def circuit_sizes_run(
    settings: EvaluationSettings, sizes: Sequence[int], compared: int
) -> list[int]:
    """Sizes of all circuits that one model runs.

    Both models' circuits, baselines, and those found on parts of the discovery examples.

    Args:
        settings: how many random circuits stand beside each model's own, and at which sizes.
        sizes: of each model's circuits.
        compared: the size at which circuits are compared.
    """
    baseline_sizes = sizes if settings.baseline_sizes == "all" else [compared]
    # Random ones, and one chosen by activation.
    baselines = (settings.num_random + 1) * [*baseline_sizes]
    return [*sizes, *sizes, *baselines, *(settings.rediscover * NUM_REDISCOVERED * [compared])]


def num_measuring_passes(settings: EvaluationSettings) -> int:
    """Passes over discovery canvases before circuits are run, to choose baselines by activation.

    With mean ablation one more, at most: canvases of shapes that no held-out one has are left out.
    """
    return 3 if settings.ablation == "mean" else 2


def circuits_work(shape: ModelShape, graph: Graph, sizes: Sequence[int], batch: Batch) -> Work:
    """Of running circuits of these sizes on a batch, which is also run clean and corrupted."""
    flops = sum((circuit_flops(shape, graph, batch, size) for size in sizes), Flops())
    return forward_work(shape, batch, 2) + Work(circuit_runs=len(sizes), flops=flops)


@dataclass(frozen=True, kw_only=True)
class ComparedRows:
    """Rows of mean scores that a comparison takes."""

    made: int
    """By a product of weights with scores."""
    ranked: int
    """As if each were ranked for circuits of one size."""


def comparison_rows(settings: ComparisonSettings) -> ComparedRows:
    """Rows of mean scores that comparing two members makes and ranks, at the same sizes in each."""
    resamples, exchanges = settings.num_resamples, settings.num_exchanges
    few = settings.num_splits_per_resample
    halves = 4 * (settings.num_splits + few * resamples)
    # A side of an exchange is a product with both models' scores, of a half with half of them.
    return ComparedRows(
        made=2 * resamples + 4 * exchanges + halves + 4 * few * (1 + exchanges),
        ranked=2 * (resamples + exchanges) + halves,
    )


def comparison_work(
    settings: ComparisonSettings, graph: Graph, num_scored: int, num_steps: int, *, whole: bool
) -> HostWork:
    """Of comparing two members.

    Args:
        settings: how many resamples, halvings, shuffles and exchanges.
        graph: of both.
        num_scored: examples, or shards, with scores.
        num_steps: denoising steps of both.
        whole: `compare`; otherwise `circuit_shift`, as of controls.
    """
    large = graph.num_edges >= TAKEN_APART
    narrow = graph.num_edges * (NARROW if large else 1.0)  # at most
    drawn = comparison_rows(settings)
    work = _work_of_rows(drawn, narrow, num_scored) + _noise_free_work(graph, narrow, num_scored)
    if not whole:
        return work
    fewer = draws_over_all_edges(graph, settings)
    wide = comparison_rows(fewer)
    orders = settings.num_shuffles + fewer.num_shuffles
    ranked = SEVERAL_SIZES * wide.ranked - (0 if large else drawn.ranked) + ORDER * orders
    made = (wide.made if large else 0) + 2 * num_steps * fewer.num_resamples
    rows = ComparedRows(made=made, ranked=ranked)
    return work + _work_of_rows(rows, float(graph.num_edges), num_scored)


def _work_of_rows(rows: ComparedRows, num_edges: float, num_scored: int) -> HostWork:
    return HostWork(
        elements=rows.ranked * num_edges, flops=2.0 * rows.made * num_scored * num_edges
    )


def _noise_free_work(graph: Graph, narrow: float, num_scored: int) -> HostWork:
    """Of overlap without noise, and of the products of all pairs of examples in float64.

    Two of the three matrices of products are symmetric, and a product in float64 takes as long as
    two in float32.
    """
    products = 2 * 2 * 2.0 * num_scored**2 * graph.num_edges
    return HostWork(
        elements=NOISE_FREE_ROWS * narrow + NUM_SIMULATED * graph.num_edges, flops=products
    )
