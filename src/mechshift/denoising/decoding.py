"""Decoding: what each model writes in place of the target, and in which order.

ARM: greedily from left to right, one token per step.

MDM:
1. start with a mask at each of the target positions (suffix in place);
2. one forward pass; rule out the mask token at every position that the sampler reads;
3. let the sampler say which positions take which tokens (see `samplers`), and write them;
4. repeat from 2 until nothing is masked, or to the end for a sampler that may mask again.

Of a model that denoises one block at a time (`LanguageModel.denoised`) the sampler is offered the
masked positions of that block.

A step that is known to commit nothing needs no forward pass and gets none. Everything is
deterministic up to rounding and independent of how examples are batched, also with random draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from mechshift.denoising.canvas import check_example, check_fits, pad_left
from mechshift.denoising.draft import Draft, blank_draft
from mechshift.denoising.encoded import EncodedExample
from mechshift.denoising.samplers import Commit, LeftToRight, Sampler, sampler_named
from mechshift.denoising.samplers.draws import first_argmax as first_argmax
from mechshift.denoising.schedule import Schedule
from mechshift.denoising.trace import Trace, trace_schedule
from mechshift.errors import DenoisingError
from mechshift.models import LanguageModel

AUTOREGRESSIVE = "autoregressive"
"""Name of an ARM's sampler in its trace."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Text that a model wrote, and the step of each token."""

    tokens: list[tuple[int, ...]]
    """For each example as many ids as its target has."""
    schedule: Schedule
    """The attributed step at which each token was committed; see `trace`."""
    traces: list[Trace]
    """For each example what was written when, by the sampler's own step numbers."""


