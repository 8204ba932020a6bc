"""Heads of a layer, computed from given queries, keys and values.

1. `attention_arguments` notes, during an ordinary forward pass, everything but the hidden states
   that the stock decoder hands to each attention module: mask, rotary embedding and flags.
2. `attend` calls the stock attention module again with those arguments, while its projections
   return given queries, keys and values and its output projection returns its input.

Per-head norms, rotation, mask and the attention kernel thus are the stock ones. Only the heads of
interest need to be given: `LayerParts.ungrouped` tells the stock code how many there are.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechshift.interventions.hooking import Removable, attributes, removing
from mechshift.models import DecoderParts, LayerParts

Heads = Float[Tensor, "batch position head d_head"]
Arguments = dict[str, Any]
"""Keyword arguments of one attention module, without its hidden states."""


@contextmanager
def attention_arguments(parts: DecoderParts) -> Iterator[list[Arguments]]:
    """Note how each layer's attention is called; the list is filled by one forward pass."""
    arguments: list[Arguments] = [{} for _ in parts.layers]
    with removing(_argument_hooks(parts, arguments)):
        yield arguments


def _argument_hooks(parts: DecoderParts, arguments: list[Arguments]) -> Iterator[Removable]:
    for layer, kept in zip(parts.layers, arguments, strict=True):
        yield layer.attention.register_forward_pre_hook(_keep_arguments(kept), with_kwargs=True)


def _keep_arguments(
    kept: Arguments,
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The supported decoders pass at most the hidden states by place; else say so at once.
        assert len(args) <= 1, "the decoder passes more by place than its hidden states"
        kept.update({name: value for name, value in kwargs.items() if name != "hidden_states"})

    return hook


def attend(
    layer: LayerParts, query: Heads, key: Heads, value: Heads, arguments: Mapping[str, Any]
) -> Heads:
    """Output z of each head, before the output projection.

    Args:
        layer: whose attention is run.
        query: as the query projection returns them: before any per-head norm and rotation.
        key: one key per query head, so that heads which share a KV head may have different keys.
        value: likewise.
        arguments: what `attention_arguments` noted for this layer and batch.
    """
    assert query.shape == key.shape == value.shape
    with patched_projections(layer, query, key, value):
        # Only the batch and position axes of the hidden states are looked at.
        z, _weights = layer.attention(hidden_states=query.flatten(-2), **arguments)
    return z.unflatten(-1, query.shape[-2:])


@contextmanager
def patched_projections(
    layer: LayerParts, query: Heads, key: Heads, value: Heads
) -> Iterator[None]:
    """Make the projections return these heads, and the output projection its input.

    Inside the block every query head has a key and a value of its own. The projections' `forward`
    is exchanged, not hooked: a hook runs after the matrix product that it is to spare.
    """
    returned: dict[nn.Module, list[Tensor]] = {}
    for projection, heads in ((layer.query, query), (layer.key, key), (layer.value, value)):
        returned.setdefault(projection.module, []).append(heads.flatten(-2))
    with ExitStack() as stack:
        for module, outputs in returned.items():
            stack.enter_context(attributes(module, {"forward": _returning(outputs)}))
        stack.enter_context(attributes(layer.output.module, {"forward": lambda z: z}))
        stack.enter_context(attributes(layer.attention, layer.ungrouped(query.shape[-2])))
        yield


def _returning(outputs: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """A module's forward that returns these side by side, whatever it reads."""
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
    return lambda _hidden: joined
