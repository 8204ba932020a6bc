"""Spans of the text: what stands at each position of a canvas, at each step.

Every position belongs to exactly one span:

1. a target token, by its state at the step: `committed` at an earlier step, `scored` at this one,
   or `later`. An MDM sees masks at the last two. A teacher-forced ARM sees the tokens themselves,
   apart from the last one, which stands on no canvas of its; the states are named after the step
   for both, so that they can be compared.
2. else a span that the task names, such as IO or END. Where several hold a token, the shortest
   takes it, and of equally long ones the first by name.
3. else `rest`.

A span is where a token stands. A shifted model reads the token out one position to its left, so
the position that *predicts* a scored token is not in the span `scored`; `readers` marks it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechshift.axes import COMMITTED, GENERAL_SPANS, LATER, REST, SCORED
from mechshift.denoising.canvas import Canvas, CanvasBatch
from mechshift.denoising.encoded import EncodedExample
from mechshift.errors import DenoisingError


def span_names(examples: Sequence[EncodedExample]) -> tuple[str, ...]:
    """The spans of these examples: those that are named, then `GENERAL_SPANS`.

    Named spans stand in the order in which they are met in the text, by their mean start.

    Raises:
        DenoisingError: a task gives a span a name that is kept for the general ones.
    """
    starts: dict[str, list[int]] = {}
    for example in examples:
        for name, (start, _) in example.spans.items():
            starts.setdefault(name, []).append(start)
    # The name decides between equal starts: a stored example has lost the order of its spans.
    named = sorted(starts, key=lambda name: (np.mean(starts[name]), name))
    taken = [name for name in named if name in GENERAL_SPANS]
    if taken:
        raise DenoisingError(
            f"a task names a span '{taken[0]}', which is kept for the state of the target or the"
            " rest of the text; give it another name."
        )
    return (*named, *GENERAL_SPANS)


def position_spans(
    canvas: Canvas, example: EncodedExample, names: Sequence[str]
) -> Int[np.ndarray, "slot position"]:
    """Index into `names` of the span of every position, for each of the canvas' slots."""
    index = {name: at for at, name in enumerate(names)}
    text = np.full(len(canvas.clean_ids), index[REST])
    by_length = sorted((end - start, name) for name, (start, end) in example.spans.items())
    # What is written last stands, so the longest comes first.
    for _, name in reversed(by_length):
        text[slice(*example.spans[name])] = index[name]
    steps = {readout.slot: readout.step for readout in canvas.readouts}
    return np.stack(
        [
            _with_target_states(text, canvas, example, steps[slot], index)
            for slot in range(len(steps))
        ]
    )


def _with_target_states(
    text: Int[np.ndarray, " position"],
    canvas: Canvas,
    example: EncodedExample,
    step: int,
    index: dict[str, int],
) -> Int[np.ndarray, " position"]:
    """`text` with the target tokens marked as they stand at this step."""
    spans = text.copy()
    read_at = {readout.target_position: readout.step for readout in canvas.readouts}
    first = len(example.prefix_ids)
    for target, token in enumerate(example.target_ids):
        if first + target == len(canvas.clean_ids):
            break  # an ARM's last token
        if target in read_at:
            # All steps of an ARM are read from one canvas; what is read at another step is known.
            at = read_at[target]
            state = SCORED if at == step else COMMITTED if at < step else LATER
        else:
            state = COMMITTED if canvas.clean_ids[first + target] == token else LATER
        spans[first + target] = index[state]
    return spans


class SpanLayout:
    """The spans of all positions of canvases, looked up for a batch of them."""

    def __init__(self, canvases: Sequence[Canvas], examples: Sequence[EncodedExample]) -> None:
        """Find the spans of every canvas.

        Args:
            canvases: of some of the examples.
            examples: `Canvas.example` is an index into them; all their spans become names.

        Raises:
            DenoisingError: a span's name is not free, or a canvas is of none of these examples.
        """
        self.names = span_names(examples)
        self._spans: dict[tuple[int, int], Int[np.ndarray, " position"]] = {}
        for canvas in canvases:
            if canvas.example >= len(examples):
                raise DenoisingError(
                    f"a canvas is of pool row {canvas.example}, and {len(examples)} examples were"
                    " given; give all examples of the pool."
                )
            spans = position_spans(canvas, examples[canvas.example], self.names)
            for readout in canvas.readouts:
                self._spans[canvas.example, readout.step] = spans[readout.slot]

    def membership(
        self, batch: CanvasBatch, dtype: torch.dtype
    ) -> Float[Tensor, "slot row position span"]:
        """1 where a position belongs to a span; 0 at padding and at slots that a row lacks."""
        cells = (batch.num_slots, *batch.clean_ids.shape, len(self.names))
        found = np.zeros(cells, dtype=np.float32)
        for row, slot in np.argwhere(batch.step >= 0):
            spans = self._spans[int(batch.example[row]), int(batch.step[row, slot])]
            positions = np.arange(cells[2] - len(spans), cells[2])
            found[slot, row, positions, spans] = 1.0
        return torch.from_numpy(found).to(batch.clean_ids.device, dtype)


def readers(batch: CanvasBatch, dtype: torch.dtype) -> Float[Tensor, "slot row position"]:
    """1 at the positions whose logits are scored, 0 elsewhere."""
    found = torch.zeros(
        (batch.num_slots, *batch.clean_ids.shape), dtype=dtype, device=batch.clean_ids.device
    )
    found[batch.readout_slot, batch.readout_row, batch.readout_position] = 1.0
    return found
