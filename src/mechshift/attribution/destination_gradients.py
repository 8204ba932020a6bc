"""How does the metric change when a destination's input is nudged?

A destination reads the residual stream x before its norm, y = w * c / r + n, where c is x, or x
without its mean for LayerNorm, and r = sqrt(mean(c^2) + eps). The norm's full Jacobian belongs to
the destination; P removes the mean for LayerNorm and is the identity for RMSNorm:

    J^T g = P (w * g) / r  -  c (c . (w * g)) / (d r^3)

Taken literally this needs one gradient of d_model numbers for each head, point of the integration
path and position. Instead, for a head with the projection q = W y + b and the gradient g at q:

1. the first term applies W's transpose, w and P to g / r, linearly: sum g / r over the points at
   d_head numbers, and apply W, w and P once;
2. the second term lies along c, with the factor c . (w * W^T g) / (d r^3) =
   (q - b - W n) . g / (d r^2): keep that one number for each head, and c once for all heads.

An MLP's gradient has d_model numbers anyway and is summed whole; `logits` reads the input of the
final norm, where autograd has applied the Jacobian already. Sums are kept per row and slot, in
float32 at least.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import CanvasBatch
from mechshift.interventions import LayerRecording, Recording
from mechshift.models import DecoderParts, LayerParts, Norm, Projection

Direction = Float[Tensor, "row destination position d_model"]


class DestinationGradients:
    """Gradients of the metric at every destination of a batch, summed over points of a path."""

    def __init__(
        self, parts: DecoderParts, batch: CanvasBatch, *, num_points: int, groups: int
    ) -> None:
        """Start at zero; `groups` is the number of k destinations of a layer, and of v."""
        weight = parts.final_norm.weight
        self.dtype = torch.promote_types(weight.dtype, torch.float32)
        self.num_slots = batch.num_slots
        cells = (batch.num_slots, *batch.clean_ids.shape)
        self._logits = weight.new_zeros((*cells, parts.d_model), dtype=self.dtype)
        heads = (parts.num_heads, groups, groups)
        self._heads = [
            _HeadGradients(layer, self._logits, num_points, heads, parts.head_dim)
            for layer in parts.layers
        ]
        self._mlps = [_MlpGradients(layer.mlp_norm, self._logits) for layer in parts.layers]

    def differentiated(self, record: Recording) -> list[Tensor]:
        """The recorded tensors whose gradients `add` takes, in this order."""
        per_layer = (
            tensor
            for layer in record.layers
            for tensor in (layer.query, layer.key, layer.value, layer.mlp_normed)
        )
        return [*per_layer, record.final_input]

    def begin_point(self, record: Recording) -> None:
        """Keep what all slots of the next point share."""
        with torch.no_grad():
            for heads, mlp, layer in zip(self._heads, self._mlps, record.layers, strict=True):
                heads.begin_point(layer)
                mlp.begin_point(layer)

    def add(self, slot: int, gradients: Sequence[Tensor]) -> None:
        """Add one slot's gradients with respect to the tensors that `differentiated` names."""
        with torch.no_grad():
            for index, (heads, mlp) in enumerate(zip(self._heads, self._mlps, strict=True)):
                query, key, value, normed = gradients[4 * index : 4 * index + 4]
                heads.add(slot, (query, key, value))
                mlp.add(slot, normed)
            self._logits[slot] += gradients[-1]

    def directions(self, slot: int, rows: slice) -> Iterator[Direction]:
        """Gradients at what destinations read, in graph order, for some rows of the batch.

        One block for the q, k and v destinations of a layer, one for its MLP, one for `logits`.
        """
        for heads, mlp in zip(self._heads, self._mlps, strict=True):
            yield heads.direction(slot, rows)
            yield mlp.total[slot, rows][:, None]
        yield self._logits[slot, rows][:, None]


