"""Replaced outputs: the model in which some structures write something else.

What is replaced is output, once for all who read it, at four kinds of site:

1. `input`: the token embeddings, which the embedding module returns. Learned positions are no part
   of them and stay;
2. `heads`: z, the input of the output projection, in the slices of the chosen heads. That is their
   output before W_O mixes them; the projection's bias belongs to no head and stays. Where a norm
   follows, it norms what is written then, so the other heads are scaled anew;
3. `mlp`: what the MLP adds to the residual stream, its bias included;
4. `neurons`: the chosen hidden neurons, in the input of the MLP's last map, whose bias stays.

One pass can hold several *runs* of the same rows, one below the other, each with structures of its
own. Sites where nothing is chosen are not hooked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from mechshift.graph import Graph
from mechshift.interventions.hooking import Removable, removing
from mechshift.models import DecoderParts
from mechshift.models.visible_keys import MaskedDecoder

SiteKind = Literal["input", "heads", "mlp", "neurons"]


@dataclass(frozen=True)
class Site:
    """A tensor of the forward pass that holds outputs of structures."""

    kind: SiteKind
    layer: int
    """-1 for `input`."""


Value = Callable[[Site, Tensor], Tensor]
"""From a site and its output [run, row, position, width]: what replaces it where chosen, of any
shape that broadcasts to the output's."""

_Change = Callable[[Tensor], Tensor | None]
"""From what a site holds to what it holds instead; None: the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenOutputs:
    """Outputs that are replaced, run by run."""

    graph: Graph
    nodes: Bool[np.ndarray, "run source"]
    neurons: Bool[np.ndarray, "run layer neuron"]
    """No neurons on the last axis where none is chosen."""

    def __post_init__(self) -> None:
        assert self.nodes.shape[1] == self.graph.num_sources
        assert self.neurons.shape[:2] == (len(self.nodes), self.graph.num_layers)

    @property
    def num_runs(self) -> int:
        return len(self.nodes)

    def sites(self) -> dict[Site, Bool[np.ndarray, "run structure"]]:
        """The sites where any run replaces something, and what it is: heads, neurons, or all."""
        heads = self.graph.num_heads
        every = {Site("input", -1): self.nodes[:, :1]}
        for layer in range(self.graph.num_layers):
            first = self.graph.head_source(layer)
            every[Site("heads", layer)] = self.nodes[:, first : first + heads]
            every[Site("neurons", layer)] = self.neurons[:, layer]
            every[Site("mlp", layer)] = self.nodes[:, first + heads : first + heads + 1]
        return {site: chosen for site, chosen in every.items() if chosen.any()}

    @property
    def first_layer(self) -> int:
        """The first layer where any run replaces something; 0 too for `input`, and for nothing."""
        return max(0, min((site.layer for site in self.sites()), default=0))


@contextmanager
def replaced_outputs(parts: DecoderParts, chosen: ChosenOutputs, value: Value) -> Iterator[None]:
    """Replace the chosen outputs in every forward pass inside the block.

    The rows of a pass are those of run 0, then those of run 1, and so on, equally many of each.
    """

    def replacing(site: Site, structures: Bool[np.ndarray, "run structure"]) -> _Change:
        mask = torch.from_numpy(structures)

        def change(output: Tensor) -> Tensor:
            by_run = output.unflatten(0, (len(structures), -1))
            width = output.shape[-1] // mask.shape[1]
            here = mask.to(output.device).repeat_interleave(width, dim=1)[:, None, None]
            return torch.where(here, value(site, by_run).to(output.dtype), by_run).flatten(0, 1)

        return change

    changes = {site: replacing(site, structures) for site, structures in chosen.sites().items()}
    with removing(_hooks(parts, changes)):
        yield


@contextmanager
def recorded_outputs(parts: DecoderParts, chosen: ChosenOutputs) -> Iterator[dict[Site, Tensor]]:
    """Note what the sites of the chosen structures hold, whole; the latest forward pass wins."""
    record: dict[Site, Tensor] = {}

    def noting(site: Site) -> _Change:
        def note(output: Tensor) -> None:
            record[site] = output.detach()

        return note

    with removing(_hooks(parts, {site: noting(site) for site in chosen.sites()})):
        yield record


@dataclass(eq=False)
class PassPositions:
    """Position ids of the latest forward pass; mutable because a hook fills it."""

    ids: Int64[Tensor, "row position"] | None = None


@contextmanager
def noted_positions(parts: DecoderParts) -> Iterator[PassPositions]:
    """Note the position ids of every forward pass; with a cache they are those of new tokens."""
    decoder = parts.decoder
    module: object = decoder.decoder if isinstance(decoder, MaskedDecoder) else decoder
    assert isinstance(module, nn.Module)
    positions = PassPositions()

    def note(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        positions.ids = kwargs["position_ids"]

    with removing([module.register_forward_pre_hook(note, with_kwargs=True)]):
        yield positions


def _hooks(parts: DecoderParts, changes: dict[Site, _Change]) -> Iterator[Removable]:
    for site, change in changes.items():
        if site.kind == "input":
            yield parts.embedding.register_forward_hook(_on_output(change))
            continue
        layer = parts.layers[site.layer]
        if site.kind == "mlp":
            yield layer.mlp_writer.register_forward_hook(_on_output(change))
        else:
            last = layer.head_map if site.kind == "heads" else layer.neuron_map
            yield last.projection.module.register_forward_pre_hook(_on_input(change))


def _on_output(change: _Change) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
    return lambda _module, _args, output: change(output)


def _on_input(change: _Change) -> Callable[[nn.Module, tuple[Any, ...]], Tensor | None]:
    # torch passes on a hook's tensor as the module's only argument.
    return lambda _module, args: change(args[0])
