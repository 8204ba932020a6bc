"""Parts of a decoder whose edges can be read and patched.

The stock Hugging Face modules stay as they are. These records say which of them is which, and hide
what differs between architectures: weights stored transposed, projections fused into one module,
norms that remove the mean or store their weight less 1, and norms of what a block writes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from mechshift.models.offloading import held


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
        weight = held(self.module, "weight")
        assert weight is not None
        by_output = weight.T if self.transposed else weight
        return by_output if self.features is None else by_output[self.features]

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        bias = held(self.module, "bias")
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
    stores_less_one: bool = False
    """Whether the module stores its weight less 1, as Gemma does."""

    @property
    def weight(self) -> Float[Tensor, " d_model"]:
        weight = held(self.module, "weight")
        assert weight is not None
        if not self.stores_less_one:
            return weight
        # Half precision would round the sum.
        return 1 + weight.to(torch.promote_types(weight.dtype, torch.float32))

    @property
    def bias(self) -> Float[Tensor, " d_model"] | None:
        return held(self.module, "bias")

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
class OutputMap:
    """The map from the last features of a block to what it adds to the residual stream.

    written(x) = W x + b, or with a norm behind it w * W x / r(W x), where an RMSNorm has w and r.
    Given r, which is one number at each position, it is linear. So the features of a part of the
    block, such as one head's z, write a part, and all parts add up to what is written:

        part(x) = weight @ (x / r)    with weight = w * W, and r of the whole of x

    Who changes some of the features changes r, and with it what the others write.
    """

    projection: Projection
    norm: Norm | None
    """Of what `projection` returns, which then has no bias; None: it is written as it is."""

    @property
    def weight(self) -> Float[Tensor, "d_model features"]:
        """Each feature's column, as it is written where r is 1: w * W."""
        weight = self.projection.weight
        if self.norm is None:
            return weight
        return (weight * self.norm.weight[:, None]).to(weight.dtype)

    def scaled(self, features: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes features"]:
        """All features of a block, over r; as they are where there is no norm."""
        if self.norm is None:
            return features
        returned = functional.linear(features, self.projection.weight.to(features.dtype))
        return features / self.norm.divisor(returned)

    def __call__(self, features: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes d_model"]:
        """All that is written, the bias included."""
        returned = self.projection(features)
        return returned if self.norm is None else self.norm(returned)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """The experts of a layer: what each returns of a token, and which are asked with what weight.

    The MLP's output is the sum over a token's experts of routing weight times what one returns.
    """

    num_experts: int
    route: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Normed stream [token, d_model] -> the experts of each token [token, choice], and their
    weights [token, choice]."""
    returned: Callable[[int, Tensor], Tensor]
    """An expert and the normed stream of some tokens [token, d_model] -> what it returns of them,
    before its weight [token, d_model]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertOutput:
    """Output of one expert, where any token is sent to it."""

    expert: int
    token: Int64[Tensor, " token"]
    """Which of the tokens are sent to it."""
    written: Float[Tensor, "token d_model"]
    """Routing weight times what it returns; elsewhere it writes nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerParts:
    """The modules of one transformer block, which norms what attention and MLP read."""

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
    attention_post_norm: Norm | None = None
    """Norm of what `attention` returns, before it is added to the residual stream; None: none."""
    ungrouped: Callable[[int], Mapping[str, int]]
    """For n query heads with a key and a value each: attributes of `attention` that say so."""
    mlp: nn.Module
    """Its output, normed by `mlp_post_norm`, is what the MLP adds to the residual stream."""
    mlp_norm: Norm
    mlp_post_norm: Norm | None = None
    """Norm of what `mlp` returns; None: none."""
    mlp_down: Projection | None
    """d_mlp -> d_model, the last map of `mlp`; its input is the MLP's hidden neurons. None for a
    mixture of experts, whose neurons no module reads."""
    mixture: Mixture | None = None
    """The experts whose sum `mlp` returns; None where it is one MLP."""

    @property
    def head_map(self) -> OutputMap:
        """From z, all heads' outputs side by side, to what attention writes."""
        return OutputMap(projection=self.output, norm=self.attention_post_norm)

    @property
    def neuron_map(self) -> OutputMap:
        """From the hidden neurons to what the MLP writes, where a caller knows that there are any.

        Its bias belongs to no neuron.
        """
        assert self.mlp_down is not None, "a mixture of experts has no hidden neurons of its own"
        return OutputMap(projection=self.mlp_down, norm=self.mlp_post_norm)

    @property
    def mlp_writer(self) -> nn.Module:
        """The module whose output is what the MLP adds to the residual stream."""
        return self.mlp if self.mlp_post_norm is None else self.mlp_post_norm.module

    def run_mlp(
        self, stream: Float[Tensor, "*axes position d_model"]
    ) -> Float[Tensor, "*axes position d_model"]:
        """What the MLP writes when it reads this residual stream."""
        output: Tensor = self.mlp(self.mlp_norm(stream))
        return output if self.mlp_post_norm is None else self.mlp_post_norm(output)

    def run_experts(self, stream: Float[Tensor, "token d_model"]) -> Iterator[ExpertOutput]:
        """What each expert writes when the MLP reads this residual stream; they add up to its.

        Experts that no token is sent to are left out.
        """
        assert self.mixture is not None and self.mlp_post_norm is None
        normed = self.mlp_norm(stream)
        chosen, weights = self.mixture.route(normed)
        for expert in range(self.mixture.num_experts):
            token, choice = torch.where(chosen == expert)
            if len(token):
                returned = self.mixture.returned(expert, normed[token])
                written = returned * weights[token, choice, None].to(returned.dtype)
                yield ExpertOutput(expert=expert, token=token, written=written)


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
    max_length: int | None = None
    """Tokens of the longest text that is read as meant: learned positions, or the narrowest window
    of attention, which hides nothing of a text that it covers. None: of any text."""

    @property
    def num_neurons(self) -> int:
        """Hidden neurons of each MLP; 0 where some layer holds a mixture of experts."""
        maps = [layer.mlp_down for layer in self.layers]
        return 0 if None in maps else int(self.layers[0].neuron_map.weight.shape[1])

    @property
    def num_experts(self) -> int:
        """Experts of each layer; 0 where some layer has one MLP."""
        mixtures = [layer.mixture for layer in self.layers]
        return 0 if mixtures[0] is None or None in mixtures else mixtures[0].num_experts


def narrowest_window(config: PreTrainedConfig) -> int | None:
    """The narrowest window that a layer attends over [tokens]; None: all see everything."""
    window: int | None = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None)
    return window if not layer_types or "sliding_attention" in layer_types else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """A stock class, and how its parts are found."""

    model_class: type[PreTrainedModel]
    read: Callable[[PreTrainedModel], DecoderParts]
