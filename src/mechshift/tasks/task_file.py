"""Task files: a user's own task, one JSON object per line; or the same examples, made in Python.

Every line is checked before any model is loaded, then again at token level for the tokenizer at
hand; the first bad line is named with its number. The file is UTF-8; blank lines are skipped.
Examples that are made in Python are checked as the lines that they would be. The keys are those of
`Example`:

    required  prompt, target, distractor, corrupted_prompt
    optional  id, suffix, corrupted_suffix, causal_prompt, corrupted_causal_prompt,
              spans ({"name": "a word of the text"} or {"name": [start, end]}), split,
              cluster, template

Examples of one `cluster` share what decides their answer, and are resampled together. Where it is
not given, examples of equal target share one; where you give `split` yourself, those of one split.
Examples of equal text always share one; a text that comes again with the same target is refused. No
cluster stands in two splits: examples without `split` go where the checksum of their cluster says.

A suffix needs its corrupted one, and both causal prompts, which an autoregressive model reads.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from jaxtyping import Int
from msgspec import UNSET, UnsetType
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.input_files import parse_json, read_lines
from mechshift.progress import progress_bar
from mechshift.tasks.encoding import check_all_encode
from mechshift.tasks.example import Example, Split
from mechshift.tasks.packed_examples import Numbered, PackedExamples, Packing
from mechshift.tasks.sampling import split_of

TEXT_KEYS = (
    "prompt",
    "target",
    "distractor",
    "corrupted_prompt",
    "suffix",
    "corrupted_suffix",
    "causal_prompt",
    "corrupted_causal_prompt",
)
KEYS = (*TEXT_KEYS, "id", "spans", "cluster", "template")
"""Of a line that are those of `Example`."""
COMPANIONS = {
    "suffix": ("corrupted_suffix", "causal_prompt"),
    "corrupted_suffix": ("suffix",),
    "causal_prompt": ("corrupted_causal_prompt",),
    "corrupted_causal_prompt": ("causal_prompt",),
}
"""Key to the keys that must be given with it."""

MAX_NAME = 100
"""Letters of a task's name, which is part of names of files."""
MAX_LINES = 200_000
"""A run uses some hundreds of examples, and looks at all of them."""
MANY_LINES = 5_000
"""So many take seconds to check."""
MAX_BYTES = 2**29
MAX_LINE_BYTES = 2**20
"""Longer than what any model reads."""


@dataclass(frozen=True)
class TaskFile:
    """A task of given examples; made by `load_task_file` or `make_task`."""

    name: str
    path: Path | None
    """None: the examples were made in Python."""
    examples: Sequence[Numbered]
    """Line number, or place from 1 on, split and example."""
    metric: str = "logit_diff"
    sha256: str = ""
    """Of the bytes that were read, or that a file of these examples would have; empty for a task
    that was rebuilt from a stored pool."""
    _fitting: WeakSet[PreTrainedTokenizerBase] = field(
        default_factory=WeakSet, compare=False, repr=False
    )
    """Tokenizers that all lines fit; looking again would take as long as before."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes, which look at the lines again."""
        return TaskFile, (self.name, self.path, self.examples, self.metric, self.sha256)

    @property
    def summary(self) -> str:
        source = f"of '{self.name}'" if self.path is None else f"from {self.path}"
        return f"{len(self.examples)} examples {source}"

    @cached_property
    def templates(self) -> tuple[str, ...]:
        return tuple(sorted({example.template for _, _, example in self.examples} - {""}))

    def generate(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        split: Split,
        num_examples: int,
        seed: int,
        templates: Sequence[str] = (),
    ) -> list[Example]:
        """The first examples of the split, in the file's order; the seed changes nothing.

        Raises:
            TaskError: a line, of any split, does not fit the tokenizer.
        """
        self.check(tokenizer, quiet=True)
        wanted = [name for name in self.templates if name in templates] or self.templates
        fitting = (
            example
            for _, own, example in self.examples
            if own == split and (example.template in wanted or not example.template)
        )
        return list(islice(fitting, num_examples))

    def check(self, tokenizer: PreTrainedTokenizerBase, *, quiet: bool = False) -> None:
        """Refuse lines that do not fit a tokenizer, under a bar where there are thousands.

        All of them, of any split: a bad held-out line should not wait until discovery is done. Once
        for a tokenizer, so that a stage that shows a bar of its own can call this before it.

        Raises:
            TaskError: a line does not fit, and the message names the first.
        """
        if tokenizer in self._fitting:
            return
        quiet = quiet or len(self.examples) < MANY_LINES
        with progress_bar(f"{self.name}: check", len(self.examples), quiet=quiet) as advance:
            check_all_encode(
                self,
                (example for _, _, example in self.examples),
                tokenizer,
                lambda place: _place(self.path or self.name, self.examples[place][0]),
                advance,
            )
        self._fitting.add(tokenizer)

    def is_correct(self, example: Example, completion: str) -> bool:
        return completion.strip() == example.target.strip()

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        return None


