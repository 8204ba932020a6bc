"""Gradients of the metric with respect to each destination's input.

A destination reads the residual stream x before its norm, y = w * c / r + n, where c is x, or x
without its mean for LayerNorm, and r = sqrt(mean(c^2) + eps). The norm's full Jacobian belongs to
the destination; P removes the mean for LayerNorm and is the identity for RMSNorm:

    J^T g = P (w * g) / r  -  c (c . (w * g)) / (d r^3)

Taken literally this needs one gradient of d_model numbers for each head, point of the integration
path and position. Instead, for a head with the projection q = W y + b and the gradient g at q:

1. the first term applies W's transpose, w and P to g / r, linearly: sum g / r over the points at
   d_head numbers, and apply W, w and P once;
2. the second term lies along c, with the factor c . (w * W^T g) / (d r^3) =
   (q - b - W n) . g / (d r^2). An inner product with it is that one number for each head, times an
   inner product with c, which all heads share. Whoever sums over points takes both at every point
   (`norm_terms`), so that no c is kept beyond its point.

An MLP's gradient has d_model numbers anyway. It and that of `logits` are taken at the inputs of
their norms, where autograd has applied the Jacobian already, and are summed whole.

Sums are kept per row and slot, in float32 at least.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import CanvasBatch
from mechshift.interventions import LayerRecording, Recording
from mechshift.models import DecoderParts, LayerParts, Projection

Direction = Float[Tensor, "row destination position d_model"]


HEAD_KINDS = ("query", "key", "value")
"""Of a `LayerRecording`: where a layer's heads are differentiated."""

TENSORS_PER_LAYER = len(HEAD_KINDS) + 1
"""Those of its heads, and what its MLP reads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormTerm:
    """The second term of one layer's q, k and v destinations at one point: minus factor times c."""

    factor: Float[Tensor, "slot row position destination"]
    c: Float[Tensor, "row position d_model"]


class DestinationGradients:
    """Gradients of the metric at every destination of a batch, summed over points of a path.

    Of heads' destinations `directions` holds the first term, and `norm_terms` the second.
    """

    def __init__(self, parts: DecoderParts, batch: CanvasBatch, *, groups: int) -> None:
        """Start at zero; `groups` is the number of k destinations of a layer, and of v."""
        weight = parts.final_norm.weight
        self.dtype = torch.promote_types(weight.dtype, torch.float32)
        self.num_slots = batch.num_slots
        cells = (batch.num_slots, *batch.clean_ids.shape)
        self._logits = weight.new_zeros((*cells, parts.d_model), dtype=self.dtype)
        heads = (parts.num_heads, groups, groups)
        self._heads = [
            _HeadGradients(layer, self._logits, heads, parts.head_dim) for layer in parts.layers
        ]
        self._mlps = [torch.zeros_like(self._logits) for _ in parts.layers]

    def differentiated(self, record: Recording) -> list[Tensor]:
        """The recorded tensors whose gradients `add` takes, in this order."""
        names = (*HEAD_KINDS, "mlp_read")
        per_layer = (getattr(layer, name) for layer in record.layers for name in names)
        return [*per_layer, record.final_input]

    def begin_point(self, record: Recording) -> None:
        """Keep what all slots of the next point share."""
        with torch.no_grad():
            for heads, layer in zip(self._heads, record.layers, strict=True):
                heads.begin_point(layer)

    def add(self, slot: int, index: int, gradient: Tensor) -> None:
        """Add one slot's gradient at the tensor that stands at `index` in `differentiated`."""
        layer, place = divmod(index, TENSORS_PER_LAYER)
        with torch.no_grad():
            if layer == len(self._heads):
                self._logits[slot] += gradient
            elif place < len(HEAD_KINDS):
                self._heads[layer].add(slot, place, gradient)
            else:
                self._mlps[layer][slot] += gradient

    def norm_terms(self) -> list[NormTerm]:
        """Of each layer, at the latest point, once all its slots have been added."""
        return [heads.norm_term() for heads in self._heads]

    def directions(self, slot: int, rows: slice) -> Iterator[Direction]:
        """Gradients at what destinations read, in graph order, for some rows of the batch.

        One block for the q, k and v destinations of a layer, one for its MLP, one for `logits`.
        Summed over points; of a block of heads the second term is missing.
        """
        for heads, mlp in zip(self._heads, self._mlps, strict=True):
            yield heads.direction(slot, rows)
            yield mlp[slot, rows][:, None]
        yield self._logits[slot, rows][:, None]


