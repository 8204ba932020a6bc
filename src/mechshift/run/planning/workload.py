"""Workload of a run: whose canvases are read, how long they are, and in which batches.

A few examples of each task are encoded with the pair's tokenizer, where one is on this machine.
Where none is, built-in tasks are generated with a stand-in, and tokens are estimated: one for each
word, digit and mark, and for a space before a digit, as Qwen's and Llama's tokenizers cut English.

Batches are played through with these lengths alone: canvases are sorted by length and cut as
`denoising.batch_canvases` does, chunk by chunk, and drafts are batched as `denoising.decode` does.
So numbers of passes are exact where the lengths are, and padding is counted.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mechshift.axes import GENERAL_SPANS
from mechshift.denoising.samplers import Sampler, StepState
from mechshift.denoising.schedule import step_sizes
from mechshift.models import (
    ARM_CONTINUED,
    ARM_FULL,
    MDM_CAUSAL,
    MDM_OTHER_SEED,
    Kind,
    PairEntry,
    control_name,
)
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import Example, Task, TaskFile, encode_example

NUM_SAMPLED = 10
"""Examples that are looked at; all of a task's examples are of a few kinds."""

PIECE = re.compile(r" (?=\d)|\d|[^\W\d]+|[^\w\s]|\n")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a run."""

    name: str
    """`arm`, `mdm`, or the name of a control."""
    kind: Kind
    """How it reads a task."""
    weights: Kind
    """Which of the two it has the shape of."""
    loaded: bool = True
    """Whether it has weights of its own in memory, not those of the pair."""


def run_members(entry: PairEntry, skip: Sequence[str] = ()) -> tuple[Member, ...]:
    """The pair's models, then its controls unless they are skipped (`models.load_controls`)."""
    members = [Member(name=kind, kind=kind, weights=kind) for kind in ("arm", "mdm")]
    if "controls" in skip:
        return tuple(members)
    # Weights of one shift cannot be read with the other; an ARM's logits are always shifted.
    if entry.shift:
        members.append(Member(name=ARM_FULL, kind="mdm", weights="arm", loaded=False))
        members.append(Member(name=MDM_CAUSAL, kind="arm", weights="mdm", loaded=False))
    kinds: tuple[Kind, Kind] = ("arm", "mdm")
    named = (ARM_CONTINUED, entry.continued_arms), (MDM_OTHER_SEED, entry.other_mdms)
    for kind, (role, sources) in zip(kinds, named, strict=True):
        names = (control_name(role, training) for training in range(1, len(sources) + 1))
        members += [Member(name=name, kind=kind, weights=kind) for name in names]
    return tuple(members)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleLengths:
    """Tokens of some examples of a task, as one kind of model reads them."""

    prefix: Int[np.ndarray, " example"]
    target: Int[np.ndarray, " example"]
    suffix: Int[np.ndarray, " example"]
    """0 for an ARM, which reads a suffix as part of its prompt."""
    num_spans: int = len(GENERAL_SPANS)
    """Spans between which flow is told apart."""

    def repeated(self, num_examples: int) -> list[tuple[int, int, int]]:
        """Prefix, target and suffix of so many examples, these in turn."""
        columns = (
            np.resize(part, num_examples) for part in (self.prefix, self.target, self.suffix)
        )
        return [(int(p), int(t), int(s)) for p, t, s in zip(*columns, strict=True)]


def task_lengths(
    task: Task, tokenizer: PreTrainedTokenizerFast | None, kinds: Sequence[Kind]
) -> Mapping[Kind, ExampleLengths]:
    """Lengths of a few examples for each kind of model; estimated without a tokenizer.

    Raises:
        TaskError: the task does not fit the tokenizer.
    """
    if isinstance(task, TaskFile):
        own = [example for _, split, example in task.examples if split == "discovery"]
        examples = (own or [example for _, _, example in task.examples])[:NUM_SAMPLED]
    else:
        # Examples of all splits are alike, and those of Countdown's others take long to draw.
        drawn_with = tokenizer or stand_in_tokenizer()
        examples = task.generate(drawn_with, split="train", num_examples=NUM_SAMPLED, seed=0)
    return {kind: _lengths(task, examples, tokenizer, kind) for kind in kinds}


