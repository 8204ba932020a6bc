"""The output of an MLP, or of a mixture of experts, to which something is added."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from mechshift.interventions.hooking import removing
from mechshift.models import LayerParts


@contextmanager
def added_to_mlp_output(
    layer: LayerParts, change: Float[Tensor, "token d_model"]
) -> Iterator[None]:
    """Let the MLP of a layer write so much more at each token of every forward pass in the block.

    Args:
        layer: whose MLP.
        change: row after row, as many tokens as a pass has, padding included.
    """

    def hook(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + change.view_as(output)

    with removing([layer.mlp_writer.register_forward_hook(hook)]):
        yield
