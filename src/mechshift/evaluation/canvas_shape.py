"""Shapes of canvases: which ones correspond position by position.

Those of one denoising step that are equally long and have the target in the same place. Examples of
one prompt template have one shape; a task with several templates has a few. Aligning canvases of
different shapes from either end would average words with masks, or the first token, which many
heads use as a place to rest, with words.
"""

from dataclasses import dataclass

import numpy as np

from mechshift.denoising import Canvas, CanvasBatch


@dataclass(frozen=True, kw_only=True)
class CanvasShape:
    """Shape that canvases share whose positions correspond."""

    step: int
    """The denoising step; 0 for an ARM, whose one canvas serves all steps."""
    length: int
    """Tokens, without padding."""
    target_start: int
    """Position of the logits that predict the first target token."""


def shape_of(canvas: Canvas) -> CanvasShape:
    """The shape of one canvas."""
    readout = canvas.readouts[0]
    return CanvasShape(
        step=min(readout.step for readout in canvas.readouts),
        length=len(canvas.clean_ids),
        target_start=readout.position - readout.target_position,
    )


def row_shapes(batch: CanvasBatch) -> list[CanvasShape]:
    """The shape of each row of a batch, whatever its padding."""
    lengths = batch.attention_mask.sum(dim=1).tolist()
    starts = (batch.readout_position - batch.readout_target).tolist()
    start_in_row = dict(zip(batch.readout_row.tolist(), starts, strict=True))
    steps = np.where(batch.step >= 0, batch.step, batch.step.max()).min(axis=1).tolist()
    width = batch.clean_ids.shape[1]
    return [
        CanvasShape(step=step, length=length, target_start=start_in_row[row] - (width - length))
        for row, (step, length) in enumerate(zip(steps, lengths, strict=True))
    ]
