"""Hooks on a stock module for the length of one `with` block, removed on any exit.

Everything that registers a hook in mechshift goes through `removing`, so that an error inside the
block never leaves a hook behind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from mechshift.models import DecoderParts


@runtime_checkable
class Removable(Protocol):
    """Handle that torch returns for a registered hook."""

    def remove(self) -> None: ...


@contextmanager
def removing(handles: Iterable[Removable]) -> Iterator[None]:
    """Remove the hooks when the block ends, also on an error.

    The handles are drawn one at a time: should registering one fail, those before it are removed.
    """
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


@contextmanager
def gradients_given(
    tensors: Sequence[Tensor], take: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Give each tensor's gradient to `take`, with the tensor's index, as a backward pass makes it.

    What `torch.autograd.grad` returns is in memory all at once; these gradients are gone when
    `take` has returned.
    """
    with removing(
        tensor.register_hook(partial(take, index)) for index, tensor in enumerate(tensors)
    ):
        yield


@contextmanager
def ungrouped_heads(parts: DecoderParts) -> Iterator[None]:
    """Give every query head its own copy of its KV head's key and value.

    The outputs of the key and value projections are repeated per query head, and the attention
    modules are told so. Rotary embedding, Qwen3's key norm and the attention kernel then run per
    query head on equal inputs, so the logits do not change and each query head has a key and a
    value gradient of its own. Without grouped-query attention nothing is touched.
    """
    group = parts.num_heads // parts.num_key_value_heads
    if group == 1:
        yield
        return
    projections = [p.module for layer in parts.layers for p in (layer.key, layer.value)]
    assert len(set(projections)) == len(projections), "grouped heads with fused projections"

    def repeat(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        heads = output.unflatten(-1, (parts.num_key_value_heads, parts.head_dim))
        return heads.repeat_interleave(group, dim=-2).flatten(-2)

    with ExitStack() as stack:
        stack.enter_context(removing(p.register_forward_hook(repeat) for p in projections))
        for layer in parts.layers:
            stack.enter_context(attributes(layer.attention, layer.ungrouped(parts.num_heads)))
        yield


@contextmanager
def attributes(module: nn.Module, values: Mapping[str, object]) -> Iterator[None]:
    """Set instance attributes of a module, and put back what was there on any exit."""
    before = {name: vars(module)[name] for name in values if name in vars(module)}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name in values:
            if name in before:
                setattr(module, name, before[name])
            else:
                delattr(module, name)
