"""The corpus of a training: tasks, numbers of examples, and their mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from mechshift.errors import PosttrainingError
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.corpus_rows import Corpus, pad_rows
from mechshift.posttraining.text_corpus import build_text_corpus, is_text_file
from mechshift.progress import progress_bar
from mechshift.tasks import Example, encode_example, load_task


def check_sources(config: PosttrainConfig) -> None:
    """Refuse a source that does not exist before anything is made of the others.

    Raises:
        TaskError: no such task.
        PosttrainingError: the file cannot be read, or it is not said how much of a task is wanted.
    """
    for source, _, num_examples in config.mixture:
        if not is_text_file(source):
            load_task(source)
            _check_num_examples(source, num_examples)


def build_corpus(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    kind: Literal["arm", "mdm"],
    *,
    num_examples: int,
    seed: int,
    context_length: int,
) -> Corpus:
    """Texts, or the training split of a task laid out as a model of this kind reads it.

    Raises:
        TaskError: no such task.
        PosttrainingError: the source holds fewer rows than asked for, or cannot be read.
    """
    if is_text_file(source):
        return build_text_corpus(
            source,
            tokenizer,
            kind,
            num_rows=num_examples,
            context_length=context_length,
        )
    task = load_task(source)
    _check_num_examples(source, num_examples)
    examples: list[Example] = task.generate(
        tokenizer, split="train", num_examples=num_examples, seed=seed
    )
    if len(examples) < num_examples:
        raise PosttrainingError(
            f"task '{source}' has {len(examples)} training examples for this tokenizer, not"
            f" {num_examples}; ask for fewer."
        )
    encoded = [encode_example(task, example, tokenizer, kind) for example in examples]
    return pad_rows(
        [
            (
                [*e.prefix_ids, *e.target_ids, *e.suffix_ids],
                slice(len(e.prefix_ids), len(e.prefix_ids) + len(e.target_ids)),
            )
            for e in encoded
        ],
        tokenizer,
    )


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


def build_mixture(
    tokenizer: PreTrainedTokenizerBase, config: PosttrainConfig, *, quiet: bool = False
) -> Mixture:
    """All that a recipe trains on.

    Raises:
        TaskError, PosttrainingError: as `build_corpus`, or a mixture of nothing.
    """
    corpora: list[Corpus] = []
    with progress_bar("make examples", len(config.mixture), quiet=quiet) as advance:
        for source, _, num_examples in config.mixture:
            corpora.append(
                build_corpus(
                    source,
                    tokenizer,
                    "arm" if config.objective == "ar" else "mdm",
                    num_examples=num_examples,
                    seed=config.seed,
                    context_length=config.context_length,
                )
            )
            advance(1)
    weights = [weight for _, weight, _ in config.mixture]
    return Mixture(corpora=tuple(corpora), rows=rows_by_weight(weights, config.batch_size))


def rows_by_weight(weights: Sequence[float], batch_size: int) -> tuple[int, ...]:
    """Rows of a batch for each task in proportion to its weight; every task gets at least one."""
    total = sum(weights)
    return tuple(max(1, round(batch_size * weight / total)) for weight in weights)


def _check_num_examples(source: str, num_examples: int) -> None:
    if num_examples < 1:
        raise PosttrainingError(
            f"say how many examples of '{source}' to train on; 0 means all, which only a file of"
            " texts has."
        )


def _random_rows(corpus: Corpus, num_rows: int, generator: torch.Generator) -> Corpus:
    chosen = torch.randint(len(corpus.ids), (num_rows,), generator=generator)
    width = int(corpus.present[chosen].sum(1).max())
    return Corpus(
        ids=corpus.ids[chosen, :width],
        present=corpus.present[chosen, :width],
        is_target=corpus.is_target[chosen, :width],
    )
