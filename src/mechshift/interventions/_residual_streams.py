"""Residual streams before each layer, from one pass for others that leave the first layers as is.

What is changed at some layer changes nothing before it. So where the stream of the unchanged model
is at hand, a pass can begin at the first layer that is changed, and computes the very same numbers
from there on. The stock decoder is called as ever; layers before the first one return at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mechshift.interventions.hooking import attributes, removing
from mechshift.models import DecoderParts, LanguageModel

ResidualStreams = Sequence[Float[Tensor, "row position d_model"]]
"""The residual stream that each layer reads."""


@contextmanager
def recorded_streams(parts: DecoderParts) -> Iterator[list[Tensor]]:
    """Note what each layer reads in a forward pass inside the block; the latest pass wins."""
    streams: list[Tensor] = [Tensor()] * len(parts.layers)

    def noting(layer: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_module: nn.Module, args: tuple[Any, ...]) -> None:
            streams[layer] = args[0].detach()

        return note

    hooks = (
        layer.block.register_forward_pre_hook(noting(index))
        for index, layer in enumerate(parts.layers)
    )
    with removing(hooks):
        yield streams


@contextmanager
def begun_at(
    parts: DecoderParts, layer: int, stream: Float[Tensor, "row position d_model"]
) -> Iterator[None]:
    """Let forward passes inside the block begin at a layer that reads this stream.

    Args:
        parts: the decoder, which is called as for a whole pass.
        layer: 0 begins at the first, as ever.
        stream: of the rows that the decoder is called with.
    """
    with ExitStack() as stack:
        for passed in parts.layers[: max(0, layer - 1)]:
            stack.enter_context(attributes(passed.block, {"forward": _returning_what_it_reads}))
        if layer > 0:
            before = parts.layers[layer - 1].block
            stack.enter_context(attributes(before, {"forward": lambda *_args, **_rest: stream}))
        yield


@torch.no_grad()
def input_stream(
    model: LanguageModel,
    input_ids: Int64[Tensor, "row position"],
    attention_mask: Int64[Tensor, "row position"],
    position_ids: Int64[Tensor, "row position"],
) -> Float[Tensor, "row position d_model"]:
    """What `input` writes: all that the stock decoder puts into the stream before layer 0.

    No layer is computed.
    """
    with ExitStack() as stack:
        for layer in model.parts.layers:
            stack.enter_context(attributes(layer.block, {"forward": _returning_what_it_reads}))
        streams = stack.enter_context(recorded_streams(model.parts))
        model.hidden(input_ids, attention_mask, position_ids)
    return streams[0]


def _returning_what_it_reads(stream: Tensor, *_args: Any, **_rest: Any) -> Tensor:
    return stream