def load_task_file(path: Path) -> TaskFile:
    """Reads and checks a task file; the task is called by the file's name without its ending.

    Raises:
        TaskError: the file cannot be read or is larger than any that a run could use, or a line is
            not as the schema says.
    """
    if path.name.startswith(".") or not path.stem.isprintable() or len(path.stem) > MAX_NAME:
        raise TaskError(
            f"a task cannot be called {path.stem!r:.60}: results are kept in a folder of its file's"
            f" name; rename the file, with at most {MAX_NAME} letters and no dot before them."
        )
    lines = read_lines(path, MAX_BYTES, MAX_LINE_BYTES, error=TaskError)
    return _checked(path.stem, path, lines)


def make_task(name: str, examples: Iterable[Example | Mapping[str, Any]]) -> TaskFile:
    """A task of your own from examples that are made in Python; `RunSettings.tasks` takes it.

    It is checked, clustered and split as a task file with the same lines, and is the same task.

    Args:
        name: how reports and folders call it; letters, digits, `_`, `.` and `-`.
        examples: dictionaries with the keys of a line of a task file: `prompt`, `target`,
            `distractor` and `corrupted_prompt` at least; or records of another task. Of these
            `facts`, which only that task's own code reads, are left out.

    Raises:
        TaskError: no examples, or one that is not as the schema says, by its place.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", name) or len(name) > MAX_NAME:
        raise TaskError(
            f"a task cannot be called {name!r:.60}: results are kept in a folder of its name; use"
            f" letters, digits, '_', '.' and '-', {MAX_NAME} of them at most."
        )
    return _checked(name, None, enumerate(map(_as_line, examples), start=1))


def _as_line(example: Example | Mapping[str, Any]) -> bytes:
    """What a file would say of it."""
    given: Mapping[str, Any]
    if isinstance(example, Example):
        values = {one.name: getattr(example, one.name) for one in fields(example)}
        given = {key: value for key, value in values.items() if key in KEYS and value}
    else:
        given = example
    try:
        return json.dumps(dict(given), ensure_ascii=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"an example of a task is a dictionary of texts, not {given!r:.80} ({error})."
        ) from None


def _checked(name: str, path: Path | None, lines: Iterable[tuple[int, bytes]]) -> TaskFile:
    """The task that these lines tell, by their numbers."""
    where = name if path is None else path
    read = _ReadLines()
    digest = hashlib.sha256()
    for number, line in lines:
        digest.update(line)
        if not line.strip():
            continue
        if len(read.numbers) == MAX_LINES:
            raise TaskError(
                f"{where} holds more than {MAX_LINES:,} examples, and a run uses some hundreds;"
                " leave some out."
            )
        read.add(number, *_read_line(line, name, _place(where, number), number))
    if not read.numbers:
        how = "give it some" if path is None else "write one JSON object per line"
        raise TaskError(f"{where} holds no examples; {how}.")
    try:
        examples = read.clustered()
    except TaskError as error:
        raise TaskError(f"{where}, {error}") from None
    return TaskFile(name=name, path=path, examples=examples, sha256=digest.hexdigest())


def _place(where: Path | str, number: int) -> str:
    return f"{where}, line {number}"


class _ReadLines:
    """What is known of the lines of a file: their examples, packed, and some numbers of each."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self._splits: list[Split | None] = []
        """None: the line does not say."""
        self._names: dict[str, int] = {}
        """Cluster, as it is given or by the target -> number."""
        self._clusters = array("q")
        self._ids, self._texts, self._answers = _Digests(), _Digests(), _Digests()
        """Of the id; of what both models know before they answer; of that and the target."""
        self._examples = Packing()

    def add(self, number: int, split: Split | None, example: Example) -> None:
        """Take the next line.

        Args:
            number: of the line.
            split: as it says.
            example: what it tells.
        """
        name = example.cluster
        if not name:
            own_split = "" if split is None else f", {split}"
            name = f"target {example.target!r}{own_split}"
        self.numbers.append(number)
        self._splits.append(split)
        self._clusters.append(self._names.setdefault(name, len(self._names)))
        self._ids.add(example.id)
        self._texts.add(example.prompt, example.suffix)
        self._answers.add(example.prompt, example.suffix, example.target)
        self._examples.add(example)

    def clustered(self) -> PackedExamples:
        """Every example with its cluster and the split in which all of that cluster is.

        Raises:
            TaskError: two examples of one id, copies of an example, or a cluster in two splits.
        """
        if (twice := self._ids.repeated()) is not None:
            first, second = (self.numbers[place] for place in twice)
            raise TaskError(
                f"line {second}: the id '{self._examples[twice[1]].id}' is already that of line"
                f" {first}; give every example its own."
            )
        if (twice := self._answers.repeated()) is not None:
            first, second = (self.numbers[place] for place in twice)
            raise TaskError(
                f"line {second}: its text and target are those of line {first}; delete one of the"
                " two, since a copy is no further example."
            )
        names, of_line = self._joined()
        splits: dict[int, Split] = {}
        said: dict[int, int] = {}
        for place, (split, cluster) in enumerate(zip(self._splits, of_line, strict=True)):
            if split is None:
                continue
            if splits.setdefault(cluster, split) != split:
                number, other = self.numbers[place], self.numbers[said[cluster]]
                raise TaskError(
                    f"line {number}: it is in the split '{split}', and line {other} of the same"
                    f" text or cluster ({names[cluster]}) in '{splits[cluster]}'; put both into"
                    " one."
                )
            said.setdefault(cluster, place)
        for cluster, name in names.items():
            splits.setdefault(cluster, _split_of(name))
        return self._examples.finished(
            self.numbers,
            (splits[cluster] for cluster in of_line),
            (names[cluster] for cluster in of_line),
        )

    def _joined(self) -> tuple[dict[int, str], list[int]]:
        """Names of clusters, and which is each line's.

        Lines that share a text, and then all that share a cluster with one of them, are joined:
        names and texts are the nodes of a graph, and lines its edges. The first name counts.
        """
        texts = self._texts.firsts()
        clusters = np.array(self._clusters)
        num_names, num_lines = len(self._names), len(clusters)
        shape = (num_names + num_lines,) * 2
        joins = sparse.csr_array((np.ones(num_lines), (clusters, num_names + texts)), shape=shape)
        joined = connected_components(joins, directed=False)[1]
        names: dict[int, str] = {}
        for name in sorted(self._names):
            names.setdefault(int(joined[self._names[name]]), name)
        return names, joined[clusters].tolist()


