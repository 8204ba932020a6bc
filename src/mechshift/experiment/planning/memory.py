"""How much memory does each phase of a batch need at its peak, and what for?

The formulas follow what the stages hold (`attribution.path`, `destination_gradients`,
`edge_gradients`, `evaluation.circuit_run`), tensor by tensor, for the largest batch. Allocators
round up and fragment, so a plan fills a share of the memory only.

Phases: `decode` finds the pool; `gradients` is the last backward pass along the path; `contract`
turns gradients into scores; `exact` is a pass of exact patching, which has neither; `circuits` runs
one circuit.
"""

from dataclasses import dataclass
from typing import Literal

from mechshift.attribution.edge_gradients import CONTRACTED_BYTES
from mechshift.experiment.planning.batches import Batch, Pass
from mechshift.graph import Graph
from mechshift.models import ModelShape

Phase = Literal["decode", "gradients", "contract", "exact", "circuits"]

WIDE = 4
"""Bytes of a float32, in which sums and scores are kept."""

VOCABULARY_TENSORS = {"logit_diff": 2, "log_prob": 3, "prob_diff": 5, "kl": 7}
"""float32 tensors [readout, vocab] that a metric and its gradient hold beside the logits."""


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """The peak of one phase, by part [bytes]."""

    phase: Phase
    weights: int
    """Of all models that are loaded, which are in memory together."""
    activations: int = 0
    """Of a forward pass: what its backward pass needs and what the hooks record."""
    attention: int = 0
    """Masks and log-sum-exp; fused kernels keep no scores of pairs of positions."""
    logits: int = 0
    gradient_sums: int = 0
    """Gradients at every destination, summed over points, and the streams that they belong to."""
    differences: int = 0
    """Of sources, and full-width gradients of some destinations."""
    scores: int = 0
    """Of the batch, for every step and edge."""
    held: int = 0
    """Scores of the chunk, in the host's memory; counts where the device is the host."""

    @property
    def total(self) -> int:
        parts = (self.activations, self.attention, self.logits, self.gradient_sums)
        return self.weights + sum(parts) + self.differences + self.scores + self.held


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """What the formulas need to know of a model and of how it is scored."""

    shape: ModelShape
    graph: Graph
    itemsize: int
    """Bytes of a number in the model's dtype."""
    weights: int
    """Of all models that are loaded [bytes]."""
    metric: str

    @property
    def _destinations(self) -> int:
        """Of one layer's heads."""
        return self.shape.num_heads + 2 * self.graph.num_key_value_groups

    def decode(self, call: Pass, kind: str) -> MemoryUse:
        """The peak of one call without gradients that finds the pool."""
        shape = self.shape
        # A layer's own tensors are gone when the next begins.
        layer = (3 * shape.d_mlp + 6 * shape.d_query + 4 * shape.d_model) * self.itemsize
        cache = 2 * shape.num_layers * shape.d_key * self.itemsize if kind == "arm" else 0
        logits = call.readouts * shape.vocab_size * (self.itemsize + 2 * WIDE)
        return MemoryUse(
            phase="decode",
            weights=self.weights,
            activations=call.tokens * layer + call.rows * call.keys * cache,
            attention=self._mask(call),
            logits=logits,
        )

    def gradients(self, batch: Batch, num_points: int, held: int) -> MemoryUse:
        """The peak of the last backward pass along the path."""
        shape, tokens = self.shape, batch.tokens
        # In the layer that the pass is in: gradients of the MLP's product, or of GELU written out.
        passing = self.itemsize * (3 if shape.family.gated_mlp else 7) * shape.d_mlp
        ends = self._end_per_token() if num_points > 1 else 0
        return MemoryUse(
            phase="gradients",
            weights=self.weights,
            activations=tokens * (shape.num_layers * self.saved_per_token() + passing + ends),
            attention=self._mask(batch.forward) + self._log_sum_exp(batch),
            logits=self._logits(batch.readouts),
            gradient_sums=self._gradient_sums(batch, num_points),
            held=held,
        )

    def contract(self, batch: Batch, num_points: int, held: int) -> MemoryUse:
        """The peak of turning a batch's gradients into scores."""
        shape, graph = self.shape, self.graph
        row = graph.num_sources * batch.positions * shape.d_model * WIDE
        rows = min(batch.rows, max(1, CONTRACTED_BYTES // row))
        # The gradients, and the norm's second term that is taken from them; the projections.
        full_width = 2 * rows * batch.positions * self._destinations * shape.d_model * WIDE
        projections = 2 * self._destinations * shape.head_dim * shape.d_model * WIDE
        differences = rows * row + full_width + projections
        sums = self._gradient_sums(batch, num_points, shared=False)
        scores = batch.rows * batch.slots * graph.num_edges * WIDE
        return MemoryUse(
            phase="contract",
            weights=self.weights,
            activations=batch.tokens * (self._recorded_per_token() + self._end_per_token()),
            gradient_sums=sums,
            differences=differences,
            # Once sums and differences are gone, infinite scores are looked for.
            scores=max(scores, round(2.5 * scores) - sums - differences),
            held=held,
        )

    def exact(self, batch: Batch, edges_per_pass: int, held: int) -> MemoryUse:
        """The peak of exact patching: a pass that holds the batch once for each changed edge."""
        shape, graph = self.shape, self.graph
        layer = (3 * shape.d_mlp + 6 * shape.d_query + 6 * shape.d_model) * self.itemsize
        copies = min(edges_per_pass, graph.num_sources)
        written = graph.num_sources * shape.d_model * self.itemsize
        scores = batch.rows * batch.slots * graph.num_edges * WIDE
        return MemoryUse(
            phase="exact",
            weights=self.weights,
            activations=batch.tokens * (2 * self._recorded_per_token() + copies * layer),
            attention=copies * self._mask(batch.forward),
            logits=2 * self._logits(batch.readouts),
            differences=batch.tokens * written,
            scores=round(2.5 * scores),
            held=held,
        )

    def circuits(self, batch: Batch, num_edges: int) -> MemoryUse:
        """The peak of running a circuit of so many edges, as if it had as many live sources."""
        shape, graph = self.shape, self.graph
        live = min(graph.num_sources, num_edges)
        recorded = 6 * shape.d_model + 2 * (shape.d_query + shape.d_key)
        # In the full graph the destinations of a layer all have the same parents.
        full = num_edges >= graph.num_edges
        distinct = 1 if full else min(self._destinations, num_edges)
        # The sum, and RMSNorm's two float32 copies of it; then what heads, or the MLP, make.
        inputs = distinct * shape.d_model * (self.itemsize + 2 * WIDE)
        written = self.itemsize * (shape.num_heads * shape.d_model + 6 * shape.d_query)
        hidden = self.itemsize * 3 * shape.d_mlp
        per_token = live * shape.d_model * self.itemsize + max(inputs + written, hidden)
        return MemoryUse(
            phase="circuits",
            weights=self.weights,
            activations=batch.tokens * shape.num_layers * recorded * self.itemsize,
            attention=self._mask(batch.forward),
            logits=3 * self._logits(batch.readouts) // 2,
            differences=round(batch.tokens * per_token),
        )

    def saved_per_token(self) -> int:
        """Bytes that one layer of a forward pass leaves for its backward pass and the hooks.

        The residual stream before both norms, the MLP's normed input and its output; q, k, v, the
        rotated q and k, z; what the MLP's product and activation saved.
        """
        shape, family = self.shape, self.shape.family
        # Each of q, k and v is put back into a copy of the fused output.
        heads = (12 if family.fused_projections else 5) + 1
        hidden = 3 if family.gated_mlp else 4
        numbers = 4 * shape.d_model + heads * shape.d_query + hidden * shape.d_mlp
        copied = 0
        if self.itemsize < WIDE and not family.layer_norm:
            # RMSNorm works on a float32 copy of what it reads.
            copied = 2 * shape.d_model + 2 * family.head_norms * shape.d_query
        return numbers * self.itemsize + copied * WIDE

    def _recorded_per_token(self) -> int:
        """Bytes that the hooks keep of a run without gradients."""
        shape = self.shape
        # A part of a fused output keeps all of it in memory.
        heads = (9 if shape.family.fused_projections else 3) + 1
        return shape.num_layers * (4 * shape.d_model + heads * shape.d_query) * self.itemsize

    def _end_per_token(self) -> int:
        """Bytes of what all sources write in one run."""
        shape = self.shape
        layers = shape.num_layers * (shape.d_query + shape.d_model)
        return (shape.d_model + layers) * self.itemsize

    def _gradient_sums(self, batch: Batch, num_points: int, *, shared: bool = True) -> int:
        shape = self.shape
        heads = self._destinations * (shape.head_dim + num_points)
        sums = batch.slots * (shape.d_model + shape.num_layers * (heads + shape.d_model))
        # In float32 the last point's stream is the very tensor that the activations count.
        own = self.itemsize < WIDE or shape.family.layer_norm or not shared
        streams = shape.num_layers * shape.d_model * (num_points if own else num_points - 1)
        return batch.tokens * (sums + streams) * WIDE

    def _logits(self, readouts: int) -> int:
        copies = VOCABULARY_TENSORS[self.metric] + (self.itemsize < WIDE)
        return readouts * self.shape.vocab_size * (self.itemsize + copies * WIDE)

    def _mask(self, call: Pass) -> int:
        # As the kernel takes it: one number for each pair of positions.
        return call.rows * call.positions * call.keys * self.itemsize

    def _log_sum_exp(self, batch: Batch) -> int:
        return batch.tokens * self.shape.num_layers * self.shape.num_heads * WIDE