class _HeadGradients:
    """For the q, then k, then v destinations of one layer: the first term summed over points."""

    def __init__(
        self,
        layer: LayerParts,
        like: Float[Tensor, "slot row position d_model"],
        destinations: tuple[int, int, int],
        d_head: int,
    ) -> None:
        self._norm = layer.attention_norm
        projections = (layer.query, layer.key, layer.value)
        self._projections = tuple(zip(projections, destinations, strict=True))
        ends = accumulate(destinations)
        self._kinds = [
            slice(end - count, end) for count, end in zip(destinations, ends, strict=True)
        ]
        self._d_head = d_head
        slots, rows, positions, self._d_model = like.shape
        cells = (rows, positions, sum(destinations))
        self._over_r = like.new_zeros((slots, *cells, d_head))
        self._factor = like.new_zeros((slots, *cells))
        with torch.no_grad():
            self._biases = [self._bias(p, n) for p, n in self._projections]

    def begin_point(self, layer: LayerRecording) -> None:
        self._layer = layer
        self._r = self._norm.divisor(self._c())

    def add(self, slot: int, kind: int, gradient: Float[Tensor, "row position d_kind"]) -> None:
        output = getattr(self._layer, HEAD_KINDS[kind]).detach()
        unbiased = self._by_destination(output) - self._biases[kind]
        by_destination = self._by_destination(gradient)
        at = self._kinds[kind]
        self._over_r[slot, :, :, at] += by_destination / self._r[..., None]
        along_c = (unbiased * by_destination).sum(dim=-1)
        self._factor[slot, :, :, at] = along_c / (self._d_model * self._r.square())

    def norm_term(self) -> NormTerm:
        return NormTerm(factor=self._factor, c=self._c())

    def direction(self, slot: int, rows: slice) -> Direction:
        weight = torch.cat([self._weight(p, n) for p, n in self._projections])
        return torch.einsum("bpnk,nkd->bnpd", self._over_r[slot, rows], weight)

    def _c(self) -> Float[Tensor, "row position d_model"]:
        x = self._layer.attention_input.detach()
        return self._norm.centred(x.to(self._over_r.dtype))

    def _by_destination(
        self, side_by_side: Float[Tensor, "row position d_kind"]
    ) -> Float[Tensor, "row position destination d_head"]:
        return side_by_side.to(self._over_r.dtype).unflatten(-1, (-1, self._d_head))

    def _weight(
        self, projection: Projection, destinations: int
    ) -> Float[Tensor, "destination d_head d_model"]:
        """The projection by destination, with w and P folded in."""
        folded = projection.weight.to(self._over_r.dtype) * self._norm.weight
        heads = self._norm.centred(folded).unflatten(0, (-1, self._d_head))
        return _per_destination(heads, destinations)

    def _bias(
        self, projection: Projection, destinations: int
    ) -> Float[Tensor, "destination d_head"]:
        """What a projection returns where c is zero: b + W n."""
        bias = self._over_r.new_zeros(len(projection.weight))
        if projection.bias is not None:
            bias += projection.bias
        if self._norm.bias is not None:
            bias += projection.weight.to(bias.dtype) @ self._norm.bias.to(bias.dtype)
        return _per_destination(bias.unflatten(0, (-1, self._d_head)), destinations)


def _per_destination(
    heads: Float[Tensor, "head d_head *d_model"], destinations: int
) -> Float[Tensor, "destination d_head *d_model"]:
    """Repeat KV heads' weights or biases for the query heads, where those are destinations."""
    return heads.repeat_interleave(destinations // len(heads), dim=0)
