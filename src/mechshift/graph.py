"""The computation graph of a decoder-only transformer: its edges, and their order.

Sources write to the residual stream: `input`, `a{l}.h{h}`, `m{l}`. Destinations read it, before
their norm: `a{l}.h{h}<q>`, `<k>`, `<v>`, `m{l}`, `logits`. An edge joins a source to every later
destination (Hanna et al. 2024, arXiv:2403.17806; the numbers of MIB, arXiv:2504.13151).

Order, stated once and used by every array with an `edge` axis:

1. Sources: `input`; then per layer its heads, then its MLP.
2. Destinations: per layer its q inputs, k inputs, v inputs, then its MLP; `logits` last.
3. The sources of a destination are always a prefix of the source order, so edges are stored
   destination by destination and `edge = edge_offset[destination] + source`.

Edges are integers. Names are made only when somebody reads them.
"""

from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Int

from mechshift.errors import CircuitError

QUERY, KEY, VALUE, MLP, LOGITS = range(5)
"""Kinds of destination, as stored in `Graph.destination_kind`."""

KIND_NAMES = ("q", "k", "v", "mlp", "logits")

THIRDS = ("early", "middle", "late")
"""Names of the thirds of the layers."""


MAX_SOURCES, MAX_EDGES = 2**16, 2**29
"""Size of the largest graph: more than Llama-3.1-405B has with one k and v input a query head."""


