"""What would each source write differently if the input were corrupted?

A head's z is kept at d_head numbers and multiplied by its slice of the output projection only here,
once for each batch. Biases of the output projection cancel in the difference.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.interventions import Recording
from mechshift.models import DecoderParts, Projection


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceOutputs:
    """What all sources wrote in one forward pass, detached from it; heads still as z."""

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


def source_differences(
    parts: DecoderParts, corrupted: SourceOutputs, clean: SourceOutputs, dtype: torch.dtype
) -> Float[Tensor, "row source position d_model"]:
    """Corrupted minus clean output of every source, in graph order."""
    rows, positions, d_model = clean.embedding.shape
    block = parts.num_heads + 1
    shape = (rows, 1 + len(parts.layers) * block, positions, d_model)
    differences = torch.empty(shape, dtype=dtype, device=clean.embedding.device)
    differences[:, 0] = corrupted.embedding.to(dtype) - clean.embedding.to(dtype)
    for index, layer in enumerate(parts.layers):
        start = 1 + index * block
        z_difference = corrupted.z[index].to(dtype) - clean.z[index].to(dtype)
        heads = differences[:, start : start + parts.num_heads]
        heads.copy_(write_heads(z_difference, layer.output, parts.num_heads))
        mlp_difference = corrupted.mlp[index].to(dtype) - clean.mlp[index].to(dtype)
        differences[:, start + parts.num_heads] = mlp_difference
    return differences


def write_heads(
    z: Float[Tensor, "row position d_query"], output: Projection, num_heads: int
) -> Float[Tensor, "row head position d_model"]:
    """What each head adds to the residual stream, without the output projection's bias."""
    by_head = z.unflatten(-1, (num_heads, -1))
    weight = output.weight.to(z.dtype).unflatten(1, (num_heads, -1))
    return torch.einsum("bphk,dhk->bhpd", by_head, weight)