def decode(
    model: LanguageModel,
    examples: Sequence[EncodedExample],
    *,
    num_steps: int | None = None,
    order: str | Sampler = "confidence",
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Decoded:
    """Decode a target for every example; the examples' own targets give only its length.

    Args:
        model: an ARM always decodes one token per step from left to right.
        examples: encoded for this kind of model.
        num_steps: denoising steps of an MDM; None: as many as target tokens.
        order: how an MDM chooses positions and tokens: a name in `SAMPLERS`, or a sampler with
            settings of its own.
        seed: of random draws.
        batch_size: examples per forward pass.
        progress: called with the number of examples that were just finished.

    Raises:
        DenoisingError: an unknown order, a bad count, a number of steps that the sampler cannot
            have, a sampler that does not write block by block where the model does, an example
            that the model cannot read or that is longer than its learned positions, or logits that
            are not finite.
    """
    sampler = sampler_named(order) if isinstance(order, str) else order
    if batch_size < 1:
        raise DenoisingError(f"the batch size is {batch_size}; it must be at least 1.")
    for example in examples:
        check_example(model, example)
        check_fits(model, example)
    if num_steps is not None and num_steps < 1:
        raise DenoisingError(f"num_steps is {num_steps}; it must be at least 1.")
    if model.kind == "arm":
        sampler, num_steps = LeftToRight(), None
    drafts = [
        blank_draft(sampler, row, example, num_steps, seed) for row, example in enumerate(examples)
    ]
    # Examples that take equally long share a batch, which is then full at every step.
    by_cost = sorted(drafts, key=lambda draft: draft.cost)
    for start in range(0, len(by_cost), batch_size):
        batch = by_cost[start : start + batch_size]
        (_write if model.kind == "arm" else _denoise)(model, batch)
        if progress is not None:
            progress(len(batch))
    traces = [
        draft.trace(AUTOREGRESSIVE if model.kind == "arm" else repr(sampler)) for draft in drafts
    ]
    return Decoded(
        tokens=[tuple(draft.tokens) for draft in drafts],
        schedule=trace_schedule(traces),
        traces=traces,
    )


@torch.no_grad()
def _write(model: LanguageModel, drafts: Sequence[Draft]) -> None:
    """Let an ARM write every draft of a batch, one token at a time."""
    ids, mask, positions = pad_left([d.example.prefix_ids for d in drafts], model.device)
    # Keys and values of earlier tokens stay what they are under causal attention only.
    cache = DynamicCache(config=model.module.config) if model.attention == "causal" else None
    limit = model.parts.max_length
    last_position = torch.iinfo(positions.dtype).max if limit is None else limit - 1
    unread = slice(None)
    for step in range(max(len(draft.tokens) for draft in drafts)):
        output = model.parts.decoder(
            input_ids=ids[:, unread],
            attention_mask=mask,
            position_ids=positions[:, unread],
            past_key_values=cache,
            use_cache=cache is not None,
        )
        logits = model.parts.unembedding(output.last_hidden_state[:, -1])
        _check_finite(model, logits, drafts)
        chosen = first_argmax(logits)
        for draft, token in zip(drafts, chosen.tolist(), strict=True):
            if step < len(draft.tokens):
                draft.apply(step, Commit(positions=(step,), tokens=(token,)))
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        # A row that is written already may have no position left for what is written beside it.
        following = (positions[:, -1:] + 1).clamp(max=last_position)
        positions = torch.cat([positions, following], dim=1)
        unread = slice(None) if cache is None else slice(-1, None)


def _denoise(model: LanguageModel, drafts: Sequence[Draft]) -> None:
    """Let an MDM unmask every draft of a batch, step by step."""
    for step in range(max(draft.num_steps for draft in drafts)):
        active = [draft for draft in drafts if draft.needs(step, model)]
        if not active:
            continue
        logits = _read_logits(model, active)
        shares = logits.split([len(draft.read(model)) for draft in active])
        for draft, share in zip(active, shares, strict=True):
            draft.apply(step, draft.sampler.commit(draft.state(step, model), share))
    unfinished = [draft for draft in drafts if draft.masked]
    if unfinished and model.attention == "causal-prefix":
        example = unfinished[0].example
        raise DenoisingError(
            f"{unfinished[0].sampler!r} leaves {len(unfinished[0].masked)} tokens of example"
            f" '{example.id}' of task '{example.task}' masked: '{model.name}' denoises one block of"
            f" {model.block_length} positions at a time, for which it was not made; choose the"
            " order confidence, left-to-right or random."
        )


@torch.no_grad()
def _read_logits(model: LanguageModel, drafts: Sequence[Draft]) -> Float[Tensor, "read vocab"]:
    """The logits that predict every position that is read, draft by draft, left to right."""
    canvases = [draft.canvas(model) for draft in drafts]
    ids, mask, position_ids = pad_left(canvases, model.device)
    hidden = model.hidden(ids, mask, position_ids)
    read = [draft.read(model) for draft in drafts]
    rows = [row for row, targets in enumerate(read) for _ in targets]
    columns = [
        ids.shape[1] - len(canvas) + len(draft.example.prefix_ids) + target - int(model.shift)
        for draft, canvas, targets in zip(drafts, canvases, read, strict=True)
        for target in targets
    ]
    logits = model.parts.unembedding(hidden[rows, columns])
    _check_finite(model, logits, [drafts[row] for row in rows])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits[:, model.mask_token_id] = -torch.inf
    return logits


def _check_finite(
    model: LanguageModel, logits: Float[Tensor, "row vocab"], drafts: Sequence[Draft]
) -> None:
    """Refuse logits that say nothing; there is a draft for each row.

    Raises:
        DenoisingError: and names the first example.
    """
    finite = torch.isfinite(logits).all(dim=-1)
    if not finite.all():
        example = drafts[int(finite.int().argmin())].example
        raise DenoisingError(
            f"'{model.name}' gave logits that are not finite while it wrote the target of example"
            f" '{example.id}' of task '{example.task}', in {model.dtype}; its weights are damaged,"
            " or too large for this precision: load it in float32."
        )
