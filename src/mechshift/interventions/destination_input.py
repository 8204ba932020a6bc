"""Patched input of one destination, while nothing else reads the change.

The nodes of the graph share the residual stream, so it cannot simply be changed. The change is made
where a destination takes its copy:

1. an MLP or `logits`: at the input of its norm, which has no other reader;
2. a head's q, k or v: the norm and the projection are computed again from the changed stream, and
   that head's slice of the projection's output is replaced.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE, Graph
from mechshift.interventions.hooking import Removable, removing, ungrouped_heads
from mechshift.models import DecoderParts, LayerParts, Norm


@contextmanager
def added_to_destination(
    parts: DecoderParts,
    graph: Graph,
    destination: int,
    change: Float[Tensor, "row position d_model"],
) -> Iterator[None]:
    """Add `change` to what one destination reads, in every forward pass inside the block."""
    kind, layer = graph.destination_kind[destination], graph.destination_layer[destination]
    with ExitStack() as stack:
        if kind == LOGITS:
            hooks = iter([_change_input(parts.final_norm, change)])
        elif kind == MLP:
            hooks = iter([_change_input(parts.layers[layer].mlp_norm, change)])
        else:
            if graph.num_key_value_groups == graph.num_heads:
                stack.enter_context(ungrouped_heads(parts))
            head = int(graph.destination_head[destination])
            hooks = _change_head(parts.layers[layer], int(kind), head, parts.head_dim, change)
        stack.enter_context(removing(hooks))
        yield


def _change_input(norm: Norm, change: Float[Tensor, "row position d_model"]) -> Removable:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0] + change, *args[1:])

    return norm.module.register_forward_pre_hook(hook)


def _change_head(
    layer: LayerParts,
    kind: int,
    head: int,
    d_head: int,
    change: Float[Tensor, "row position d_model"],
) -> Iterator[Removable]:
    projection = {QUERY: layer.query, KEY: layer.key, VALUE: layer.value}[kind]
    changed: list[Float[Tensor, "row position d_projection"]] = []

    def recompute(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        changed[:] = [projection(layer.attention_norm(args[0] + change))]

    def replace(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        heads = projection.taken_from(output).unflatten(-1, (-1, d_head)).clone()
        recomputed = changed[0].unflatten(-1, (-1, d_head))
        share = heads.shape[-2] // recomputed.shape[-2]
        heads[..., head, :] = recomputed[..., head // share, :]
        return projection.put_into(output, heads.flatten(-2))

    yield layer.attention_norm.module.register_forward_pre_hook(recompute)
    yield projection.module.register_forward_hook(replace)
