"""GIM: gradients that see an effect which attention repairs at once.

Where several keys draw a query's attention together, changing one of them does little: its share
goes to the others, which say the same. A gradient looks at one change at a time and finds nothing,
though changing all of them together matters. `gim_attention` changes gradients, and no output:

1. Softmax. Forward p = softmax(s); backward as if it were softmax(s / T), whose Jacobian
   diag(q) - q q^T with q = softmax(s / T) is less saturated. As in the authors' code, it is not
   divided by T.
2. Products, where `split_products` is asked for. Each factor of query x key and of
   attention x value gets half the gradient, so that the two together receive it once. Queries and
   keys thus get a quarter in all and values a half.

These are the two rules about attention of GIM, Gradient Interaction Modifications (Edin et al.
2025, arXiv:2505.17630), with its T = 2. Its others, freezing the statistics of norms and splitting
an MLP's gate from what it gates, are not about attention and are not applied here.

Use it around any gradient method:

    with gim_attention(model):
        scores = node_attribution(model, canvases, metric="logit_diff")

`eap` and `eap_ig` have an option `gim` that does so with the defaults of `gim_attention`.

Such scores no longer obey completeness: gradients under these rules are those of no function. Exact
patching takes no gradient and is not changed.

Attention is computed here in plain matrix products, which hold [row, head, position, position] in
memory where the stock kernels may not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from mechshift.errors import AttributionError
from mechshift.models import LanguageModel

Weights = Float[Tensor, "row head query key"]


@contextmanager
def gim_attention(
    model: LanguageModel, *, temperature: float = 2.0, split_products: bool = True
) -> Iterator[None]:
    """Let gradients of attention follow GIM's rules inside the block; outputs stay the same.

    Args:
        model: its configuration names another attention implementation inside the block.
        temperature: T of the softmax's backward pass; 1 leaves it as it is.
        split_products: also halve the gradients of the factors of a product.

    Raises:
        AttributionError: a temperature below 1.
    """
    if temperature < 1:
        raise AttributionError(
            f"the temperature of the softmax's gradient is {temperature}; it must be at least 1."
        )
    # transformers looks attention up by name. The name stays registered; no other model asks for
    # it.
    name = f"mechshift_gim_{temperature}_{split_products}"
    AttentionInterface.register(name, modified_attention(temperature, split_products))
    AttentionMaskInterface.register(name, eager_mask)
    config = model.module.config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def modified_attention(
    temperature: float, split_products: bool
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Attention with these gradients, called as transformers calls every implementation."""
    factor = _half_gradient if split_products else _whole_gradient

    def attend(
        _module: nn.Module,
        query: Float[Tensor, "row head query d_head"],
        key: Float[Tensor, "row kv_head key d_head"],
        value: Float[Tensor, "row kv_head key d_head"],
        attention_mask: Float[Tensor, "row _ query key"] | None,
        *,
        scaling: float,
        **_flags: Any,
    ) -> tuple[Float[Tensor, "row query head d_head"], Weights]:
        group = query.shape[1] // key.shape[1]
        key, value = (heads.repeat_interleave(group, dim=1) for heads in (key, value))
        scores = factor(query) @ factor(key).mT * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights: Weights = _TemperedSoftmax.apply(precise, temperature).to(query.dtype)
        z = factor(weights) @ factor(value)
        return z.transpose(1, 2).contiguous(), weights

    return attend


def _half_gradient(tensor: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The same numbers (halving is exact in binary), with half of the gradient."""
    half = tensor / 2
    return half + half.detach()


def _whole_gradient(tensor: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    return tensor


class _TemperedSoftmax(torch.autograd.Function):
    """Softmax over the last axis that is differentiated at a temperature of its own."""

    @staticmethod
    def forward(ctx: Any, scores: Weights, temperature: float) -> Weights:
        ctx.save_for_backward(scores)
        ctx.temperature = temperature
        return scores.softmax(dim=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Weights) -> tuple[Weights, None]:
        (scores,) = ctx.saved_tensors
        weights = (scores / ctx.temperature).softmax(dim=-1)
        mean = (weights * gradient).sum(dim=-1, keepdim=True)
        return weights * (gradient - mean), None
