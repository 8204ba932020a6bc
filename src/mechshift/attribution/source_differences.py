"""Differences of sources' outputs between the corrupted and the clean input.

A head's z is kept at d_head numbers and multiplied by its slice of the output projection only in
`written`, for a few rows of a batch at a time. Biases of the output projection cancel in the
difference. Where a norm stands behind the projection, z is kept over that norm's divisor, each
run's own, so that what the heads write adds up to what the layer writes (`models.OutputMap`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.interventions import Recording
from mechshift.models import DecoderParts, LayerParts


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceOutputs:
    """Outputs of all sources in one forward pass, or a difference of two; heads still as z.

    In a difference z is over the divisor of the norm behind it, where there is one.
    """

    embedding: Float[Tensor, "row position d_model"]
    z: tuple[Float[Tensor, "row position d_query"], ...]
    mlp: tuple[Float[Tensor, "row position d_model"], ...]

    def of_rows(self, rows: slice) -> "SourceOutputs":
        """The same for some rows of the batch."""
        return SourceOutputs(
            embedding=self.embedding[rows],
            z=tuple(z[rows] for z in self.z),
            mlp=tuple(mlp[rows] for mlp in self.mlp),
        )


def source_outputs(record: Recording) -> SourceOutputs:
    """Keep a recording's source values beyond the next forward pass."""
    return SourceOutputs(
        embedding=record.embedding.detach(),
        z=tuple(layer.z.detach() for layer in record.layers),
        mlp=tuple(layer.mlp_output.detach() for layer in record.layers),
    )


class SourceDifferences:
    """Corrupted minus clean outputs.

    The two runs are taken in one after the other, in any order, so that the outputs of both are
    never in memory together.
    """

    def __init__(self, parts: DecoderParts, cells: torch.Size, dtype: torch.dtype) -> None:
        """Start at zero; `cells` are the numbers of rows and positions."""

        def zeros(width: int) -> Float[Tensor, "row position d"]:
            return parts.final_norm.weight.new_zeros((*cells, width), dtype=dtype)

        self._parts = parts
        d_query = parts.num_heads * parts.head_dim
        self.outputs = SourceOutputs(
            embedding=zeros(parts.d_model),
            z=tuple(zeros(d_query) for _ in parts.layers),
            mlp=tuple(zeros(parts.d_model) for _ in parts.layers),
        )

    def add_corrupted(self, record: Recording) -> None:
        """Take in the corrupted run."""
        self._add(source_outputs(record), 1)

    def subtract_clean(self, record: Recording) -> None:
        """Take in the clean run."""
        self._add(source_outputs(record), -1)

    def _add(self, outputs: SourceOutputs, sign: int) -> None:
        self.outputs.embedding.add_(outputs.embedding, alpha=sign)
        for total, z, layer in zip(self.outputs.z, outputs.z, self._parts.layers, strict=True):
            total.add_(layer.head_map.scaled(z), alpha=sign)
        for total, mlp in zip(self.outputs.mlp, outputs.mlp, strict=True):
            total.add_(mlp, alpha=sign)


def written(
    parts: DecoderParts, differences: SourceOutputs
) -> Float[Tensor, "row source position d_model"]:
    """How what every source writes differs, at full width and in graph order."""
    rows, positions, d_model = differences.embedding.shape
    block = parts.num_heads + 1
    full = differences.embedding.new_empty(
        (rows, 1 + len(parts.layers) * block, positions, d_model)
    )
    full[:, 0] = differences.embedding
    for index, layer in enumerate(parts.layers):
        start = 1 + index * block
        heads = full[:, start : start + parts.num_heads]
        heads.copy_(write_heads(differences.z[index], layer, parts.num_heads))
        full[:, start + parts.num_heads] = differences.mlp[index]
    return full


def write_heads(
    scaled_z: Float[Tensor, "row position d_query"], layer: LayerParts, num_heads: int
) -> Float[Tensor, "row head position d_model"]:
    """What each head adds to the residual stream, without the output projection's bias.

    Args:
        scaled_z: all heads' z, or a difference of it, from `layer.head_map.scaled`.
        layer: whose heads.
        num_heads: how many.
    """
    by_head = scaled_z.unflatten(-1, (num_heads, -1))
    weight = layer.head_map.weight.to(scaled_z.dtype).unflatten(1, (num_heads, -1))
    return torch.einsum("bphk,dhk->bhpd", by_head, weight)
