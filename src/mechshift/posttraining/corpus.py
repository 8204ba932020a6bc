"""What is a model trained on: which tasks, how many examples, in which mixture?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mechshift.errors import PosttrainingError
from mechshift.tasks import Example, encode_example, find_task


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Encoded training examples of one task, padded on the right."""

    ids: Int[Tensor, "example position"]
    present: Int[Tensor, "example position"]
    """1 for tokens, 0 for padding."""
    is_target: Bool[Tensor, "example position"]


def build_corpus(
    task_name: str,
    tokenizer: PreTrainedTokenizerBase,
    kind: Literal["arm", "mdm"],
    *,
    num_examples: int,
    seed: int,
) -> Corpus:
    """The training split of a task, laid out as a model of this kind reads it.

    Raises:
        TaskError: no such task.
        PosttrainingError: its training split holds fewer examples than asked for.
    """
    task = find_task(task_name)
    examples: list[Example] = task.generate(
        tokenizer, split="train", num_examples=num_examples, seed=seed
    )
    if len(examples) < num_examples:
        raise PosttrainingError(
            f"task '{task_name}' has {len(examples)} training examples for this tokenizer, not"
            f" {num_examples}; ask for fewer."
        )
    encoded = [encode_example(task, example, tokenizer, kind) for example in examples]
    rows = [e.prefix_ids + e.target_ids + e.suffix_ids for e in encoded]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), tokenizer.pad_token_id or 0)
    present = torch.zeros(len(rows), width, dtype=torch.long)
    is_target = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, (row, example) in enumerate(zip(rows, encoded, strict=True)):
        start = len(example.prefix_ids)
        ids[index, : len(row)] = torch.tensor(row)
        present[index, : len(row)] = 1
        is_target[index, start : start + len(example.target_ids)] = True
    return Corpus(ids=ids, present=present, is_target=is_target)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Corpora and the number of rows that each gives to a batch."""

    corpora: tuple[Corpus, ...]
    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.corpora or len(self.corpora) != len(self.rows) or min(self.rows) < 1:
            raise PosttrainingError(
                f"a mixture needs at least one row of each task, not {self.rows}; raise the batch"
                " size or the task's weight."
            )

    def draw(self, generator: torch.Generator) -> list[Corpus]:
        """Random rows of every task, each task as wide as its longest row needs."""
        return [
            _random_rows(corpus, num_rows, generator)
            for corpus, num_rows in zip(self.corpora, self.rows, strict=True)
        ]


def rows_by_weight(weights: Sequence[float], batch_size: int) -> tuple[int, ...]:
    """Rows of a batch for each task in proportion to its weight; every task gets at least one."""
    total = sum(weights)
    return tuple(max(1, round(batch_size * weight / total)) for weight in weights)


def _random_rows(corpus: Corpus, num_rows: int, generator: torch.Generator) -> Corpus:
    chosen = torch.randint(len(corpus.ids), (num_rows,), generator=generator)
    width = int(corpus.present[chosen].sum(1).max())
    return Corpus(
        ids=corpus.ids[chosen, :width],
        present=corpus.present[chosen, :width],
        is_target=corpus.is_target[chosen, :width],
    )
