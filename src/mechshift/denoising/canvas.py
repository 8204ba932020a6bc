"""Canvases: what a model reads at each denoising step, and which logits are scored.

1. MDM: one canvas per step. It holds prefix + target + suffix, with the mask token at every target
   position that is committed at this step or later. The scored logits predict the positions that
   are committed at this step. They are read one position earlier when the model is shifted.
2. ARM: one teacher-forced canvas, prefix + target[:-1], whose slots are the steps. The scored
   logits of step s predict the tokens that the MDM commits at step s, so that both models are
   scored on the same tokens with the same weights.

Clean and corrupted canvases differ in the prefix and suffix only. This file is the one place that
knows the logit shift.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.denoising.encoded import Contrast, EncodedExample
from mechshift.denoising.schedule import Schedule
from mechshift.errors import DenoisingError
from mechshift.models import LanguageModel
from mechshift.statistics import cluster_numbers

PAD_ID = 0
"""Token that fills the left of a shorter row; never attended to, so any valid token will do."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """One target token that is scored."""

    step: int
    slot: int
    """Column of the step in its canvas' scores: 0 for an MDM, the step itself for an ARM."""
    position: int
    """Index into the canvas of the logits that predict the token."""
    target_position: int
    """Index into the target."""
    target_id: int
    distractor_id: int
    contrast: Contrast | None


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """One forward pass' worth of one example."""

    example: int
    """Row in the pool."""
    cluster: int
    """Number of the example's cluster in the pool."""
    clean_ids: tuple[int, ...]
    corrupted_ids: tuple[int, ...]
    """As many as the clean ids."""
    readouts: tuple[Readout, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class CanvasBatch:
    """Canvases stacked for one forward pass, left-padded; tensors on the model's device."""

    clean_ids: Int64[Tensor, "batch position"]
    corrupted_ids: Int64[Tensor, "batch position"]
    attention_mask: Int64[Tensor, "batch position"]
    """1 at tokens, 0 at padding."""
    position_ids: Int64[Tensor, "batch position"]
    """Counted from the first token of a row; 0 at padding."""
    example: Int64[np.ndarray, " batch"]
    """Row in the pool."""
    cluster: Int64[np.ndarray, " batch"]
    """Number of the example's cluster in the pool."""
    step: Int64[np.ndarray, "batch slot"]
    """Denoising step of each slot; -1 where a row has fewer slots."""
    readout_row: Int64[Tensor, " readout"]
    readout_position: Int64[Tensor, " readout"]
    """Index into the padded position axis."""
    readout_slot: Int64[Tensor, " readout"]
    readout_target: Int64[Tensor, " readout"]
    """Index into the example's target."""
    target_ids: Int64[Tensor, " readout"]
    distractor_ids: Int64[Tensor, " readout"]
    contrast: Float[Tensor, "readout vocab"] | None
    """+1 at right tokens, -1 at wrong ones, 0 elsewhere; None where examples have no contrasts."""

    @property
    def num_rows(self) -> int:
        return len(self.example)

    @property
    def num_slots(self) -> int:
        return int(self.step.shape[1])


def build_canvases(
    model: LanguageModel, examples: Sequence[EncodedExample], schedule: Schedule
) -> list[Canvas]:
    """Every canvas of every example, example by example and step by step.

    Raises:
        DenoisingError: the schedule is for other examples, an example holds the mask token, a
            token has no embedding, an ARM example has a suffix, nothing stands before a target
            that must be predicted from the position to its left, or a step commits a token outside
            the block that the model denoises.
    """
    _check_schedule(examples, schedule)
    canvases: list[Canvas] = []
    clusters = cluster_numbers([example.cluster for example in examples]).tolist()
    for row, example in enumerate(examples):
        commit_step = schedule.commit_step[row, : len(example.target_ids)]
        check_example(model, example)
        if model.kind == "arm":
            canvases.append(_teacher_forced_canvas(row, clusters[row], example, commit_step))
        else:
            canvases.extend(_masked_canvases(model, row, clusters[row], example, commit_step))
    return canvases


def as_one_step(canvas: Canvas) -> Canvas:
    """The same canvas, all of whose tokens count as one step's: its scores are sums over steps.

    An ARM's steps share a canvas, so it then takes one backward pass in place of one a step.
    """
    return replace(canvas, readouts=tuple(replace(one, step=0, slot=0) for one in canvas.readouts))


def _teacher_forced_canvas(
    row: int, cluster: int, example: EncodedExample, commit_step: Int64[np.ndarray, " target"]
) -> Canvas:
    teacher = example.target_ids[:-1]
    first = len(example.prefix_ids) - 1
    readouts = tuple(
        _readout(example, int(step), int(step), first + target, target)
        for target, step in enumerate(commit_step)
    )
    return Canvas(
        example=row,
        cluster=cluster,
        clean_ids=example.prefix_ids + teacher,
        corrupted_ids=example.corrupted_prefix_ids + teacher,
        readouts=readouts,
    )


def _masked_canvases(
    model: LanguageModel,
    row: int,
    cluster: int,
    example: EncodedExample,
    commit_step: Int64[np.ndarray, " target"],
) -> Iterator[Canvas]:
    first = len(example.prefix_ids) - int(model.shift)
    for step in range(int(commit_step.max()) + 1):
        middle = masked_target(model, example.target_ids, (commit_step < step).tolist())
        canvas = Canvas(
            example=row,
            cluster=cluster,
            clean_ids=example.prefix_ids + middle + example.suffix_ids,
            corrupted_ids=example.corrupted_prefix_ids + middle + example.corrupted_suffix_ids,
            readouts=tuple(
                _readout(example, step, 0, first + int(target), int(target))
                for target in np.flatnonzero(commit_step == step)
            ),
        )
        _check_block(model, example, canvas)
        yield canvas


def _check_block(model: LanguageModel, example: EncodedExample, canvas: Canvas) -> None:
    block = model.denoised(canvas.clean_ids)
    outside = [readout for readout in canvas.readouts if readout.position not in block]
    if outside:
        raise DenoisingError(
            f"step {outside[0].step} commits target token {outside[0].target_position} of example"
            f" '{example.id}' of task '{example.task}', which is outside the block of"
            f" {model.block_length} positions that '{model.name}' denoises then; commit from left"
            " to right, in more steps."
        )


def masked_target(
    model: LanguageModel, target_ids: Sequence[int], committed: Sequence[bool]
) -> tuple[int, ...]:
    """The target with the mask token wherever nothing is committed yet."""
    assert model.mask_token_id is not None
    mask = model.mask_token_id
    return tuple(t if known else mask for t, known in zip(target_ids, committed, strict=True))


def _readout(example: EncodedExample, step: int, slot: int, position: int, target: int) -> Readout:
    return Readout(
        step=step,
        slot=slot,
        position=position,
        target_position=target,
        target_id=example.target_ids[target],
        distractor_id=example.distractor_ids[target],
        contrast=None if example.contrasts is None else example.contrasts[target],
    )


def _check_schedule(examples: Sequence[EncodedExample], schedule: Schedule) -> None:
    if len(schedule.commit_step) != len(examples):
        raise DenoisingError(
            f"the schedule is for {len(schedule.commit_step)} examples, not {len(examples)}."
        )
    for example, length in zip(examples, schedule.example_num_targets, strict=True):
        if len(example.target_ids) != length:
            raise DenoisingError(
                f"the schedule commits {length} target tokens of example '{example.id}', which"
                f" has {len(example.target_ids)}; make it from the same tokenizer's examples."
            )


def check_example(model: LanguageModel, example: EncodedExample) -> None:
    """Refuse an example that this model cannot read or be scored on.

    Raises:
        DenoisingError: see `build_canvases`.
    """
    where = f"example '{example.id}' of task '{example.task}'"
    # BOS may be the mask token under another name, as it is in GPT-2.
    read = {
        "prompt": example.prefix_ids[1:],
        "target": example.target_ids,
        "suffix": example.suffix_ids,
        "corrupted prompt": example.corrupted_prefix_ids[1:],
        "corrupted suffix": example.corrupted_suffix_ids,
        "distractor": example.distractor_ids,
    }
    for part, ids in read.items():
        if model.mask_token_id is not None and model.mask_token_id in ids:
            raise DenoisingError(
                f"the {part} of {where} contains the mask token {model.mask_token_id}; change it."
            )
    largest = max(
        *example.prefix_ids,
        *example.target_ids,
        *example.suffix_ids,
        *example.distractor_ids,
        *example.corrupted_prefix_ids,
        *example.corrupted_suffix_ids,
    )
    if largest >= model.vocab_size:
        raise DenoisingError(
            f"{where} has the token {largest}, and '{model.name}' has {model.vocab_size}"
            " embeddings; encode it with the model's own tokenizer."
        )
    if model.shift and not example.prefix_ids:
        raise DenoisingError(
            f"{where} has nothing before its target, and '{model.name}' predicts a token from"
            " the position to its left; add a prompt or a BOS token."
        )
    if model.kind == "arm" and example.suffix_ids:
        raise DenoisingError(
            f"{where} has {len(example.suffix_ids)} tokens after its target, which the ARM"
            f" '{model.name}' cannot see; encode it for an ARM."
        )


def check_fits(model: LanguageModel, example: EncodedExample) -> None:
    """Refuse an example of which a model would read more tokens than it can.

    Raises:
        DenoisingError: and names the example.
    """
    # An ARM does not read the last token that it writes.
    length = len(example.prefix_ids) + len(example.target_ids) - int(model.kind == "arm")
    length, limit = length + len(example.suffix_ids), model.parts.max_length
    if limit is not None and length > limit:
        raise DenoisingError(
            f"example '{example.id}' of task '{example.task}' has {length} tokens to read, and"
            f" '{model.name}' reads at most {limit} (its learned positions, or the window of its"
            " attention); use shorter examples."
        )


def example_clusters(canvases: Sequence[Canvas]) -> Int64[np.ndarray, " example"]:
    """The cluster of each example that has canvases, in pool order."""
    cluster = {canvas.example: canvas.cluster for canvas in canvases}
    return np.array([cluster[row] for row in sorted(cluster)], dtype=np.int64)


def batch_canvases(
    model: LanguageModel, canvases: Sequence[Canvas], batch_size: int
) -> list[CanvasBatch]:
    """Canvases in batches of similar length; the order depends on lengths and input order only.

    Raises:
        DenoisingError: a batch size below 1, a canvas longer than the model can read, or
            contrasts for some examples but not for others.
    """
    if batch_size < 1:
        raise DenoisingError(f"the batch size is {batch_size}; it must be at least 1.")
    ordered = sorted(canvases, key=lambda canvas: len(canvas.clean_ids))
    if ordered:
        _check_length(model, ordered[-1])
    return [
        _stack(model, ordered[start : start + batch_size])
        for start in range(0, len(ordered), batch_size)
    ]


def _check_length(model: LanguageModel, longest: Canvas) -> None:
    length, limit = len(longest.clean_ids), model.parts.max_length
    if limit is not None and length > limit:
        raise DenoisingError(
            f"the canvas of example {longest.example} (pool row) has {length} tokens, and"
            f" '{model.name}' reads at most {limit} (its learned positions, or the window of its"
            " attention); use shorter examples."
        )


def _stack(model: LanguageModel, canvases: Sequence[Canvas]) -> CanvasBatch:
    clean_ids, attention_mask, position_ids = pad_left(
        [canvas.clean_ids for canvas in canvases], model.device
    )
    corrupted_ids = pad_left([canvas.corrupted_ids for canvas in canvases], model.device)[0]
    length = clean_ids.shape[1]
    readouts = [(row, r) for row, canvas in enumerate(canvases) for r in canvas.readouts]
    padding = [length - len(canvas.clean_ids) for canvas in canvases]

    def column(values: list[int]) -> Int64[Tensor, " readout"]:
        return torch.tensor(values, dtype=torch.int64, device=model.device)

    return CanvasBatch(
        clean_ids=clean_ids,
        corrupted_ids=corrupted_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        example=np.array([canvas.example for canvas in canvases], dtype=np.int64),
        cluster=np.array([canvas.cluster for canvas in canvases], dtype=np.int64),
        step=_slot_steps(canvases),
        readout_row=column([row for row, _ in readouts]),
        readout_position=column([padding[row] + r.position for row, r in readouts]),
        readout_slot=column([r.slot for _, r in readouts]),
        readout_target=column([r.target_position for _, r in readouts]),
        target_ids=column([r.target_id for _, r in readouts]),
        distractor_ids=column([r.distractor_id for _, r in readouts]),
        contrast=_contrast_matrix(model, [r.contrast for _, r in readouts]),
    )


def pad_left(
    rows: Sequence[Sequence[int]], device: torch.device
) -> tuple[
    Int64[Tensor, "batch position"],
    Int64[Tensor, "batch position"],
    Int64[Tensor, "batch position"],
]:
    """Ids, attention mask and position ids of rows padded on the left to the longest."""
    length = max(map(len, rows))
    ids = [[PAD_ID] * (length - len(row)) + list(row) for row in rows]
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    attention_mask = torch.tensor(mask, dtype=torch.int64, device=device)
    position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    return torch.tensor(ids, dtype=torch.int64, device=device), attention_mask, position_ids


def _slot_steps(canvases: Sequence[Canvas]) -> Int64[np.ndarray, "batch slot"]:
    num_slots = 1 + max(r.slot for canvas in canvases for r in canvas.readouts)
    step = np.full((len(canvases), num_slots), -1, dtype=np.int64)
    for row, canvas in enumerate(canvases):
        for readout in canvas.readouts:
            step[row, readout.slot] = readout.step
    return step


def _contrast_matrix(
    model: LanguageModel, contrasts: Sequence[Contrast | None]
) -> Float[Tensor, "readout vocab"] | None:
    given = [contrast for contrast in contrasts if contrast is not None]
    if not given:
        return None
    if len(given) != len(contrasts):
        raise DenoisingError(
            f"{len(contrasts) - len(given)} of {len(contrasts)} scored tokens of a batch have no"
            " contrast; give one to every example of a task or to none."
        )
    matrix = torch.zeros(len(given), model.vocab_size)
    for row, contrast in zip(matrix, given, strict=True):
        row[list(contrast.positive)] = 1.0
        row[list(contrast.negative)] = -1.0
    return matrix.to(model.device)
