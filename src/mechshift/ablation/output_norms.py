"""Norms of what each structure writes, and so of what an ablation removes.

A structure that writes far more than the others (a super-outlier dimension, say) breaks a model
when it is removed, whatever it stands for. So every plan is reported with

1. its norm: the L2 norm of what each structure adds to the residual stream, averaged over all
   tokens that the canvases hold, and summed over the structures of the plan. A head adds z times
   its slice of the output projection, a neuron its activation times its column of the MLP's last
   map, both as normed where a norm follows; biases belong to neither;
2. its share of the norms of all nodes, or of all neurons, or of both, if it holds any of them;
3. the share of its largest coordinate: of the squares that its structures write, averaged and
   summed likewise, how much falls on one coordinate of the residual stream. 1 / d_model is even.

The norms are those of the clean run, so they say what zeroing removes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mechshift.ablation.structures import Inventory, Structures, inventory_of
from mechshift.attribution.source_differences import write_heads
from mechshift.denoising import Canvas, batch_canvases
from mechshift.errors import AblationError
from mechshift.interventions import Site, recorded_outputs
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class OutputNorms:
    """Outputs of every structure of one model on some canvases, as means over tokens."""

    inventory: Inventory
    norm: Float64[np.ndarray, " structure"]
    """L2 norm [residual stream units]."""
    node_square: Float64[np.ndarray, "source d_model"]
    """Square of each coordinate of what a node writes."""
    neuron_square: Float64[np.ndarray, "layer neuron"]
    """Square of each neuron's activation, over the divisor of a norm behind its map."""

    def of(self, structures: Structures) -> float:
        """Summed norm of a set of structures."""
        return float(self.norm[structures.mask].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class RemovedOutputs:
    """Parts of the output that several plans remove."""

    norm: Float64[np.ndarray, " plan"]
    """Summed mean L2 norms [residual stream units]."""
    share: Float64[np.ndarray, " plan"]
    """Of the norms of all nodes, of all neurons, or of both, by what the plan holds; in [0, 1]."""
    largest_coordinate_share: Float64[np.ndarray, " plan"]
    """Share of the squares that falls on one coordinate, in [1 / d_model, 1]; NaN where nothing
    is removed."""


class NormSums:
    """Sums over tokens, filled batch by batch."""

    def __init__(self, model: LanguageModel) -> None:
        """Start at zero."""
        self.inventory = inventory_of(model)
        self._parts = model.parts
        self._num_tokens = 0
        graph, num_neurons = self.inventory.graph, self.inventory.num_neurons
        self._norm = np.zeros(self.inventory.num_structures)
        self._node_square = np.zeros((graph.num_sources, self._parts.d_model))
        self._neuron_square = np.zeros((graph.num_layers, num_neurons))

    def add(
        self, outputs: Mapping[Site, Tensor], attention_mask: Int64[Tensor, "row position"]
    ) -> None:
        """Add the tokens of one pass; `outputs` hold every site."""
        tokens = attention_mask.bool()
        self._num_tokens += int(tokens.sum())
        graph, num_neurons = self.inventory.graph, self.inventory.num_neurons
        self._add_nodes(0, outputs[Site("input", -1)][tokens][None])
        for index, layer in enumerate(self._parts.layers):
            z = layer.head_map.scaled(outputs[Site("heads", index)][tokens])
            heads = write_heads(z[None], layer, graph.num_heads)
            self._add_nodes(graph.head_source(index), heads[0])
            self._add_nodes(graph.mlp_source(index), outputs[Site("mlp", index)][tokens][None])
            if not num_neurons:
                continue
            neurons = layer.neuron_map.scaled(outputs[Site("neurons", index)][tokens].float())
            columns = layer.neuron_map.weight.float().norm(dim=0)
            first = graph.num_sources + index * num_neurons
            norms = neurons.abs().sum(dim=0) * columns
            self._norm[first : first + num_neurons] += norms.double().cpu().numpy()
            self._neuron_square[index] += neurons.square().sum(dim=0).double().cpu().numpy()

    def _add_nodes(self, first: int, written: Float[Tensor, "node token d_model"]) -> None:
        written = written.float()
        here = slice(first, first + len(written))
        self._norm[here] += written.norm(dim=-1).sum(dim=1).double().cpu().numpy()
        self._node_square[here] += written.square().sum(dim=1).double().cpu().numpy()

    def norms(self) -> OutputNorms:
        """The means."""
        return OutputNorms(
            inventory=self.inventory,
            norm=self._norm / self._num_tokens,
            node_square=self._node_square / self._num_tokens,
            neuron_square=self._neuron_square / self._num_tokens,
        )


@torch.no_grad()
def measure_output_norms(
    model: LanguageModel, canvases: Sequence[Canvas], *, batch_size: int = 32
) -> OutputNorms:
    """Run the clean canvases once and measure what every structure writes.

    Raises:
        AblationError: no canvases.
    """
    if not canvases:
        raise AblationError("there is nothing to measure norms on: no canvases were given.")
    sums = NormSums(model)
    everything = sums.inventory.everything().outputs()
    with recorded_outputs(model.parts, everything) as outputs:
        for batch in batch_canvases(model, canvases, batch_size):
            model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
            sums.add(outputs, batch.attention_mask)
    return sums.norms()


def removed_outputs(
    model: LanguageModel, norms: OutputNorms, plans: Sequence[Structures]
) -> RemovedOutputs:
    """How much each set of structures writes, by the norms of its model."""
    num_sources = norms.inventory.graph.num_sources
    nodes_total, neurons_total = norms.norm[:num_sources].sum(), norms.norm[num_sources:].sum()
    norm, share, largest = np.zeros((3, len(plans)))
    for row, structures in enumerate(plans):
        norm[row] = norms.of(structures)
        total = nodes_total * structures.nodes.any() + neurons_total * structures.neurons.any()
        share[row] = norm[row] / total if total else 0.0
        squares = _coordinate_squares(model, norms, structures)
        largest[row] = squares.max() / squares.sum() if squares.any() else np.nan
    return RemovedOutputs(norm=norm, share=share, largest_coordinate_share=largest)


def _coordinate_squares(
    model: LanguageModel, norms: OutputNorms, structures: Structures
) -> Float64[np.ndarray, " d_model"]:
    squares = norms.node_square[structures.nodes].sum(axis=0)
    activations = np.where(structures.neurons, norms.neuron_square, 0.0)
    for index in np.flatnonzero(structures.neurons.any(axis=1)):
        weight = model.parts.layers[index].neuron_map.weight.float()
        written = weight.square() @ torch.from_numpy(activations[index]).to(weight)
        squares = squares + written.double().cpu().numpy()
    return squares
