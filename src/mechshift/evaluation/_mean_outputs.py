"""Mean outputs of each source at each position, over examples that are not evaluated.

1. Canvases are grouped by shape (`canvas_shape`), denoising steps apart: only in equal shapes do
   positions correspond.
2. The clean canvases of each shape are run in batches, and each source's output is added to a sum
   in float64, so memory grows with the number of shapes and not with that of examples.
3. A canvas to be evaluated takes the means of its shape, over however many examples have it. One
   of a shape that no example has is refused: any other alignment would be a guess.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mechshift.attribution.source_differences import SourceOutputs, source_outputs
from mechshift.denoising import Canvas, CanvasBatch, batch_canvases
from mechshift.errors import EvaluationError
from mechshift.evaluation._corrupted_cache import CorruptedCache
from mechshift.evaluation.canvas_shape import CanvasShape, row_shapes, shape_of
from mechshift.evaluation.constant_cache import constant_cache
from mechshift.interventions import recording
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanOutputs:
    """Mean output of every source of one model, in the model's precision."""

    by_shape: Mapping[CanvasShape, SourceOutputs]
    """One row each, over the positions of a canvas without padding."""

    def cache(self, model: LanguageModel, batch: CanvasBatch) -> CorruptedCache:
        """The run in which every source writes its mean.

        Raises:
            EvaluationError: a row's shape has no mean.
        """
        shapes = row_shapes(batch)
        _check_known(shapes, self.by_shape)
        width = batch.clean_ids.shape[1]
        rows = [self.by_shape[shape] for shape in shapes]
        layers = range(len(model.parts.layers))
        constants = SourceOutputs(
            embedding=_padded([row.embedding for row in rows], width),
            z=tuple(_padded([row.z[layer] for row in rows], width) for layer in layers),
            mlp=tuple(_padded([row.mlp[layer] for row in rows], width) for layer in layers),
        )
        return constant_cache(model, batch, constants)


def mean_outputs(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    needed_by: Sequence[Canvas],
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> MeanOutputs:
    """Average what every source writes on the clean `canvases`.

    Args:
        model: whose sources.
        canvases: of examples other than those that will be evaluated.
        needed_by: the canvases that will be evaluated; shapes that they lack are not run.
        batch_size: canvases in one pass; changes time and memory, not results.
        progress: called with the number of canvases that one pass has finished; the numbers add
            up to `num_averaged(canvases, needed_by)`.

    Raises:
        EvaluationError: some shape of `needed_by` occurs nowhere in `canvases`.
    """
    wanted = dict.fromkeys(map(shape_of, needed_by))
    used = _of_shapes(canvases, wanted)
    _check_known(wanted, {shape_of(canvas) for canvas in used})
    sums = {shape: _RunningSum() for shape in wanted}
    for batch in batch_canvases(model, used, batch_size):
        outputs = _clean_outputs(model, batch)
        for row, shape in enumerate(row_shapes(batch)):
            sums[shape].add(outputs.of_rows(slice(row, row + 1)), shape.length)
        if progress is not None:
            progress(batch.num_rows)
    return MeanOutputs(by_shape={shape: total.mean(model.dtype) for shape, total in sums.items()})


def num_averaged(canvases: Sequence[Canvas], needed_by: Sequence[Canvas]) -> int:
    """How many of the canvases have a shape that is needed: the passes of `mean_outputs`."""
    return len(_of_shapes(canvases, set(map(shape_of, needed_by))))


def _of_shapes(canvases: Sequence[Canvas], shapes: Collection[CanvasShape]) -> list[Canvas]:
    return [canvas for canvas in canvases if shape_of(canvas) in shapes]


def _check_known(shapes: Collection[CanvasShape], known: Collection[CanvasShape]) -> None:
    missing = [shape for shape in shapes if shape not in known]
    if missing:
        first = missing[0]
        raise EvaluationError(
            "no mean to ablate with: none of the examples that means are taken over reads"
            f" {first.length} tokens with the target's first logits at position"
            f" {first.target_start} in step {first.step}, as an example to be evaluated does"
            f" ({len(missing)} such shapes). Use more discovery examples, or ablate with zero or"
            " resample."
        )


@torch.no_grad()
def _clean_outputs(model: LanguageModel, batch: CanvasBatch) -> SourceOutputs:
    with recording(model.parts, grouped=True) as activations:
        model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return source_outputs(activations)


@dataclass(kw_only=True, eq=False)
class _RunningSum:
    """Sum of what sources wrote in canvases of one shape; every tensor has one row."""

    count: int = 0
    tensors: list[Float[Tensor, "1 position d"]] = field(default_factory=list)
    """Embedding, then z of every layer, then every MLP."""

    def add(self, outputs: SourceOutputs, length: int) -> None:
        """Add one row, whose tokens are the last `length` of it."""
        new = [
            tensor[:, -length:].double() for tensor in (outputs.embedding, *outputs.z, *outputs.mlp)
        ]
        self.tensors = (
            [a + b for a, b in zip(self.tensors, new, strict=True)] if self.count else new
        )
        self.count += 1

    def mean(self, dtype: torch.dtype) -> SourceOutputs:
        embedding, *layers = [(tensor / self.count).to(dtype) for tensor in self.tensors]
        half = len(layers) // 2
        return SourceOutputs(embedding=embedding, z=tuple(layers[:half]), mlp=tuple(layers[half:]))


def _padded(rows: Sequence[Float[Tensor, "1 _ d"]], width: int) -> Float[Tensor, "row position d"]:
    """Rows of different length in one tensor, zeros on the left as in the batch."""
    return torch.cat([functional.pad(row, (0, 0, width - row.shape[1], 0)) for row in rows])
