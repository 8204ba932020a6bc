"""Workload of a run: which models read which tasks, how long the examples are, in which batches.

A few examples of each task are encoded with the pair's tokenizer, where one is on this machine.
Where none is, built-in tasks are generated with a stand-in, which also counts tokens: one for each
word, digit and mark, and for a space before a digit, as Qwen's and Llama's tokenizers cut English.

Batches are made of these lengths alone as `denoising.batch_canvases` and `denoising.decode` make
them of tokens, chunk by chunk. So numbers of passes are exact where the lengths are, and padding is
counted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from inspect import signature
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechshift.axes import GENERAL_SPANS
from mechshift.denoising import Schedule, left_to_right
from mechshift.denoising.samplers import sampler_named
from mechshift.graph import Graph
from mechshift.models import (
    ARM_CONTINUED,
    ARM_FULL,
    MDM_CAUSAL,
    MDM_OTHER_SEED,
    Kind,
    ModelShape,
    PairEntry,
    PairShape,
    control_name,
)
from mechshift.models.loading import DTYPES
from mechshift.posttraining import tiny_tokenizer
from mechshift.run.folders import KINDS
from mechshift.run.settings import RunSettings
from mechshift.tasks import Example, Task, TaskFile, build_pool, encode_example

NUM_SAMPLED = 10
"""Examples that are looked at; all of a task's examples are of a few kinds."""

DECODING_BATCH_SIZE: int = signature(build_pool).parameters["batch_size"].default
"""Examples that are decoded at once; `mechshift run` does not ask."""


def run_members(entry: PairEntry, skip: Sequence[str] = ()) -> list[tuple[str, Kind, Kind]]:
    """Name of each model of a run, how it reads a task, and whose shape it has.

    The pair's models, then its controls unless they are skipped, as `models.load_controls` loads
    them.
    """
    members: list[tuple[str, Kind, Kind]] = [(kind, kind, kind) for kind in KINDS]
    if "controls" in skip:
        return members
    # Weights of one shift cannot be read with the other; an ARM's logits are always shifted.
    if entry.shift:
        members += [(ARM_FULL, "mdm", "arm"), (MDM_CAUSAL, "arm", "mdm")]
    trained = (ARM_CONTINUED, entry.continued_arms), (MDM_OTHER_SEED, entry.other_mdms)
    for kind, (role, sources) in zip(KINDS, trained, strict=True):
        names = (control_name(role, training + 1) for training in range(len(sources)))
        members += [(name, kind, kind) for name in names]
    members += [(sibling.name, "mdm", "mdm") for sibling in entry.siblings]
    return members


class Lengths(NamedTuple):
    """Tokens of one example, as one kind of model reads it."""

    prefix: int
    target: int
    suffix: int
    """0 for an ARM, which reads a suffix as part of its prompt."""


def sampled_examples(task: Task, tokenizer: PreTrainedTokenizerBase | None) -> list[Example]:
    """A few examples of a task; splits are alike, but Countdown's others take long to draw.

    Raises:
        TaskError: the task does not fit the tokenizer.
    """
    if isinstance(task, TaskFile):
        own = (example for _, split, example in task.examples if split == "discovery")
        some = (example for _, _, example in task.examples)
        return list(islice(own, NUM_SAMPLED)) or list(islice(some, NUM_SAMPLED))
    drawn_with = tokenizer or stand_in_tokenizer()
    return task.generate(drawn_with, split="train", num_examples=NUM_SAMPLED, seed=0)


def example_lengths(
    task: Task, example: Example, tokenizer: PreTrainedTokenizerBase | None, kind: Kind
) -> Lengths:
    """Lengths of an example for one kind of model; estimated without a tokenizer.

    Raises:
        TaskError: the example does not fit the tokenizer.
    """
    if tokenizer is not None:
        ids = encode_example(task, example, tokenizer, kind)
        return Lengths(len(ids.prefix_ids), len(ids.target_ids), len(ids.suffix_ids))
    prompt, suffix = example.prompt, example.suffix
    if kind == "arm":
        prompt, suffix = example.causal_prompt or prompt, ""
    texts = (prompt, example.target, suffix)
    return Lengths(*(len(stand_in_tokenizer()(text)["input_ids"]) for text in texts))


