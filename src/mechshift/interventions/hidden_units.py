"""Activations of an MLP's hidden units."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from mechshift.interventions.hooking import removing
from mechshift.models import DecoderParts


@contextmanager
def recorded_hidden_units(
    parts: DecoderParts, layers: Sequence[int]
) -> Iterator[dict[int, Float[Tensor, "row position unit"]]]:
    """Keep the hidden units of some layers in every forward pass; the latest pass wins."""
    kept: dict[int, Tensor] = {}

    def keep(layer: int, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept[layer] = args[0]

    hooks = (
        parts.layers[layer].neuron_map.projection.module.register_forward_pre_hook(
            partial(keep, layer)
        )
        for layer in layers
    )
    with removing(hooks):
        yield kept