def third_of_layers(num_layers: int) -> Bool[np.ndarray, "third layer"]:
    """Which layers are early, middle and late: by the layer's midpoint (l + 1/2) / L in thirds.

    Symmetric for every depth: 28 layers give 9, 10 and 9; 2 layers give 1, 0 and 1.
    """
    # In sixths of a layer, so that borders are compared as integers: 3 (2l + 1) against 2L.
    third = (3 * (2 * np.arange(num_layers) + 1)) // (2 * num_layers)
    return third == np.arange(3)[:, None]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The computation graph of one architecture, at the granularity of heads and MLPs.

    With `num_key_value_groups` equal to `num_heads` (the field's convention) every query head
    has its own k and v destination, also under grouped-query attention. A smaller number keeps
    one k and one v destination per KV head; such a destination's score is the sum over its group.
    """

    num_layers: int
    num_heads: int
    num_key_value_groups: int

    def __post_init__(self) -> None:
        if min(self.num_layers, self.num_heads, self.num_key_value_groups) < 1:
            raise CircuitError(f"a graph needs at least one layer, head and KV head, not {self}.")
        if self.num_heads % self.num_key_value_groups:
            raise CircuitError(
                f"{self.num_heads} query heads cannot be shared evenly by"
                f" {self.num_key_value_groups} KV heads."
            )
        if self.num_sources > MAX_SOURCES or self.num_edges > MAX_EDGES:
            raise CircuitError(
                f"a graph of {self.num_layers} layers and {self.num_heads} heads would have"
                f" {self.num_sources:,} heads and MLPs and {self.num_edges:,} edges; no model is so"
                f" large, and mechshift stops at {MAX_SOURCES:,} and {MAX_EDGES:,}."
            )

    @property
    def num_sources(self) -> int:
        return 1 + self.num_layers * (self.num_heads + 1)

    @property
    def destinations_per_layer(self) -> int:
        return self.num_heads + 2 * self.num_key_value_groups + 1

    @property
    def num_destinations(self) -> int:
        return self.num_layers * self.destinations_per_layer + 1

    @property
    def num_edges(self) -> int:
        # In whole numbers: sizes that a file states are judged before any array is made of them.
        layers, read, written = self.num_layers, self.destinations_per_layer, self.num_heads + 1
        of_logits = self.num_sources
        of_earlier_layers = read * (layers + written * (layers * (layers - 1) // 2))
        of_own_heads = layers * self.num_heads
        return of_earlier_layers + of_own_heads + of_logits

    @cached_property
    def source_layer(self) -> Int[np.ndarray, " source"]:
        """Layer of each source; -1 for `input`."""
        per_layer = np.repeat(np.arange(self.num_layers), self.num_heads + 1)
        return np.concatenate([[-1], per_layer])

    @cached_property
    def source_head(self) -> Int[np.ndarray, " source"]:
        """Head of each source; -1 for `input` and MLPs."""
        block = np.append(np.arange(self.num_heads), -1)
        return np.concatenate([[-1], np.tile(block, self.num_layers)])

    @cached_property
    def destination_layer(self) -> Int[np.ndarray, " destination"]:
        """Layer of each destination; `num_layers` for `logits`."""
        per_layer = np.repeat(np.arange(self.num_layers), self.destinations_per_layer)
        return np.append(per_layer, self.num_layers)

    @cached_property
    def destination_kind(self) -> Int[np.ndarray, " destination"]:
        """QUERY, KEY, VALUE, MLP or LOGITS for each destination."""
        groups = self.num_key_value_groups
        block = np.repeat([QUERY, KEY, VALUE, MLP], [self.num_heads, groups, groups, 1])
        return np.append(np.tile(block, self.num_layers), LOGITS)

    @cached_property
    def destination_head(self) -> Int[np.ndarray, " destination"]:
        """Query head (q) or KV head (k, v) of each destination; -1 for MLPs and `logits`."""
        groups = np.arange(self.num_key_value_groups)
        block = np.concatenate([np.arange(self.num_heads), groups, groups, [-1]])
        return np.append(np.tile(block, self.num_layers), -1)

    @cached_property
    def num_parents(self) -> Int[np.ndarray, " destination"]:
        """How many sources feed each destination; they are the first that many sources."""
        before_layer = 1 + self.destination_layer * (self.num_heads + 1)
        return before_layer + np.where(self.destination_kind == MLP, self.num_heads, 0)

    @cached_property
    def edge_offset(self) -> Int[np.ndarray, " destination_plus_one"]:
        """First edge of each destination, and the number of edges at the end."""
        return np.concatenate([[0], np.cumsum(self.num_parents)])

    @cached_property
    def edge_destination(self) -> Int[np.ndarray, " edge"]:
        return np.repeat(np.arange(self.num_destinations, dtype=np.int32), self.num_parents)

    @cached_property
    def edge_source(self) -> Int[np.ndarray, " edge"]:
        starts = np.repeat(self.edge_offset[:-1], self.num_parents)
        return (np.arange(self.num_edges) - starts).astype(np.int32)

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """The name of each source."""
        heads = range(self.num_heads)
        return (
            "input",
            *(
                name
                for layer in range(self.num_layers)
                for name in (*(f"a{layer}.h{head}" for head in heads), f"m{layer}")
            ),
        )

    @cached_property
    def destination_names(self) -> tuple[str, ...]:
        """The name of each destination."""
        numbers = (self.num_heads, self.num_key_value_groups, self.num_key_value_groups)
        inputs = [
            f"h{head}<{kind}>"
            for kind, number in zip(KIND_NAMES, numbers, strict=False)
            for head in range(number)
        ]
        layers = range(self.num_layers)
        return (
            *(
                name
                for layer in layers
                for name in (*(f"a{layer}.{one}" for one in inputs), f"m{layer}")
            ),
            "logits",
        )

    def source_name(self, source: SupportsIndex) -> str:
        return self.source_names[source]

    def destination_name(self, destination: SupportsIndex) -> str:
        return self.destination_names[destination]

    def edge_name(self, edge: SupportsIndex) -> str:
        """Without the arrays of all edges: of a file's graph, only a message may need a name."""
        at = index(edge)
        at = at + self.num_edges if at < 0 else at
        destination = int(np.searchsorted(self.edge_offset, at, side="right")) - 1
        source = at - int(self.edge_offset[destination])
        return f"{self.source_names[source]}->{self.destination_names[destination]}"

    @cached_property
    def _source_index(self) -> dict[str, int]:
        return {name: source for source, name in enumerate(self.source_names)}

    @cached_property
    def _destination_index(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.destination_names)}

    def edge_index(self, name: str) -> int:
        """The index of an edge written as `a0.h1->m2` or `input->a1.h0<q>`.

        Raises:
            CircuitError: no such edge in this graph.
        """
        source_name, _, destination_name = name.partition("->")
        source = self._source_index.get(source_name)
        destination = self._destination_index.get(destination_name)
        if source is None or destination is None or source >= self.num_parents[destination]:
            raise CircuitError(
                f"no edge '{name}' in a graph of {self.num_layers} layers and {self.num_heads}"
                " heads; edges are written like 'a0.h1->m2' or 'input->a1.h0<q>'."
            )
        return int(self.edge_offset[destination]) + source

    def destination_index(self, kind: int, layer: int, head: int = 0) -> int:
        """Index of the destination of this kind; `head` is a KV head for k and v."""
        if kind == LOGITS:
            return self.num_destinations - 1
        groups = self.num_key_value_groups
        start = {
            QUERY: 0,
            KEY: self.num_heads,
            VALUE: self.num_heads + groups,
            MLP: self.num_heads + 2 * groups,
        }[kind]
        return layer * self.destinations_per_layer + start + head

    def head_source(self, layer: int, head: int = 0) -> int:
        """Index of the source `a{layer}.h{head}`."""
        return 1 + layer * (self.num_heads + 1) + head

    def mlp_source(self, layer: int) -> int:
        """Index of the source `m{layer}`."""
        return self.head_source(layer, self.num_heads)
