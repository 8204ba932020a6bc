"""Repeated random sequences, on which a head's habits show whatever the text.

A sequence is what the tokenizer puts before every text (BOS, for some), then n distinct random
tokens, then the same n again. With i a position and both copies counted from their own start:

    previous_token       i -> i - 1
    next_token           i -> i + 1                        right of i: zero under a causal mask
    duplicate            second copy -> the same token in the first
    induction            second copy -> the token after the same token in the first
    backward_induction   first copy -> the token before the same token in the second: the mirror
                         image of induction; zero under a causal mask

The tokens carry no meaning, so attention that finds these places follows position and identity
alone. An MDM reads the sequences without masks, as in its last denoising step.

Source: Olsson et al. 2022, "In-context Learning and Induction Heads" (previous token, duplicate and
induction on repeated random tokens); the two that look to the right are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mechshift.errors import SemanticsError
from mechshift.models import LanguageModel
from mechshift.semantics.recorded_run import RecordedRun, recorded_run
from mechshift.semantics.settings import SemanticsSettings
from mechshift.tasks.encoding import text_ids


@dataclass(frozen=True, kw_only=True, eq=False)
class RepeatedSequences:
    """Random sequences, each followed by itself; no padding."""

    input_ids: Int64[np.ndarray, "sequence position"]
    start: int
    """Position of the first random token."""
    length: int
    """Random tokens before they are repeated."""


def repeated_sequences(model: LanguageModel, settings: SemanticsSettings) -> RepeatedSequences:
    """Sequences of the model's ordinary tokens; the same for every model with the same tokenizer.

    Raises:
        SemanticsError: the tokenizer has fewer ordinary tokens than a sequence is long.
    """
    tokenizer = model.tokenizer
    special = {*tokenizer.all_special_ids, model.mask_token_id}
    ordinary = [i for i in range(min(len(tokenizer), model.vocab_size)) if i not in special]
    if len(ordinary) < settings.sequence_length:
        raise SemanticsError(
            f"the tokenizer of '{model.name}' has {len(ordinary)} ordinary tokens, too few for"
            f" {settings.sequence_length} distinct ones; lower sequence_length."
        )
    generator = np.random.default_rng(settings.seed)
    prefix = text_ids(tokenizer, "")
    rows = []
    for _ in range(settings.num_sequences):
        tokens = generator.choice(ordinary, size=settings.sequence_length, replace=False)
        rows.append(np.concatenate([prefix, tokens, tokens]).astype(np.int64))
    return RepeatedSequences(
        input_ids=np.stack(rows), start=len(prefix), length=settings.sequence_length
    )


def sequence_places(
    sequences: RepeatedSequences,
) -> dict[str, Bool[np.ndarray, "query key"]]:
    """For each role, where each query that has a place for it must look; the same in every row."""
    start, length = sequences.start, sequences.length
    first = np.arange(start, start + length)
    second = first + length
    both = np.concatenate([first, second])
    size = sequences.input_ids.shape[1]
    return {
        "previous_token": _pairs(size, both[1:], -1),
        "next_token": _pairs(size, both[:-1], 1),
        "duplicate": _pairs(size, second, -length),
        "induction": _pairs(size, second, 1 - length),
        "backward_induction": _pairs(size, first, length - 1),
    }


def sequence_runs(
    model: LanguageModel, sequences: RepeatedSequences, batch_size: int
) -> Iterator[RecordedRun]:
    """One forward pass for each batch of sequences."""
    for start in range(0, len(sequences.input_ids), batch_size):
        ids = torch.from_numpy(sequences.input_ids[start : start + batch_size]).to(model.device)
        positions = torch.arange(ids.shape[1], device=model.device).expand_as(ids)
        yield recorded_run(model, ids, torch.ones_like(ids), positions)


def _pairs(
    size: int, queries: Int64[np.ndarray, " query"], offset: int
) -> Bool[np.ndarray, "position position"]:
    places = np.zeros((size, size), dtype=bool)
    places[queries, queries + offset] = True
    return places


def to_device(places: Bool[np.ndarray, "query key"], run: RecordedRun) -> Bool[Tensor, "query key"]:
    """A mask where the model is."""
    return torch.from_numpy(places).to(run.model.device)
