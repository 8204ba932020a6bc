"""The plan of a circuit run: which parts of the model must be computed anew.

Made once per circuit and model, used for every batch:

1. Dangling edges are dropped (`live_edges`). What is left names the *live* sources. They are
   numbered in graph order, so those before any layer come first; number 0 is `input`.
2. In each layer the destinations of live heads are grouped by their parents: destinations with
   the same parents read the same input, which then is summed and normed once.
3. Inputs that equally many heads read are projected together, in one batched product.
4. Destinations without parents keep their corrupted value and do not appear.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from mechshift.circuits import Circuit, live_edges
from mechshift.errors import CircuitError
from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadProjection:
    """Inputs that equally many heads of one projection read."""

    kind: int
    """QUERY, KEY or VALUE."""
    distinct: Int64[Tensor, " input"]
    """Rows of `LayerPlan.parents`: these inputs."""
    heads: Int64[Tensor, "input head"]
    """Heads of the projection (query heads, or KV heads) that read each of them, each once."""
    copies: Int64[Tensor, " patched"]
    """For each patched head, which entry of `heads`, flattened, it takes; heads may share a KV
    head."""
    positions: Int64[Tensor, " patched"]
    """For each patched head, its place among the layer's live heads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """Plan of one layer: what to compute."""

    num_before: int
    """Live sources before this layer."""
    head_dim: int
    heads: Int64[Tensor, " live"]
    """Live query heads; none if the attention need not be run."""
    key_value_heads: Int64[Tensor, " live"]
    """The KV head that serves each of them in the model."""
    parents: Float[Tensor, "distinct before"]
    """1 where a distinct input of the heads includes a live source, else 0."""
    projections: tuple[HeadProjection, ...]
    mlp_parents: Float[Tensor, "1 before_mlp"] | None
    """The same for the MLP; None if it need not be run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitPlan:
    """Plan of a run of one circuit in one model; tensors on the model's device."""

    num_live_edges: int
    """Edges that are not dangling."""
    num_live_sources: int
    layers: tuple[LayerPlan, ...]
    logits_parents: Float[Tensor, "1 live_source"]


def plan_circuit(model: LanguageModel, circuit: Circuit) -> CircuitPlan:
    """What it takes to run `circuit` in `model`, which need not be the model it was found in.

    Raises:
        CircuitError: the circuit's graph is not the model's, grouped or ungrouped.
    """
    check_graph(model, circuit.graph)
    graph, live = circuit.graph, circuit.edges[live_edges(circuit)]
    reads = np.zeros((graph.num_destinations, graph.num_sources), dtype=bool)
    reads[graph.edge_destination[live], graph.edge_source[live]] = True
    sources = np.flatnonzero(reads.any(axis=0))
    reads = reads[:, sources]
    planner = _Planner(model=model, graph=graph, sources=sources, reads=reads)
    return CircuitPlan(
        num_live_edges=len(live),
        num_live_sources=len(sources),
        layers=tuple(planner.layer(layer) for layer in range(graph.num_layers)),
        logits_parents=planner.matrix(reads[[graph.destination_index(LOGITS, 0)]]),
    )


