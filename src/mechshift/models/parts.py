"""Parts of a decoder whose edges can be read and patched.

The stock Hugging Face modules stay as they are. These records say which of them is which, and hide
three differences between architectures: a weight stored transposed, projections fused into one
module, and norms that remove the mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """A linear map: a module of its own, or some of the output features of a fused module."""

    module: nn.Module
    """With `weight`, and `bias` or None. Where projections share it, q stands before k before v."""
    features: slice | None = None
    """Which of the module's output features are this projection's; None: all."""
    transposed: bool = False
    """Whether the module stores its weight as [in, out]."""

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """A view of the module's weight."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        by_output = weight.T if self.transposed else weight
        return by_output if self.features is None else by_output[self.features]

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        bias = self.module.bias
        assert bias is None or isinstance(bias, Tensor)
        return bias if bias is None or self.features is None else bias[self.features]

    def __call__(self, x: Float[Tensor, "*axes in"]) -> Float[Tensor, "*axes out"]:
        """The map itself; no hook of the module sees it."""
        return functional.linear(x, self.weight, self.bias)

    def taken_from(self, output: Float[Tensor, "*axes fused"]) -> Float[Tensor, "*axes out"]:
        """This projection's part of what the module returned."""
        return output if self.features is None else output[..., self.features]

    def put_into(
        self, output: Float[Tensor, "*axes fused"], part: Float[Tensor, "*axes new_out"]
    ) -> Float[Tensor, "*axes new_fused"]:
        """What the module returned, with this projection's part exchanged."""
        if self.features is None:
            return part
        before, after = output[..., : self.features.start], output[..., self.features.stop :]
        return torch.cat([before, part, after], dim=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """y = weight * c(x) / r(x) + bias.

    RMSNorm: c(x) = x, r(x) = sqrt(mean(x^2) + eps), no bias. LayerNorm: c(x) = x - mean(x),
    r(x) = sqrt(mean(c(x)^2) + eps).
    """

    module: nn.Module
    eps: float
    removes_mean: bool
    """True for LayerNorm, False for RMSNorm."""

    @property
    def weight(self) -> Float[Tensor, " d_model"]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def bias(self) -> Float[Tensor, " d_model"] | None:
        bias = getattr(self.module, "bias", None)
        assert bias is None or isinstance(bias, Tensor)
        return bias

    def __call__(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        """What the stock module computes; no hook of the module sees it."""
        normed: Tensor = self.module.forward(x)
        return normed

    def centred(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        """c(x). It is linear and its own transpose, so gradients pass through it the same way."""
        return x - x.mean(dim=-1, keepdim=True) if self.removes_mean else x

    def divisor(self, centred: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes 1"]:
        """r(x), from c(x)."""
        return torch.sqrt(centred.square().mean(dim=-1, keepdim=True) + self.eps)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerParts:
    """The modules of one pre-norm transformer block."""

    block: nn.Module
    """All of it, called with the residual stream first and everything else by name; it returns the
    stream of the next layer."""
    attention: nn.Module
    """Called with `hidden_states`, first or by name, and everything else by name."""
    attention_norm: Norm
    """Norm of the residual stream that feeds `query`, `key` and `value`."""
    query: Projection
    """d_model -> num_heads * head_dim, before any per-head norm and before rotation."""
    key: Projection
    """d_model -> num_key_value_heads * head_dim."""
    value: Projection
    """d_model -> num_key_value_heads * head_dim."""
    output: Projection
    """num_heads * head_dim -> d_model; its input is z, the heads' outputs side by side."""
    ungrouped: Callable[[int], Mapping[str, int]]
    """For n query heads with a key and a value each: attributes of `attention` that say so."""
    mlp: nn.Module
    """Its output is what the MLP adds to the residual stream."""
    mlp_norm: Norm
    mlp_down: Projection | None
    """d_mlp -> d_model, the last map of `mlp`; its input is the MLP's hidden neurons. None for a
    mixture of experts, whose neurons no module reads."""

    @property
    def neuron_map(self) -> Projection:
        """`mlp_down` where there are hidden neurons, which a caller has made sure of."""
        assert self.mlp_down is not None, "a mixture of experts has no hidden neurons of its own"
        return self.mlp_down


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderParts:
    """The modules of one decoder, and the sizes that describe its heads."""

    decoder: Callable[..., Any]
    """Everything but the unembedding. Called with `inputs_embeds` or `input_ids`, `attention_mask`
    and `position_ids`; its `last_hidden_state` is taken after `final_norm`."""
    embedding: nn.Module
    """Token ids -> what `inputs_embeds` takes. Learned positions are added by the decoder."""
    layers: tuple[LayerParts, ...]
    final_norm: Norm
    unembedding: nn.Linear
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    d_model: int
    num_positions: int | None = None
    """Where positions are learned: how many there are. None: any number can be computed."""

    @property
    def num_neurons(self) -> int:
        """Hidden neurons of each MLP; 0 where some layer holds a mixture of experts."""
        maps = [layer.mlp_down for layer in self.layers]
        return 0 if None in maps else int(self.layers[0].neuron_map.weight.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """A stock class, and how its parts are found."""

    model_class: type[PreTrainedModel]
    read: Callable[[PreTrainedModel], DecoderParts]