@cache
def stand_in_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that every built-in task fits, for pairs whose own is not on this machine.

    The words are those of the embedded pair; each digit is a token, as in Qwen and Llama, and each
    word that it does not know.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The sizes of some calls of the decoder, and of the unembedding after each."""

    rows: Int[np.ndarray, " batch"]
    positions: Int[np.ndarray, " batch"]
    """Read by the call, with padding."""
    readouts: Int[np.ndarray, " batch"]
    """Positions whose logits are made."""
    slots: Int[np.ndarray, " batch"]
    """Denoising steps that are scored in one pass: several for an ARM, 1 for an MDM."""
    cached: Int[np.ndarray, " batch"]
    """Earlier positions, whose keys and values are kept."""

    def __len__(self) -> int:
        """How many calls."""
        return len(self.rows)

    @property
    def tokens(self) -> Int[np.ndarray, " batch"]:
        return self.rows * self.positions

    @property
    def pairs(self) -> Int[np.ndarray, " batch"]:
        """Of a position that attends and one that is attended to."""
        return self.tokens * (self.positions + self.cached)


Sizes = int | Sequence[int] | Int[np.ndarray, " batch"]


def make_batches(
    rows: Sizes,
    positions: Sizes,
    readouts: Sizes = 0,
    slots: Sizes = 1,
    cached: Sizes = 0,
) -> Batches:
    """Batches of these sizes [batch], or of one size; by default without readouts."""
    columns = np.broadcast_arrays(*map(np.atleast_1d, (rows, positions, readouts, slots, cached)))
    return Batches(**dict(zip(Batches.__annotations__, columns, strict=True)))


Drafts = Sequence[tuple[Lengths, Int[np.ndarray, " _"]]]
"""Examples, and how many tokens each of their denoising steps commits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelOnTask:
    """One model on one task, and how the task is run: what all formulas of a plan take."""

    task: str
    name: str
    """`arm`, `mdm`, or the name of a control."""
    kind: Kind
    shape: ModelShape
    graph: Graph
    examples: tuple[Lengths, ...]
    """Those that were looked at; all others repeat them in turn."""
    num_spans: int
    """Spans of the text between which flow is told apart."""
    metric: str
    settings: RunSettings
    weights: int
    """Of all models that are loaded, as far as they lie on the device [bytes]."""
    brought: int = 0
    """Of this one, what lies elsewhere and is brought for every pass [bytes]."""
    solved: float = 1.0
    """Share of candidates that both models get right."""
    host_is_device: bool = True
    """Whether the models run in the host's memory."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the model's dtype."""
        return DTYPES[self.settings.models.dtype].itemsize

    @property
    def uses_gim(self) -> bool:
        """Whether gradients are taken with GIM's attention."""
        return self.settings.attribution.gim and self.settings.attribution.method != "exact"

    @property
    def num_rows(self) -> int:
        """Rows of scores: the examples, or shards of them."""
        return self.settings.pool.num_examples // self.settings.attribution.examples_per_shard

    @property
    def is_read_by_step(self) -> bool:
        """Whether a stage reads single steps of its scores, which are kept then (`run.scores`)."""
        return self.name in KINDS

    @property
    def compared_size(self) -> int:
        """Of the circuits that are compared [edges]."""
        return self.settings.comparison.circuit_size_in(self.graph.num_edges)

    @cached_property
    def schedule(self) -> Schedule:
        """The pool's, of these examples; which tokens a step commits does not matter here.

        Every step is taken to commit an even share, as the default sampler's do. One that commits
        unevenly has at most as many steps that commit something.

        Raises:
            DenoisingError: a number of steps that the sampler cannot have.
        """
        pool, targets = self.settings.pool, [one.target for one in self.examples]
        sampler = sampler_named(pool.order)
        return left_to_right(
            targets, max(sampler.num_steps(one, pool.num_steps) for one in targets)
        )

    def discovery(self, batch_size: int, chunk_size: int | None = None) -> Batches:
        """Batches of the examples that edges are scored on."""
        return self.canvases(self.settings.pool.num_examples, batch_size, chunk_size)

    def held_out(self, batch_size: int) -> Batches:
        """Batches of the examples that circuits are run on."""
        return self.canvases(self.settings.pool.num_held_out, batch_size)

    def canvases(
        self,
        num_examples: int,
        batch_size: int,
        chunk_size: int | None = None,
        schedule: Schedule | None = None,
    ) -> Batches:
        """The batches of all canvases of so many examples.

        Args:
            num_examples: how many.
            batch_size: canvases in one batch.
            chunk_size: examples that are batched among themselves; None: all.
            schedule: of the examples that were looked at; None: the pool's.
        """
        own = list(self._canvases(schedule or self.schedule))
        batches: list[Int[np.ndarray, "4 batch"]] = []
        chunk_size = chunk_size or num_examples
        for start in range(0, num_examples, chunk_size):
            rows = range(start, min(start + chunk_size, num_examples))
            chunk = np.concatenate([own[row % len(own)] for row in rows])
            positions, readouts, slots = chunk[np.argsort(chunk[:, 0], kind="stable")].T
            first = np.arange(0, len(positions), batch_size)
            columns = (
                np.diff(first, append=len(positions)),
                np.maximum.reduceat(positions, first),
                np.add.reduceat(readouts, first),
                np.maximum.reduceat(slots, first),
            )
            batches.append(np.stack(columns))
        return make_batches(*np.concatenate(batches, axis=1))

    def _canvases(self, schedule: Schedule) -> Iterator[Int[np.ndarray, "canvas 3"]]:
        """Positions, readouts and slots of each canvas, example by example."""
        for example, commits in self._drafts(schedule):
            if self.kind == "arm":  # which does not read its last token
                yield np.array([[sum(example) - 1, example.target, len(commits)]])
            else:
                length, slots = np.full_like(commits, sum(example)), np.ones_like(commits)
                yield np.stack([length, commits, slots], axis=1)

    def decoding(self, num_examples: int, batch_size: int = DECODING_BATCH_SIZE) -> Batches:
        """Every call of the decoder that answers so many examples."""
        calls: list[tuple[int, int, int, int]] = []
        own = self._drafts(self.schedule)
        drafts = [own[row % len(own)] for row in range(num_examples)]
        # A sampler's steps grow with the target, so both kinds are batched by it.
        drafts.sort(key=lambda draft: (draft[0].target, sum(draft[0])))
        for start in range(0, num_examples, batch_size):
            batch = drafts[start : start + batch_size]
            calls += _writing(batch) if self.kind == "arm" else _denoising(batch)
        rows, positions, readouts, cached = np.array(calls).T
        return make_batches(rows, positions, readouts, cached=cached)

    def _drafts(self, schedule: Schedule) -> Drafts:
        steps = (row[row >= 0] for row in schedule.commit_step)
        return list(zip(self.examples, map(np.bincount, steps), strict=True))