class _Digests:
    """Digests of texts, in place of the texts themselves, to find those that are equal."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, *texts: str) -> None:
        digest = hashlib.blake2b(digest_size=16)
        for text in texts:
            content = text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        self._bytes += digest.digest()

    def firsts(self) -> Int[np.ndarray, " line"]:
        """The place of the first equal one, for each."""
        halves = np.frombuffer(bytes(self._bytes), np.uint64).reshape(-1, 2)
        _, first, same = np.unique(halves, axis=0, return_index=True, return_inverse=True)
        places: Int[np.ndarray, " line"] = first[same.reshape(-1)]
        return places

    def repeated(self) -> tuple[int, int] | None:
        """Places of the first one that was there before, and where it was."""
        firsts = self.firsts()
        again = np.flatnonzero(firsts != np.arange(len(firsts)))
        return (int(firsts[again[0]]), int(again[0])) if len(again) else None


def _split_of(cluster: str) -> Split:
    """Without a word from the user, four of ten clusters are kept for testing."""
    return "held-out" if split_of(cluster) != "train" else "discovery"


@dataclass(frozen=True, kw_only=True)
class _Fields:
    """The keys of a line."""

    prompt: str
    target: str
    distractor: str
    corrupted_prompt: str
    id: str | int | UnsetType = UNSET
    suffix: str | UnsetType = UNSET
    corrupted_suffix: str | UnsetType = UNSET
    causal_prompt: str | UnsetType = UNSET
    corrupted_causal_prompt: str | UnsetType = UNSET
    spans: Mapping[str, str | tuple[int, int]] = field(default_factory=dict)
    split: Split | UnsetType = UNSET
    cluster: str | int | UnsetType = UNSET
    template: str | int | UnsetType = UNSET

    def __post_init__(self) -> None:
        for key, text in (("target", self.target), ("distractor", self.distractor)):
            if not text.strip():
                raise TaskError(f"the {key} is empty; give the text that the model should produce")
        for key, companions in COMPANIONS.items():
            for companion in companions:
                if getattr(self, key) is not UNSET and getattr(self, companion) is UNSET:
                    raise TaskError(f"'{key}' needs '{companion}' beside it")
        for key in ("cluster", "template"):
            if getattr(self, key) == "":
                raise TaskError(f"'{key}' is empty; give it a name, or leave it out")


def _read_line(line: bytes, task: str, where: str, number: int) -> tuple[Split | None, Example]:
    """The split that a line says, if it does, and its example."""
    fields = parse_json(line, _Fields, where=where, error=TaskError)
    texts = {key: getattr(fields, key) for key in TEXT_KEYS}
    given = {key: text for key, text in texts.items() if text is not UNSET}
    try:
        return None if fields.split is UNSET else fields.split, Example(
            id=f"{task}/{number}" if fields.id is UNSET else str(fields.id),
            task=task,
            spans=_spans(fields),
            cluster="" if fields.cluster is UNSET else str(fields.cluster),
            template="" if fields.template is UNSET else str(fields.template),
            **given,
        )
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None


def _spans(fields: _Fields) -> dict[str, tuple[int, int]]:
    suffix = "" if fields.suffix is UNSET else fields.suffix
    text = fields.prompt + fields.target + suffix
    found = {}
    for name, where in fields.spans.items():
        if isinstance(where, str):
            start = text.find(where)
            end = start + len(where)
        else:
            start, end = where
        if not 0 <= start < end <= len(text):
            raise TaskError(
                f"span {name!r:.60} is {json.dumps(where)[:40]}; give a word that stands in prompt,"
                f" target or suffix, or [start, end] within their {len(text)} characters."
            )
        found[name] = (start, end)
    return found