class _HeadGradients:
    """Sums over points for the q, then k, then v destinations of one layer."""

    def __init__(
        self,
        layer: LayerParts,
        like: Float[Tensor, "slot row position d_model"],
        num_points: int,
        destinations: tuple[int, int, int],
        d_head: int,
    ) -> None:
        self._norm = layer.attention_norm
        projections = (layer.query, layer.key, layer.value)
        self._projections = tuple(zip(projections, destinations, strict=True))
        self._d_head = d_head
        slots, rows, positions, self._d_model = like.shape
        cells = (rows, positions, sum(destinations))
        self._over_r = like.new_zeros((slots, *cells, d_head))
        self._along_c = like.new_zeros((slots, num_points, *cells))
        self._c: list[Float[Tensor, "row position d_model"]] = []

    def begin_point(self, layer: LayerRecording) -> None:
        x = layer.attention_input.detach().to(self._over_r.dtype)
        self._c.append(self._norm.centred(x))
        self._r = self._norm.divisor(self._c[-1])
        self._unbiased = self._by_destination((layer.query, layer.key, layer.value)) - self._bias()

    def add(self, slot: int, gradients: tuple[Tensor, Tensor, Tensor]) -> None:
        gradient = self._by_destination(gradients)
        self._over_r[slot] += gradient / self._r[..., None]
        along_c = (self._unbiased * gradient).sum(dim=-1) / (self._d_model * self._r.square())
        self._along_c[slot, len(self._c) - 1] = along_c

    def direction(self, slot: int, rows: slice) -> Direction:
        weight = torch.cat([self._weight(p, n) for p, n in self._projections])
        direction = torch.einsum("bpnk,nkd->bnpd", self._over_r[slot, rows], weight)
        c = torch.stack([at_point[rows] for at_point in self._c])
        return direction.sub_(torch.einsum("ibpn,ibpd->bnpd", self._along_c[slot, :, rows], c))

    def _by_destination(
        self, outputs: tuple[Tensor, Tensor, Tensor]
    ) -> Float[Tensor, "row position destination d_head"]:
        joined = torch.cat([output.detach() for output in outputs], dim=-1)
        return joined.to(self._over_r.dtype).unflatten(-1, (-1, self._d_head))

    def _weight(
        self, projection: Projection, destinations: int
    ) -> Float[Tensor, "destination d_head d_model"]:
        """The projection by destination, with w and P folded in."""
        folded = projection.weight.to(self._over_r.dtype) * self._norm.weight
        heads = self._norm.centred(folded).unflatten(0, (-1, self._d_head))
        return _per_destination(heads, destinations)

    def _bias(self) -> Float[Tensor, "destination d_head"]:
        """What a projection returns where c is zero: b + W n."""
        biases = []
        for projection, destinations in self._projections:
            bias = self._over_r.new_zeros(len(projection.weight))
            if projection.bias is not None:
                bias += projection.bias
            if self._norm.bias is not None:
                bias += projection.weight.to(bias.dtype) @ self._norm.bias.to(bias.dtype)
            biases.append(_per_destination(bias.unflatten(0, (-1, self._d_head)), destinations))
        return torch.cat(biases)


class _MlpGradients:
    """Sum over points for the MLP of one layer."""

    def __init__(self, norm: Norm, like: Float[Tensor, "slot row position d_model"]) -> None:
        self._norm = norm
        self.total = torch.zeros_like(like)

    def begin_point(self, layer: LayerRecording) -> None:
        self._c = self._norm.centred(layer.mlp_input.detach().to(self.total.dtype))
        self._r = self._norm.divisor(self._c)

    def add(self, slot: int, gradient: Float[Tensor, "row position d_model"]) -> None:
        gradient = gradient.to(self.total.dtype)
        weighted = self._norm.weight * gradient
        along_c = (self._c * weighted).mean(dim=-1, keepdim=True) / self._r.pow(3)
        self.total[slot] += self._norm.centred(weighted) / self._r - along_c * self._c


def _per_destination(
    heads: Float[Tensor, "head d_head *d_model"], destinations: int
) -> Float[Tensor, "destination d_head *d_model"]:
    """Repeat KV heads' weights or biases for the query heads, where those are destinations."""
    return heads.repeat_interleave(destinations // len(heads), dim=0)