def check_graph(model: LanguageModel, graph: Graph) -> None:
    """Refuse a graph that is not the model's.

    Raises:
        CircuitError: another number of layers, heads or KV groups.
    """
    if graph not in (model.graph(), model.graph(grouped=True)):
        own = model.graph()
        raise CircuitError(
            f"a circuit of {graph.num_layers} layers, {graph.num_heads} heads and"
            f" {graph.num_key_value_groups} k/v groups cannot be run in '{model.name}', which has"
            f" {own.num_layers} layers, {own.num_heads} heads and"
            f" {model.parts.num_key_value_heads} KV heads; use a model of the same architecture."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Planner:
    model: LanguageModel
    graph: Graph
    sources: Int[np.ndarray, " live_source"]
    reads: Bool[np.ndarray, "destination live_source"]

    def layer(self, layer: int) -> LayerPlan:
        graph = self.graph
        num_before = int((graph.source_layer[self.sources] < layer).sum())
        inside = self.sources[graph.source_layer[self.sources] == layer]
        heads = graph.source_head[inside]
        has_mlp = bool((heads < 0).any())
        heads = heads[heads >= 0]
        distinct, projections = self._projections(layer, heads, num_before)
        mlp_reads = self.reads[[graph.destination_index(MLP, layer)], : num_before + len(heads)]
        return LayerPlan(
            num_before=num_before,
            head_dim=self.model.parts.head_dim,
            heads=self.index(heads),
            key_value_heads=self.index(heads // self._heads_per_key()),
            parents=self.matrix(distinct),
            projections=projections,
            mlp_parents=self.matrix(mlp_reads) if has_mlp else None,
        )

    def _projections(
        self, layer: int, heads: Int[np.ndarray, " live"], num_before: int
    ) -> tuple[Bool[np.ndarray, "distinct before"], tuple[HeadProjection, ...]]:
        """The distinct inputs of a layer's live heads, and who reads each of them."""
        group_size = self.graph.num_heads // self.graph.num_key_value_groups
        first = self.graph.destination_index(QUERY, layer)
        by_kind = [
            first + heads,
            self.graph.destination_index(KEY, layer) + heads // group_size,
            self.graph.destination_index(VALUE, layer) + heads // group_size,
        ]
        rows = self.reads[np.concatenate(by_kind), :num_before]
        distinct, inverse = _distinct_rows(rows)
        # Rows come sorted, so one without parents is the first; its readers are number -1.
        num_unfed = int(len(distinct) > 0 and not distinct[0].any())
        inverse = inverse.reshape(len(by_kind), len(heads)) - num_unfed
        return distinct[num_unfed:], tuple(self._by_readers(heads, inverse))

    def _by_readers(
        self, heads: Int[np.ndarray, " live"], inverse: Int[np.ndarray, "kind live"]
    ) -> Iterator[HeadProjection]:
        for kind, inputs in zip((QUERY, KEY, VALUE), inverse, strict=True):
            projected = heads if kind == QUERY else heads // self._heads_per_key()
            fed = np.flatnonzero(inputs >= 0)
            # Pairs of an input and a head that reads it, sorted by input; each is computed once.
            pairs, pair = np.unique(
                np.stack([inputs[fed], projected[fed]]), axis=1, return_inverse=True
            )
            pair = pair.reshape(-1)  # NumPy 2.0 gives it a second axis
            first, num_readers = np.unique(pairs[0], return_index=True, return_counts=True)[1:]
            for count in np.unique(num_readers):
                chosen = first[num_readers == count]
                places = chosen[:, None] + np.arange(count)
                taken = np.flatnonzero(np.isin(pair, places))
                yield HeadProjection(
                    kind=kind,
                    distinct=self.index(pairs[0, chosen]),
                    heads=self.index(pairs[1, places]),
                    copies=self.index(np.searchsorted(places.ravel(), pair[taken])),
                    positions=self.index(fed[taken]),
                )

    def _heads_per_key(self) -> int:
        return self.model.parts.num_heads // self.model.parts.num_key_value_heads

    def index(self, values: Int[np.ndarray, "*axes"]) -> Int64[Tensor, "*axes"]:
        return torch.from_numpy(values.astype(np.int64)).to(self.model.device)

    def matrix(self, reads: Bool[np.ndarray, "row column"]) -> Float[Tensor, "row column"]:
        return torch.from_numpy(reads).to(self.model.device, self.model.dtype)


def _distinct_rows(
    rows: Bool[np.ndarray, "row column"],
) -> tuple[Bool[np.ndarray, "distinct column"], Int[np.ndarray, " row"]]:
    """The different rows, sorted, and which of them each row is."""
    # Eight columns in a byte, and a row as one item, sort many times faster than rows of columns.
    packed = np.ascontiguousarray(np.packbits(rows, axis=1))
    if packed.shape[1] == 0:
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    items = packed.view(f"V{packed.shape[1]}")[:, 0]
    _, first, inverse = np.unique(items, return_index=True, return_inverse=True)
    return rows[first], inverse
