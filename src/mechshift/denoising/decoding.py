"""What does each model write in place of the target, and in which order?

Greedy decoding, deterministic up to rounding, and independent of how examples are batched.

ARM: left to right, the most probable token each time.

MDM, with S steps:
1. start with a mask at each of the T target positions (suffix in place);
2. one forward pass; at every masked position take the most probable token other than the mask
   token, and its probability once the mask token is ruled out: the confidence;
3. commit as many positions as the step has (see `schedule`): the most confident ones, or the next
   in a fixed left-to-right or random order. Of equally confident positions the leftmost comes
   first. Committed tokens stay.
4. repeat from 2 until nothing is masked.

Source: low-confidence remasking of LLaDA, arXiv:2502.09992 (temperature 0, one block).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache

from mechshift.denoising.canvas import check_example, masked_target, pad_left
from mechshift.denoising.encoded import EncodedExample
from mechshift.denoising.schedule import Schedule, random_orders, step_sizes
from mechshift.errors import DenoisingError
from mechshift.models import LanguageModel

Order = Literal["confidence", "left-to-right", "random"]
ORDERS: tuple[str, ...] = get_args(Order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What a model wrote, and when."""

    tokens: list[tuple[int, ...]]
    """For each example as many ids as its target has."""
    schedule: Schedule
    """The step at which each token was committed."""