def _lengths(
    task: Task, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast | None, kind: Kind
) -> ExampleLengths:
    if tokenizer is None:
        rows = [_estimated(example, kind) for example in examples]
        spans = {name for example in examples for name in example.spans}
    else:
        encoded = [encode_example(task, example, tokenizer, kind) for example in examples]
        rows = [(len(e.prefix_ids), len(e.target_ids), len(e.suffix_ids)) for e in encoded]
        spans = {name for one in encoded for name in one.spans}
    prefix, target, suffix = np.array(rows, dtype=np.int64).T
    num_spans = len(spans) + len(GENERAL_SPANS)
    return ExampleLengths(prefix=prefix, target=target, suffix=suffix, num_spans=num_spans)


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


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The sizes of one call of the decoder, and of the unembedding after it."""

    rows: int
    positions: int
    """Read by the call, with padding."""
    readouts: int = 0
    """Positions whose logits are made."""
    slots: int = 1
    """Denoising steps that are scored in one pass: several for an ARM, 1 for an MDM."""
    cached: int = 0
    """Earlier positions, whose keys and values are kept."""

    @property
    def tokens(self) -> int:
        return self.rows * self.positions

    @property
    def pairs(self) -> int:
        """Of a position that attends and one that is attended to."""
        return self.tokens * (self.positions + self.cached)


@cache
def commits(sampler: Sampler, num_targets: int, requested: int | None) -> tuple[int, ...]:
    """How many tokens each step of a sampler's loop commits.

    Where only the logits can tell, an even share each: the most steps that may commit something.

    Raises:
        DenoisingError: a number of steps that the sampler cannot have.
    """
    num_steps, left = sampler.num_steps(num_targets, requested), num_targets
    counts: list[int] = []
    for step in range(num_steps):
        masked = tuple(range(num_targets - left, num_targets))
        state = StepState(step=step, num_steps=num_steps, num_targets=num_targets, masked=masked)
        count = sampler.num_commits(state)
        if left and count is None:
            return tuple(step_sizes(num_targets, num_steps))
        counts.append(min(count or 0, left))
        left -= counts[-1]
    return tuple(counts)


def canvas_batches(
    examples: Sequence[tuple[int, int, int]],
    kind: Kind,
    committed: Callable[[int], Sequence[int]],
    *,
    batch_size: int,
    chunk_size: int | None = None,
) -> Iterator[Batch]:
    """The batches of all canvases of these examples.

    Args:
        examples: prefix, target and suffix of each [tokens].
        kind: of the model.
        committed: tokens that each step commits, of a target of so many.
        batch_size: canvases in one batch.
        chunk_size: examples that are batched among themselves; None: all.
    """
    chunk_size = chunk_size or len(examples)
    for start in range(0, len(examples), chunk_size):
        canvases: list[Batch] = []
        for prefix, target, suffix in examples[start : start + chunk_size]:
            sizes = [count for count in committed(target) if count]
            if kind == "arm":
                length, slots = prefix + target - 1, len(sizes)
                canvases.append(Batch(rows=1, positions=length, slots=slots, readouts=target))
            else:
                length = prefix + target + suffix
                canvases += [Batch(rows=1, positions=length, readouts=size) for size in sizes]
        canvases.sort(key=lambda canvas: canvas.positions)
        for first in range(0, len(canvases), batch_size):
            stacked = canvases[first : first + batch_size]
            yield Batch(
                rows=len(stacked),
                positions=max(canvas.positions for canvas in stacked),
                slots=max(canvas.slots for canvas in stacked),
                readouts=sum(canvas.readouts for canvas in stacked),
            )


def decoding_batches(
    examples: Sequence[tuple[int, int, int]],
    kind: Kind,
    sampler: Sampler,
    num_steps: int | None,
    *,
    batch_size: int,
) -> Iterator[Batch]:
    """Every call of the decoder that `decode` makes for these examples."""
    rows = sorted(
        (0 if kind == "arm" else sampler.num_steps(target, num_steps), target, prefix + suffix)
        for prefix, target, suffix in examples
    )
    for start in range(0, len(rows), batch_size):
        drafts = [(target, text) for _, target, text in rows[start : start + batch_size]]
        if kind == "arm":
            yield from _writing(drafts)
        else:
            yield from _denoising(drafts, sampler, num_steps)


def _writing(drafts: Sequence[tuple[int, int]]) -> Iterator[Batch]:
    """An ARM reads the prompts, then one token at a time beside its cache."""
    longest, rows = max(text for _, text in drafts), len(drafts)
    yield Batch(rows=rows, positions=longest, readouts=rows)
    for step in range(1, max(target for target, _ in drafts)):
        yield Batch(rows=rows, positions=1, cached=longest + step - 1, readouts=rows)


def _denoising(
    drafts: Sequence[tuple[int, int]], sampler: Sampler, num_steps: int | None
) -> Iterator[Batch]:
    """An MDM reads whole canvases, those that a step may change."""
    counts = [commits(sampler, target, num_steps) for target, _ in drafts]
    for step in range(max(map(len, counts))):
        active = [row for row, own in enumerate(counts) if step < len(own) and own[step]]
        if active:
            left = (
                drafts[row][0] - (0 if sampler.reads_committed else sum(counts[row][:step]))
                for row in active
            )
            positions = max(sum(drafts[row]) for row in active)
            yield Batch(rows=len(active), positions=positions, readouts=sum(left))