def _writing(drafts: Drafts) -> Iterator[tuple[int, int, int, int]]:
    """Rows, positions, readouts and cached positions: the prompts, then token by token."""
    longest, rows = max(one.prefix for one, _ in drafts), len(drafts)
    yield rows, longest, rows, 0
    for step in range(1, max(one.target for one, _ in drafts)):
        yield rows, 1, rows, longest + step - 1


def _denoising(drafts: Drafts) -> Iterator[tuple[int, int, int, int]]:
    """The same of an MDM, which reads whole canvases, and the logits of what is still masked."""
    for step in range(max(len(commits) for _, commits in drafts)):
        active = [(one, commits[step:]) for one, commits in drafts if step < len(commits)]
        masked = sum(int(left.sum()) for _, left in active)
        yield len(active), max(sum(one) for one, _ in active), masked, 0


def models_on_tasks(
    settings: RunSettings,
    entry: PairEntry,
    shapes: PairShape,
    examples: Sequence[tuple[Task, Sequence[Example]]],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    solved: float = 1.0,
    shared: bool = True,
    held: Callable[[Sequence[int]], Sequence[int]] = list,
) -> list[ModelOnTask]:
    """Every model of a run on every task, task by task.

    Args:
        settings: of the run.
        entry: of the pair.
        shapes: of both models.
        examples: some of each task.
        tokenizer: of the pair, where it is on this machine.
        solved: share of candidates that both models get right.
        shared: whether the models run in the host's memory.
        held: from the weights of models, in the order in which they are loaded, what of each lies
            on the device [bytes]; by default all.

    Raises:
        TaskError: an example does not fit the tokenizer.
    """
    members, shape_of = run_members(entry, settings.skip), {"arm": shapes.arm, "mdm": shapes.mdm}
    # The controls that read one model as the other share its weights.
    loaded = {name: shape_of[weights] for name, kind, weights in members if kind == weights}
    itemsize = DTYPES[settings.models.dtype].itemsize
    sizes = {name: itemsize * shape.num_parameters for name, shape in loaded.items()}
    on_device = dict(zip(sizes, held([*sizes.values()]), strict=True))
    elsewhere = {name: size - on_device[name] for name, size in sizes.items()}
    # The largest module that is brought at once, as large as the readout.
    one_brought = (
        any(elsewhere.values())
        * itemsize
        * max(shape.vocab_size * shape.d_model for shape in loaded.values())
    )
    graph = shapes.arm.graph(grouped=settings.attribution.grouped)
    models = []
    for task, own in examples:
        spans = {name for example in own for name in example.spans}
        lengths = {
            reader: tuple(example_lengths(task, example, tokenizer, reader) for example in own)
            for reader in KINDS
        }
        models += [
            ModelOnTask(
                task=task.name,
                name=name,
                kind=kind,
                shape=shape_of[weights],
                graph=graph,
                examples=lengths[kind],
                num_spans=len(spans) + len(GENERAL_SPANS),
                metric=settings.attribution.metric or task.metric,
                settings=settings,
                weights=sum(on_device.values()) + one_brought,
                brought=elsewhere[name if kind == weights else weights],
                solved=solved,
                host_is_device=shared,
            )
            for name, kind, weights in members
        ]
    return models