def decode(
    model: LanguageModel,
    examples: Sequence[EncodedExample],
    *,
    num_steps: int | None = None,
    order: str = "confidence",
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Decoded:
    """Decode a target for every example; the examples' own targets give only its length.

    Args:
        model: an ARM always decodes one token per step from left to right.
        examples: encoded for this kind of model.
        num_steps: denoising steps of an MDM; None: one token per step.
        order: which positions an MDM commits first.
        seed: of the random order.
        batch_size: examples per forward pass.
        progress: called with the number of examples that were just finished.

    Raises:
        DenoisingError: an unknown order, a bad count, or an example that the model cannot read.
    """
    if order not in ORDERS:
        raise DenoisingError(f"unknown order '{order}'; known: {', '.join(ORDERS)}.")
    if batch_size < 1:
        raise DenoisingError(f"the batch size is {batch_size}; it must be at least 1.")
    for example in examples:
        check_example(model, example)
    drafts = _blank_drafts(examples, num_steps, order, seed)
    # Examples that take equally long share a batch, which is then full at every step.
    by_cost = sorted(drafts, key=lambda draft: draft.cost)
    for start in range(0, len(by_cost), batch_size):
        batch = by_cost[start : start + batch_size]
        (_write if model.kind == "arm" else _denoise)(model, batch)
        if progress is not None:
            progress(len(batch))
    return Decoded(
        tokens=[tuple(draft.tokens) for draft in drafts],
        schedule=Schedule(commit_step=_padded([draft.commit_step for draft in drafts])),
    )


@dataclass(kw_only=True)
class _Draft:
    """One example while it is being written; the only record here that changes."""

    example: EncodedExample
    sizes: list[int]
    """How many tokens each step commits."""
    order: list[int] | None
    """The target positions in a fixed order; None: by confidence."""
    tokens: list[int]
    """What is written so far; meaningless where `commit_step` is -1."""
    commit_step: list[int]
    """The step that wrote each token; -1 where it is still masked."""

    @property
    def cost(self) -> tuple[int, int, int]:
        example = self.example
        return (
            len(self.sizes),
            len(example.target_ids),
            len(example.prefix_ids) + len(example.suffix_ids),
        )

    @property
    def masked(self) -> list[int]:
        return [target for target, step in enumerate(self.commit_step) if step < 0]

    def canvas(self, model: LanguageModel) -> tuple[int, ...]:
        written = masked_target(model, self.tokens, [step >= 0 for step in self.commit_step])
        return self.example.prefix_ids + written + self.example.suffix_ids

    def commit(self, step: int, tokens: Sequence[int], confidence: Sequence[float]) -> None:
        """Write this step's share, given a token and a confidence for each masked position."""
        masked = self.masked
        if self.order is None:
            ranked = sorted(range(len(masked)), key=lambda i: (-confidence[i], masked[i]))
        else:
            place = {target: rank for rank, target in enumerate(self.order)}
            ranked = sorted(range(len(masked)), key=lambda i: place[masked[i]])
        for i in ranked[: self.sizes[step]]:
            self.tokens[masked[i]] = tokens[i]
            self.commit_step[masked[i]] = step


def _blank_drafts(
    examples: Sequence[EncodedExample], num_steps: int | None, order: str, seed: int
) -> list[_Draft]:
    lengths = [len(example.target_ids) for example in examples]
    orders: Sequence[list[int] | None] = [None] * len(examples)
    if order == "left-to-right":
        orders = [list(range(length)) for length in lengths]
    elif order == "random":
        orders = random_orders(lengths, seed=seed)
    return [
        _Draft(
            example=example,
            sizes=step_sizes(length, num_steps),
            order=fixed,
            tokens=[0] * length,
            commit_step=[-1] * length,
        )
        for example, length, fixed in zip(examples, lengths, orders, strict=True)
    ]


@torch.no_grad()
def _write(model: LanguageModel, drafts: Sequence[_Draft]) -> None:
    """Let an ARM write every draft of a batch, one token at a time."""
    ids, mask, positions = pad_left([d.example.prefix_ids for d in drafts], model.device)
    # Keys and values of earlier tokens stay what they are under causal attention only.
    cache = DynamicCache(config=model.module.config) if model.attention == "causal" else None
    unread = slice(None)
    for step in range(max(len(draft.tokens) for draft in drafts)):
        output = model.parts.decoder(
            input_ids=ids[:, unread],
            attention_mask=mask,
            position_ids=positions[:, unread],
            past_key_values=cache,
            use_cache=cache is not None,
        )
        chosen = first_argmax(model.parts.unembedding(output.last_hidden_state[:, -1]))
        for draft, token in zip(drafts, chosen.tolist(), strict=True):
            if step < len(draft.tokens):
                draft.tokens[step], draft.commit_step[step] = token, step
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
        unread = slice(None) if cache is None else slice(-1, None)


def _denoise(model: LanguageModel, drafts: Sequence[_Draft]) -> None:
    """Let an MDM unmask every draft of a batch, step by step."""
    for step in range(max(len(draft.sizes) for draft in drafts)):
        active = [draft for draft in drafts if step < len(draft.sizes)]
        tokens, confidence = _predict_masked(model, active)
        start = 0
        for draft in active:
            end = start + len(draft.masked)
            draft.commit(step, tokens[start:end], confidence[start:end])
            start = end


@torch.no_grad()
def _predict_masked(
    model: LanguageModel, drafts: Sequence[_Draft]
) -> tuple[list[int], list[float]]:
    """Best token and its probability at every masked position, draft by draft, left to right."""
    canvases = [draft.canvas(model) for draft in drafts]
    ids, mask, position_ids = pad_left(canvases, model.device)
    hidden = model.hidden(ids, mask, position_ids)
    rows = [row for row, draft in enumerate(drafts) for _ in draft.masked]
    columns = [
        ids.shape[1] - len(canvas) + len(draft.example.prefix_ids) + target - int(model.shift)
        for draft, canvas in zip(drafts, canvases, strict=True)
        for target in draft.masked
    ]
    logits = model.parts.unembedding(hidden[rows, columns])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits[:, model.mask_token_id] = -torch.inf
    confidence = logits.softmax(dim=-1).amax(dim=-1)
    return first_argmax(logits).tolist(), confidence.tolist()


def first_argmax(logits: Float[Tensor, "row vocab"]) -> Int64[Tensor, " row"]:
    """The most probable token, and of equally probable ones the lowest id, on every device."""
    ids = torch.arange(logits.shape[-1], device=logits.device)
    best = logits == logits.amax(dim=-1, keepdim=True)
    return torch.where(best, ids, logits.shape[-1]).amin(dim=-1)


def _padded(rows: Sequence[Sequence[int]]) -> Int64[np.ndarray, "example target"]:
    """Rows of different lengths as one array, filled with -1."""
    array = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for filled, row in zip(array, rows, strict=True):
        filled[: len(row)] = row
    return array
