"""Memory that each phase of a batch takes at its peak, and what for.

The formulas follow what the stages hold (`attribution.path`, `destination_gradients`,
`edge_gradients`, `pair_flow`, `evaluation.circuit_run`, `ablation.sweep`), tensor by tensor, for
the largest batch. Allocators round up and fragment, so a plan fills a share of the memory only.

Phases: `decode` finds the pool; `gradients` is a backward pass along the path; `contract` turns
gradients into scores, after each point and after the last; `exact` is a pass of exact patching,
which has neither; `flow` and `read` are the passes of flow and semantics; `circuits` runs one
circuit; `ablate` runs one plan.

The comparison is the host's: both models' scores, summed over steps, those of one step beside them
while that step is looked at, the rows of mean scores that are made at once, and what threads work
in while they measure them.
"""

from dataclasses import dataclass, replace
from typing import Literal

from mechshift.attribution.edge_gradients import CONTRACTED_BYTES
from mechshift.comparison import (
    ARRAYS_OF_BLOCK,
    BLOCK_BYTES,
    CHUNK_BYTES,
    MEASURING_BYTES,
    ComparisonSettings,
)
from mechshift.denoising import COMPARED_WITH_CLEAN
from mechshift.graph import Graph, third_of_layers
from mechshift.models import ModelShape
from mechshift.run.planning.workload import Batch
from mechshift.semantics._logit_lens import LOGITS_PER_PIECE

Phase = Literal["decode", "gradients", "contract", "exact", "flow", "read", "circuits", "ablate"]

WIDE = 4
"""Bytes of a float32, in which sums and scores are kept."""

GIM_BACKWARD = 5
"""float32 tensors [row, head, query, key] that the backward pass of GIM's attention holds."""

VOCABULARY_TENSORS = {"logit_diff": 2, "log_prob": 3, "prob_diff": 5, "kl": 7}
"""float32 tensors [readout, vocab] that a metric and its gradient hold beside the logits."""

COMPARED_ARRAYS = 4
"""[row, edge]: two models, summed and at one step."""

COMPARED_PIECES = 3
"""Pieces of `CHUNK_BYTES` that live at once, at most: made, measured, and still in use."""

BLOCK_SUMS = 32
"""Rows of sums over blocks of examples that the noise-free overlap rests on, in float64."""

MANY_THREADS = 16
"""Threads that a host is taken to have."""

