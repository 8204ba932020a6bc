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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
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
    examples: tuple[tuple[int, Split, Example], ...]
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

    @property
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
        return [
            example
            for _, own, example in self.examples
            if own == split and (example.template in wanted or not example.template)
        ][:num_examples]

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
                [example for _, _, example in self.examples],
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
    read: list[_Line] = []
    first_line: dict[str, int] = {}
    digest = hashlib.sha256()
    for number, line in lines:
        digest.update(line)
        if not line.strip():
            continue
        if len(read) == MAX_LINES:
            raise TaskError(
                f"{where} holds more than {MAX_LINES:,} examples, and a run uses some hundreds;"
                " leave some out."
            )
        one = _read_line(line, name, _place(where, number), number)
        example = one.example
        if example.id in first_line:
            raise TaskError(
                f"{_place(where, number)}: the id '{example.id}' is already that of"
                f" line {first_line[example.id]}; give every example its own."
            )
        first_line[example.id] = number
        read.append(one)
    del first_line  # of a large file, as much memory as its texts
    if not read:
        how = "give it some" if path is None else "write one JSON object per line"
        raise TaskError(f"{where} holds no examples; {how}.")
    try:
        examples = _clustered(read)
    except TaskError as error:
        raise TaskError(f"{where}, {error}") from None
    return TaskFile(name=name, path=path, examples=examples, sha256=digest.hexdigest())


def _place(where: Path | str, number: int) -> str:
    return f"{where}, line {number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """What a line says."""

    number: int
    split: Split | None
    """None: it does not say."""
    example: Example

    @property
    def text(self) -> tuple[str, str]:
        """What both models know before they answer."""
        return self.example.prompt, self.example.suffix

    @property
    def cluster(self) -> str:
        """As it is given, or by the target."""
        if self.example.cluster:
            return self.example.cluster
        own_split = "" if self.split is None else f", {self.split}"
        return f"target {self.example.target!r}{own_split}"


def _clustered(lines: Sequence[_Line]) -> tuple[tuple[int, Split, Example], ...]:
    """Every line with its cluster and the split in which all of that cluster is.

    Raises:
        TaskError: copies of an example, or a cluster in two splits.
    """
    first: dict[tuple[tuple[str, str], str], _Line] = {}
    for line in lines:
        known = first.setdefault((line.text, line.example.target), line)
        if known is not line:
            raise TaskError(
                f"line {line.number}: its text and target are those of line {known.number}; delete"
                " one of the two, since a copy is no further example."
            )
    del first
    # Lines that share a text, and then all that share a cluster with one of them, are joined: names
    # and texts are the nodes of a graph, and lines its edges.
    names = sorted({line.cluster for line in lines})
    name_at = {name: place for place, name in enumerate(names)}
    text_at = {line.text: len(names) + place for place, line in enumerate(lines)}
    ends = np.array([(name_at[line.cluster], text_at[line.text]) for line in lines])
    shape = (len(names) + len(lines),) * 2
    joins = sparse.csr_array((np.ones(len(lines)), tuple(ends.T)), shape=shape)
    joined = connected_components(joins, directed=False)[1]
    _, first_name = np.unique(joined[: len(names)], return_index=True)
    named = dict(zip(joined[first_name].tolist(), first_name.tolist(), strict=True))
    clusters = [names[named[component]] for component in joined[ends[:, 0]].tolist()]
    said: dict[str, _Line] = {}
    splits: dict[str, Split] = {}
    for line, cluster in zip(lines, clusters, strict=True):
        if line.split is None:
            continue
        other = said.setdefault(cluster, line)
        splits[cluster] = line.split
        if other.split != line.split:
            raise TaskError(
                f"line {line.number}: it is in the split '{line.split}', and line {other.number} of"
                f" the same text or cluster ({cluster}) in '{other.split}'; put both into one."
            )
    return tuple(
        (
            line.number,
            splits.get(cluster) or _split_of(cluster),
            # Mostly itself: a second copy of all examples would take as much memory as the first.
            line.example
            if line.example.cluster == cluster
            else replace(line.example, cluster=cluster),
        )
        for line, cluster in zip(lines, clusters, strict=True)
    )


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


def _read_line(line: bytes, task: str, where: str, number: int) -> _Line:
    fields = parse_json(line, _Fields, where=where, error=TaskError)
    texts = {key: getattr(fields, key) for key in TEXT_KEYS}
    given = {key: text for key, text in texts.items() if text is not UNSET}
    try:
        return _Line(
            number=number,
            split=None if fields.split is UNSET else fields.split,
            example=Example(
                id=f"{task}/{number}" if fields.id is UNSET else str(fields.id),
                task=task,
                spans=_spans(fields) or _NOTHING,
                facts=_NOTHING,
                cluster="" if fields.cluster is UNSET else str(fields.cluster),
                template="" if fields.template is UNSET else str(fields.template),
                **given,
            ),
        )
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None


_NOTHING: dict[str, Any] = {}
"""Of all examples together; a dictionary for each would be a tenth of what they take."""


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
