"""Structures of a model that can be ablated, in the order in which they are counted.

Structures, on the one axis `structure` that masks and norms share:

1. the sources of the graph, in its order: `input`; then per layer its heads, then its MLP;
2. the hidden neurons of layer 0's MLP, then those of layer 1's, and so on. A hidden neuron is a
   coordinate of what the MLP's last map reads, not one of the residual stream.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Int

from mechshift.graph import Graph
from mechshift.interventions import ChosenOutputs
from mechshift.models import LanguageModel

INPUT, HEAD, MLP, NEURON = range(4)
"""Kinds of structure, as stored in `Inventory.kind`."""

KIND_NAMES = ("input", "heads", "MLPs", "neurons")


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All structures of one architecture."""

    graph: Graph
    num_neurons: int
    """Hidden neurons of each layer's MLP; 0 for a mixture of experts."""

    @property
    def num_structures(self) -> int:
        return self.graph.num_sources + self.graph.num_layers * self.num_neurons

    @cached_property
    def kind(self) -> Int[np.ndarray, " structure"]:
        """INPUT, HEAD, MLP or NEURON of each structure."""
        sources = np.where(self.graph.source_head < 0, MLP, HEAD)
        sources[0] = INPUT
        neurons = np.full(self.graph.num_layers * self.num_neurons, NEURON)
        return np.concatenate([sources, neurons])

    @cached_property
    def layer(self) -> Int[np.ndarray, " structure"]:
        """Layer of each structure; -1 for `input`."""
        neurons = np.repeat(np.arange(self.graph.num_layers), self.num_neurons)
        return np.concatenate([self.graph.source_layer, neurons])

    def name(self, structure: SupportsIndex) -> str:
        """A source's name in the graph, or `m{layer}.n{neuron}`."""
        beyond_sources = int(structure) - self.graph.num_sources
        if beyond_sources < 0:
            return self.graph.source_name(structure)
        layer, neuron = divmod(beyond_sources, self.num_neurons)
        return f"m{layer}.n{neuron}"

    def choose(self, structures: Bool[np.ndarray, " structure"]) -> "Structures":
        """A set of structures, from a mask."""
        return Structures(inventory=self, mask=structures)

    def everything(self) -> "Structures":
        """All structures, `input` among them."""
        return self.choose(np.ones(self.num_structures, dtype=bool))


@dataclass(frozen=True, kw_only=True, eq=False)
class Structures:
    """A set of structures of one architecture."""

    inventory: Inventory
    mask: Bool[np.ndarray, " structure"]

    def __post_init__(self) -> None:
        assert len(self.mask) == self.inventory.num_structures

    @property
    def nodes(self) -> Bool[np.ndarray, " source"]:
        return self.mask[: self.inventory.graph.num_sources]

    @property
    def neurons(self) -> Bool[np.ndarray, "layer neuron"]:
        graph = self.inventory.graph
        return self.mask[graph.num_sources :].reshape(graph.num_layers, -1)

    @property
    def layers(self) -> Bool[np.ndarray, " layer"]:
        """Whether each layer holds any of them."""
        layers = np.zeros(self.inventory.graph.num_layers, dtype=bool)
        found = self.inventory.layer[self.mask]
        layers[found[found >= 0]] = True
        return layers

    def count(self, kind: int) -> int:
        """How many of one kind."""
        return int((self.inventory.kind[self.mask] == kind).sum())

    def names(self) -> list[str]:
        return [self.inventory.name(structure) for structure in np.flatnonzero(self.mask)]

    def outputs(self) -> ChosenOutputs:
        """Their outputs, chosen for one run."""
        return ChosenOutputs(
            graph=self.inventory.graph, nodes=self.nodes[None], neurons=self.neurons[None]
        )


def inventory_of(model: LanguageModel) -> Inventory:
    """What can be ablated in this model."""
    return Inventory(graph=model.graph(), num_neurons=model.parts.num_neurons)
