"""Rows of training data, as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows of tokens from one source, padded on the right."""

    ids: Int[Tensor, "row position"]
    present: Int[Tensor, "row position"]
    """1 for tokens, 0 for padding."""
    is_target: Bool[Tensor, "row position"]


def pad_rows(
    rows: Sequence[tuple[Sequence[int], slice]], tokenizer: PreTrainedTokenizerBase
) -> Corpus:
    """One corpus of rows of different length.

    Args:
        rows: the tokens of each, and where its target stands.
        tokenizer: tells the padding token; 0 where it has none, since padding is never seen.
    """
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id or 0)
    present = torch.zeros(len(rows), width, dtype=torch.long)
    is_target = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, (row, target) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        present[index, : len(row)] = 1
        is_target[index, target] = True
    return Corpus(ids=ids, present=present, is_target=is_target)