SETS_OF_PIECE = 4
"""Halves of two models: the sets of rows of which a piece holds a row at least."""


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """The peak of one phase, by part [bytes]."""

    phase: Phase
    weights: int
    """Of all models that are loaded, which are in memory together."""
    activations: int = 0
    """Of a forward pass: what its backward pass needs and what the hooks record."""
    attention: int = 0
    """Masks and log-sum-exp; fused kernels keep no scores of pairs of positions, GIM's does."""
    logits: int = 0
    gradient_sums: int = 0
    """Gradients at every destination, summed over points."""
    differences: int = 0
    """Of sources; while they are contracted, also of some rows at full width, and gradients."""
    scores: int = 0
    """Of the batch and the one before it, for every step and edge."""
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
    gim: bool = False
    """Whether gradients are taken with GIM's attention, which is made of plain matrix products."""

    @property
    def _destinations(self) -> int:
        """Of one layer's heads."""
        return self.shape.num_heads + 2 * self.graph.num_key_value_groups

    @property
    def _keys(self) -> int:
        """Width of one layer's keys, or values: of KV heads where destinations are grouped."""
        return self.graph.num_key_value_groups * self.shape.head_dim

    def decode(self, call: Batch, kind: str) -> MemoryUse:
        """The peak of one call without gradients that finds the pool."""
        shape = self.shape
        cache = 2 * shape.num_layers * shape.d_key * self.itemsize if kind == "arm" else 0
        logits = call.readouts * shape.vocab_size * (self.itemsize + 2 * WIDE)
        return MemoryUse(
            phase="decode",
            weights=self.weights,
            activations=call.tokens * self._layer_per_token()
            + call.rows * (call.positions + call.cached) * cache,
            attention=self._mask(call),
            logits=logits,
        )

    def gradients(self, batch: Batch, held: int) -> MemoryUse:
        """The peak of the first backward pass of a point; every point has the same."""
        shape, tokens = self.shape, batch.tokens
        # In the layer that the pass is in: gradients of the MLP's product, or of GELU written out.
        passing = tokens * self.itemsize * (3 if shape.family.gated_mlp else 7) * shape.d_mlp
        if self.gim:
            passing = max(passing, self._pairs(batch) * GIM_BACKWARD * WIDE)
        saved = shape.num_layers * self.saved_per_token() + self._last_stream_per_token()
        return MemoryUse(
            phase="gradients",
            weights=self.weights,
            activations=tokens * saved + passing,
            attention=self._mask(batch) + self._kept_by_attention(batch),
            logits=self._logits(batch.readouts),
            gradient_sums=self._gradient_sums(batch),
            differences=self._differences(batch, WIDE),
            scores=2 * self._scores(batch),
            held=held,
        )

    def contract(self, batch: Batch, held: int) -> MemoryUse:
        """The peak of turning a batch's gradients into scores."""
        uses = (
            self._norm_terms(batch, held),
            self._directions(batch, held),
            self._collecting(batch, held),
        )
        return max(uses, key=lambda use: use.total)

    def _norm_terms(self, batch: Batch, held: int) -> MemoryUse:
        """After a point, whose activations are still there."""
        shape = self.shape
        # In float32 an RMSNorm's input is the very tensor that was recorded.
        copied = self.itemsize < WIDE or shape.family.layer_norm
        inputs = shape.num_layers * shape.d_model * WIDE
        along_inputs = shape.num_layers * self.graph.num_sources * WIDE
        recorded = self._recorded_per_token(self._keys) + (inputs if copied else 0)
        block = self._contracted_rows(batch) * batch.positions
        return self._contracting(
            batch,
            held,
            activations=batch.tokens * recorded,
            beside=block * (inputs + 2 * along_inputs),
            left=block * (inputs + along_inputs),
        )

    def _directions(self, batch: Batch, held: int) -> MemoryUse:
        """After the last point, when no activations are left."""
        block = self._contracted_rows(batch) * batch.positions
        directions = block * self._destinations * self.shape.d_model * WIDE
        # Of one layer: the parts, and joined.
        projections = self._destinations * self.shape.head_dim * self.shape.d_model * WIDE
        return self._contracting(
            batch, held, activations=0, beside=projections + max(projections, directions), left=0
        )

    def _contracting(
        self, batch: Batch, held: int, *, activations: int, beside: int, left: int
    ) -> MemoryUse:
        """While inner products are taken with differences at full width, block by block of rows.

        Args:
            batch: whose.
            held: see `MemoryUse`.
            activations: of the point.
            beside: what the inner products of a block take.
            left: what is still there of it when the differences of the next block are made.
        """
        shape, rows = self.shape, self._contracted_rows(batch)
        block = rows * batch.positions
        full_width = block * self.graph.num_sources * shape.d_model * WIDE
        # What the heads of one layer write is copied to its place.
        making = block * shape.num_heads * shape.d_model * WIDE
        if self.itemsize < WIDE:
            making += shape.d_query * shape.d_model * WIDE
        if rows < batch.rows:
            making += full_width + left
        reference = self.metric in COMPARED_WITH_CLEAN
        return MemoryUse(
            phase="contract",
            weights=self.weights,
            activations=activations,
            logits=reference * batch.readouts * shape.vocab_size * self.itemsize,
            gradient_sums=self._gradient_sums(batch),
            differences=self._differences(batch, WIDE) + full_width + max(making, beside),
            scores=2 * self._scores(batch),
            held=held,
        )

    def _collecting(self, batch: Batch, held: int) -> MemoryUse:
        """Once the sums are gone, and infinite scores are looked for."""
        return MemoryUse(
            phase="contract",
            weights=self.weights,
            differences=self._differences(batch, WIDE),
            scores=round(2.5 * self._scores(batch)),
            held=held,
        )

    def exact(self, batch: Batch, edges_per_pass: int, held: int) -> MemoryUse:
        """The peak of exact patching: a pass that holds the batch once for each changed edge."""
        shape, graph = self.shape, self.graph
        layer = (3 * shape.d_mlp + 6 * shape.d_query + 6 * shape.d_model) * self.itemsize
        copies = min(edges_per_pass, graph.num_sources)
        full_width = batch.tokens * graph.num_sources * shape.d_model * self.itemsize
        return MemoryUse(
            phase="exact",
            weights=self.weights,
            # Recorded per query head, whatever the graph.
            activations=batch.tokens * (self._recorded_per_token(shape.d_query) + copies * layer),
            attention=copies * self._mask(batch),
            logits=2 * self._logits(batch.readouts),
            differences=self._differences(batch, self.itemsize) + full_width,
            scores=round(2.5 * self._scores(batch)),
            held=held,
        )

    def flow(self, batch: Batch) -> MemoryUse:
        """The peak of a backward pass of flow, which keeps numbers for all pairs of positions."""
        shape = self.shape
        path = self._path(batch)
        pairs = self._pairs(batch) * WIDE
        streams = batch.tokens * (2 * shape.num_layers + 1) * shape.d_model * WIDE
        # Operands of attention and their derivatives, of every layer; in one layer what is added.
        operands = shape.num_layers * (6 * batch.tokens * shape.d_query * WIDE + pairs)
        return replace(
            path,
            phase="flow",
            gradient_sums=operands + 4 * pairs,
            differences=path.differences + streams,
            scores=batch.slots * shape.num_layers * 2 * pairs,
        )

    def read(self, batch: Batch) -> MemoryUse:
        """The peak of semantics: reading all components, or attributing the early neurons."""
        shape, tokens = self.shape, batch.tokens
        early = max(1, int(third_of_layers(shape.num_layers)[0].sum()))
        lens = min(batch.readouts * (shape.num_heads + 1) * shape.vocab_size, LOGITS_PER_PIECE)
        written = batch.readouts * (shape.num_heads + 1) * shape.d_model
        reading = MemoryUse(
            phase="read",
            weights=self.weights,
            activations=tokens * self._recorded_per_token(shape.d_query),
            attention=self._mask(batch) + 3 * self._pairs(batch) * WIDE,
            logits=lens * (self.itemsize + 4 * WIDE) + written * WIDE,
        )
        path = self._path(batch)
        neurons = replace(
            path,
            phase="read",
            gradient_sums=tokens * batch.slots * early * shape.d_model * WIDE,
            differences=path.differences + 2 * tokens * early * shape.d_mlp * self.itemsize,
            scores=0,
        )
        return max(reading, neurons, key=lambda use: use.total)

    def ablate(self, batch: Batch, *, neurons: bool) -> MemoryUse:
        """The peak of ablations: outputs of the clean and the corrupted run, and a pass.

        Of the corrupted run those of neurons are kept only where neurons are ablated.
        """
        shape = self.shape
        nodes = shape.num_layers * (shape.d_query + shape.d_model) + shape.d_model
        hidden = shape.num_layers * shape.d_mlp
        # While norms are measured: what the heads of a layer write, and its squares.
        written = 2 * shape.num_heads * shape.d_model * WIDE
        return MemoryUse(
            phase="ablate",
            weights=self.weights,
            activations=batch.tokens * max(self._layer_per_token(), written),
            attention=self._mask(batch),
            logits=2 * self._logits(batch.readouts),
            differences=batch.tokens * (2 * nodes + (1 + neurons) * hidden) * self.itemsize,
        )

    def circuits(self, batch: Batch, num_edges: int) -> MemoryUse:
        """The peak of running a circuit of so many edges, as if it had as many live sources."""
        shape, graph = self.shape, self.graph
        live = min(graph.num_sources, num_edges)
        # The run that ablated edges carry, and the difference of the embeddings.
        cached = self._recorded_per_token(shape.d_key) + shape.d_model * self.itemsize
        # In the full graph the destinations of a layer all have the same parents.
        full = num_edges >= graph.num_edges
        distinct = 1 if full else min(self._destinations, num_edges)
        # The sum, and RMSNorm's two float32 copies of it; then what heads, or the MLP, make.
        inputs = distinct * shape.d_model * (self.itemsize + 2 * WIDE)
        written = self.itemsize * (shape.num_heads * shape.d_model + 6 * shape.d_query)
        hidden = self.itemsize * (
            (3 if shape.family.gated_mlp else 4) * shape.d_mlp + 2 * shape.d_model
        )
        per_token = live * shape.d_model * self.itemsize + max(inputs + written, hidden)
        return MemoryUse(
            phase="circuits",
            weights=self.weights,
            activations=batch.tokens * cached,
            attention=self._mask(batch),
            logits=3 * self._logits(batch.readouts) // 2,
            differences=round(batch.tokens * per_token),
        )

    def saved_per_token(self) -> int:
        """Bytes that one layer of a forward pass leaves for its backward pass and the hooks.

        The residual stream before both norms and the MLP's output; q, k, v, the rotated q and k, z;
        what the MLP's product and activation saved.
        """
        shape, family = self.shape, self.shape.family
        heads = 6 * shape.d_query
        if family.fused_projections:
            # Each of q, k and v is put back into a copy of the fused output.
            heads = 13 * shape.d_query
        elif self._keys < shape.d_query:
            # Beside a mask the kernel takes keys and values that are repeated for query heads.
            heads = 5 * shape.d_query + 2 * self._keys
        hidden = 3 if family.gated_mlp else 4
        numbers = 3 * shape.d_model + heads + hidden * shape.d_mlp
        copied = 0
        if self.itemsize < WIDE and not family.layer_norm:
            # RMSNorm works on a float32 copy of what it reads.
            copied = 2 * shape.d_model + family.head_norms * (shape.d_query + self._keys)
        return numbers * self.itemsize + copied * WIDE

    def _recorded_per_token(self, keys: int) -> int:
        """Bytes that the hooks keep of a run; `keys` is the width of a layer's keys, or values."""
        shape = self.shape
        # A part of a fused output keeps all of it in memory.
        fused = shape.family.fused_projections
        heads = 10 * shape.d_query if fused else 2 * (shape.d_query + keys)
        layers = shape.num_layers * (3 * shape.d_model + heads)
        return (layers + shape.d_model) * self.itemsize

    def _layer_per_token(self) -> int:
        """Bytes of one layer of a pass without gradients, gone when the next layer begins."""
        shape = self.shape
        return (3 * shape.d_mlp + 6 * shape.d_query + 4 * shape.d_model) * self.itemsize

    def _path(self, batch: Batch) -> MemoryUse:
        """Of a backward pass that scores no edges: keys and values are recorded by KV head."""
        plain = replace(self, graph=self.shape.graph(grouped=True), gim=False)
        return plain.gradients(batch, 0)

    def _last_stream_per_token(self) -> int:
        """Bytes of what the final norm reads, and of its float32 copy."""
        copied = self.itemsize < WIDE and not self.shape.family.layer_norm
        return self.shape.d_model * (self.itemsize + copied * WIDE)

    def _differences(self, batch: Batch, itemsize: int) -> int:
        """Of what all sources write, heads as z."""
        shape = self.shape
        layers = shape.num_layers * (shape.d_query + shape.d_model)
        return batch.tokens * (shape.d_model + layers) * itemsize

    def _gradient_sums(self, batch: Batch) -> int:
        shape = self.shape
        # A head's direction, and one factor of the norm's second term.
        heads = self._destinations * (shape.head_dim + 1)
        per_token = shape.d_model + shape.num_layers * (heads + shape.d_model)
        return batch.tokens * batch.slots * per_token * WIDE

    def _scores(self, batch: Batch) -> int:
        return batch.rows * batch.slots * self.graph.num_edges * WIDE

    def _contracted_rows(self, batch: Batch) -> int:
        """Rows whose differences are at full width together."""
        row = self.graph.num_sources * batch.positions * self.shape.d_model * WIDE
        return min(batch.rows, max(1, CONTRACTED_BYTES // row))

    def _logits(self, readouts: int) -> int:
        copies = VOCABULARY_TENSORS[self.metric] + (self.itemsize < WIDE)
        return readouts * self.shape.vocab_size * (self.itemsize + copies * WIDE)

    def _mask(self, call: Batch) -> int:
        # As the kernel takes it: one number for each pair of positions.
        return call.pairs * self.itemsize

    def _kept_by_attention(self, batch: Batch) -> int:
        """For the backward pass, beside queries, keys and values."""
        shape, tokens = self.shape, batch.tokens
        if not self.gim:
            return tokens * shape.num_layers * shape.num_heads * WIDE
        # The scores in float32, and the weights; values a second time, with half the gradient.
        values = 0 if shape.family.fused_projections else tokens * shape.d_query * self.itemsize
        return shape.num_layers * (self._pairs(batch) * (WIDE + self.itemsize) + values)

    def _pairs(self, batch: Batch) -> int:
        """Pairs of positions of one layer, head by head."""
        return batch.pairs * self.shape.num_heads


def comparison_bytes(graph: Graph, num_rows: int, settings: ComparisonSettings) -> int:
    """The peak of comparing scores of so many examples, or shards; an upper estimate."""
    draws = max(settings.num_resamples, settings.num_exchanges, settings.num_shuffles)
    row = SETS_OF_PIECE * WIDE * graph.num_edges
    piece = max(row, min(CHUNK_BYTES, draws * row))
    block = ARRAYS_OF_BLOCK * max(
        8 * graph.num_edges, min(BLOCK_BYTES, 8 * draws * graph.num_edges)
    )
    return (
        COMPARED_ARRAYS * num_rows * graph.num_edges * WIDE
        + COMPARED_PIECES * piece
        + BLOCK_SUMS * graph.num_edges * 2 * WIDE
        + max(block, min(MEASURING_BYTES, MANY_THREADS * block))
    )
