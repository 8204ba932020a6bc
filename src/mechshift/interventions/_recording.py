"""Recordings of the activations that edge scores need, from the stock module.

`recording` hooks the Hugging Face module as it is. Inside the block every forward pass of
`parts.decoder` fills one `Recording` with tensors that belong to that pass's autograd graph:

1. what sources write: the embeddings, the heads' `z` (input of the output projection, before W_O
   mixes the heads) and the MLPs' output;
2. what destinations read: the residual stream before each norm;
3. where destinations are differentiated: the outputs of the q, k and v projections, and the inputs
   of the MLP's and the final norm. Per-head copies of the residual stream are never made;
   attribution maps the gradients of q, k and v back through projection and norm.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from mechshift.interventions.hooking import Removable, removing, ungrouped_heads
from mechshift.models import DecoderParts, LayerParts, Projection


@dataclass(kw_only=True, eq=False)
class LayerRecording:
    """Activations of one layer in one forward pass; heads lie side by side on the last axis."""

    attention_input: Float[Tensor, "row position d_model"] = field(init=False)
    """The residual stream before the attention norm: what q, k and v destinations read."""
    query: Float[Tensor, "row position d_query"] = field(init=False)
    key: Float[Tensor, "row position d_key"] = field(init=False)
    """One entry for each key destination: for each query head, or for each KV head if grouped."""
    value: Float[Tensor, "row position d_key"] = field(init=False)
    z: Float[Tensor, "row position d_query"] = field(init=False)
    """Attention-weighted values, before the output projection and any norm behind it."""
    mlp_input: Float[Tensor, "row position d_model"] = field(init=False)
    """The residual stream before the MLP's norm."""
    mlp_read: Float[Tensor, "row position d_model"] = field(init=False)
    """A view of `mlp_input` that only the MLP's norm reads, so that its gradient is the MLP's."""
    mlp_output: Float[Tensor, "row position d_model"] = field(init=False)
    """What the MLP adds to the residual stream: behind the norm that follows it, if one does."""


@dataclass(kw_only=True, eq=False)
class Recording:
    """Activations of the latest forward pass; mutable because the hooks fill it."""

    layers: tuple[LayerRecording, ...]
    final_input: Float[Tensor, "row position d_model"] = field(init=False)
    """The residual stream before the final norm: what `logits` reads."""

    def forget(self) -> None:
        """Let go of the latest pass; the next one fills the record again."""
        for layer in self.layers:
            vars(layer).clear()
        vars(self).pop("final_input", None)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the latest pass while hooked modules are called by themselves inside the block."""
        owners = (self, *self.layers)
        kept = [dict(vars(owner)) for owner in owners]
        try:
            yield
        finally:
            for owner, values in zip(owners, kept, strict=True):
                vars(owner).clear()
                vars(owner).update(values)

    @property
    def embedding(self) -> Float[Tensor, "row position d_model"]:
        """What `input` writes: all that stands in the residual stream before layer 0."""
        return self.layers[0].attention_input


@contextmanager
def recording(parts: DecoderParts, *, grouped: bool = False) -> Iterator[Recording]:
    """Record every forward pass of `parts.decoder` inside the block; the latest pass wins.

    Args:
        parts: the decoder to hook; nothing stays hooked after the block, however it ends.
        grouped: keep one key and one value per KV head instead of one per query head.
    """
    record = Recording(layers=tuple(LayerRecording() for _ in parts.layers))
    with ExitStack() as stack:
        if not grouped:
            # Entered first, so that the recorded keys and values are the repeated ones.
            stack.enter_context(ungrouped_heads(parts))
        stack.enter_context(removing(_recording_hooks(parts, record)))
        yield record


def _recording_hooks(parts: DecoderParts, record: Recording) -> Iterator[Removable]:
    for layer, layer_record in zip(parts.layers, record.layers, strict=True):
        yield from _layer_hooks(layer, layer_record)
    yield parts.final_norm.module.register_forward_pre_hook(_keep_input(record, "final_input"))


def _layer_hooks(layer: LayerParts, record: LayerRecording) -> Iterator[Removable]:
    inputs = {
        "attention_input": layer.attention_norm.module,
        "z": layer.output.module,
    }
    projections = {"query": layer.query, "key": layer.key, "value": layer.value}
    for name, module in inputs.items():
        yield module.register_forward_pre_hook(_keep_input(record, name))
    for name, projection in projections.items():
        yield projection.module.register_forward_hook(_keep_projected(record, name, projection))
    yield layer.mlp_norm.module.register_forward_pre_hook(_keep_mlp_input(record))
    yield layer.mlp_writer.register_forward_hook(_keep_output(record, "mlp_output"))


def _keep_input(record: object, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        setattr(record, name, args[0])

    return hook


def _keep_mlp_input(
    record: LayerRecording,
) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        record.mlp_input = args[0]
        record.mlp_read = args[0].view_as(args[0])
        return (record.mlp_read, *args[1:])

    return hook


def _keep_output(
    record: object, name: str
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        setattr(record, name, output)

    return hook


def _keep_projected(
    record: object, name: str, projection: Projection
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        part = projection.taken_from(output)
        setattr(record, name, part)
        # Put back, so that what follows depends on the very tensor that is differentiated.
        return projection.put_into(output, part)

    return hook
