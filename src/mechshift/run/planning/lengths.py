"""How long are a task's examples, as each model of a pair reads them?

A few examples are encoded with the pair's tokenizer, where one is on this machine. Where none is,
built-in tasks are generated with a stand-in, and tokens are estimated: one for each word, digit and
mark, and for a space before a digit, as the tokenizers of Qwen and Llama cut plain English.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mechshift.models import Kind
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import Example, Task, TaskFile, encode_example

NUM_SAMPLED = 10
"""Examples that are looked at; all of a task's examples are of a few kinds."""

PIECE = re.compile(r" (?=\d)|\d|[^\W\d]+|[^\w\s]|\n")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleLengths:
    """Tokens of some examples of a task, as one kind of model reads them."""

    prefix: Int[np.ndarray, " example"]
    target: Int[np.ndarray, " example"]
    suffix: Int[np.ndarray, " example"]
    """0 for an ARM, which reads a suffix as part of its prompt."""

    def repeated(self, num_examples: int) -> "ExampleLengths":
        """So many examples, these in turn."""
        return ExampleLengths(
            prefix=np.resize(self.prefix, num_examples),
            target=np.resize(self.target, num_examples),
            suffix=np.resize(self.suffix, num_examples),
        )


def task_lengths(
    task: Task, tokenizer: PreTrainedTokenizerFast | None, kinds: Sequence[Kind]
) -> Mapping[Kind, ExampleLengths]:
    """Lengths of a few examples for each kind of model; estimated without a tokenizer.

    Raises:
        TaskError: the task does not fit the tokenizer.
    """
    examples = _sample(task, tokenizer)
    return {kind: _lengths(task, examples, tokenizer, kind) for kind in kinds}


def _sample(task: Task, tokenizer: PreTrainedTokenizerFast | None) -> list[Example]:
    if isinstance(task, TaskFile):
        own = [example for _, split, example in task.examples if split == "discovery"]
        return own[:NUM_SAMPLED] or [example for _, _, example in task.examples[:NUM_SAMPLED]]
    # Examples of all splits are alike, and those of Countdown's others take long to draw.
    return task.generate(
        tokenizer or stand_in_tokenizer(), split="train", num_examples=NUM_SAMPLED, seed=0
    )


def _lengths(
    task: Task, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast | None, kind: Kind
) -> ExampleLengths:
    if tokenizer is None:
        rows = [_estimated(example, kind) for example in examples]
    else:
        encoded = [encode_example(task, example, tokenizer, kind) for example in examples]
        rows = [(len(e.prefix_ids), len(e.target_ids), len(e.suffix_ids)) for e in encoded]
    prefix, target, suffix = np.array(rows, dtype=np.int64).T
    return ExampleLengths(prefix=prefix, target=target, suffix=suffix)


def _estimated(example: Example, kind: Kind) -> tuple[int, int, int]:
    causal = example.causal_prompt if kind == "arm" else None
    texts = (causal or example.prompt, example.target, "" if kind == "arm" else example.suffix)
    prefix, target, suffix = (len(PIECE.findall(text)) for text in texts)
    return prefix, max(target, 1), suffix


def stand_in_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that every built-in task fits, for pairs whose own is not on this machine.

    The words are those of the embedded pair; each digit is a token, as in Qwen and Llama.
    """
    words = [*tiny_tokenizer().get_vocab(), "/", "Ċ"]  # ByteLevel writes a line's end as Ċ
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    digits = pre_tokenizers.Split(Regex(r"\d"), behavior="isolated")
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, cut])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", clean_up_tokenization_spaces=False
    )
