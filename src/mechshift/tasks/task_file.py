"""Task files: a user's own task, one JSON object per line.

Every line is checked before any model is loaded, then again at token level for the tokenizer at
hand; the first bad line is named with its number. The file is UTF-8; blank lines are skipped. The
keys are those of `Example`:

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

import codecs
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes
from mechshift.tasks.example import SPLITS, Example, Split
from mechshift.tasks.sampling import split_of

REQUIRED_KEYS = ("prompt", "target", "distractor", "corrupted_prompt")
TEXT_KEYS = (
    *REQUIRED_KEYS,
    "suffix",
    "corrupted_suffix",
    "causal_prompt",
    "corrupted_causal_prompt",
)
COMPANIONS = {
    "suffix": ("corrupted_suffix", "causal_prompt"),
    "corrupted_suffix": ("suffix",),
    "causal_prompt": ("corrupted_causal_prompt",),
    "corrupted_causal_prompt": ("causal_prompt",),
}
"""Key to the keys that must be given with it."""
KNOWN_KEYS = ("id", *TEXT_KEYS, "spans", "split", "cluster", "template")


@dataclass(frozen=True)
class TaskFile:
    """A task whose examples stand in a JSONL file; made by `load_task_file`."""

    name: str
    path: Path
    examples: tuple[tuple[int, Split, Example], ...]
    """Line number, split and example."""
    metric: str = "logit_diff"
    sha256: str = ""
    """Of the bytes that were read; empty for a task that was rebuilt from a stored pool."""

    @property
    def summary(self) -> str:
        return f"{len(self.examples)} examples from {self.path}"

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
        # All of them: a bad held-out line should not wait until discovery is done.
        for line, _, example in self.examples:
            try:
                check_encodes(self, example, tokenizer)
            except TaskError as error:
                raise TaskError(f"{self.path}, line {line}: {error}") from None
        wanted = [name for name in self.templates if name in templates] or self.templates
        return [
            example
            for _, own, example in self.examples
            if own == split and (example.template in wanted or not example.template)
        ][:num_examples]

    def is_correct(self, example: Example, completion: str) -> bool:
        return completion.strip() == example.target.strip()

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        return None


def load_task_file(path: Path) -> TaskFile:
    """Reads and checks a task file; the task is called by the file's name without its ending.

    Raises:
        TaskError: the file cannot be read, or a line is not as the schema says.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read the task file {path}: {error.strerror}.") from None
    read: list[_Line] = []
    first_line: dict[str, int] = {}
    # Editors on Windows begin UTF-8 files with a byte order mark.
    lines = raw.removeprefix(codecs.BOM_UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = _read_line(line, path.stem, number)
            example = one.example
            if example.id in first_line:
                raise TaskError(
                    f"the id '{example.id}' is already that of line {first_line[example.id]};"
                    " give every example its own."
                )
        except TaskError as error:
            raise TaskError(f"{path}, line {number}: {error}") from None
        first_line[example.id] = number
        read.append(one)
    if not read:
        raise TaskError(f"{path} holds no examples; write one JSON object per line.")
    digest = hashlib.sha256(raw).hexdigest()
    try:
        examples = _clustered(read)
    except TaskError as error:
        raise TaskError(f"{path}, {error}") from None
    return TaskFile(name=path.stem, path=path, examples=examples, sha256=digest)


@dataclass(frozen=True, kw_only=True)
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
    # Lines that share a text, and then all that share a cluster with one of them, are joined.
    names = sorted({line.cluster for line in lines})
    name_at = {name: place for place, name in enumerate(names)}
    text_at = {line.text: place for place, line in enumerate(lines)}
    pairs = [(name_at[line.cluster], text_at[line.text]) for line in lines]
    shape = (len(names), len(lines))
    holds = sparse.csr_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=shape)
    joined = connected_components(holds @ holds.T, directed=False)[1]
    clusters = [names[int(np.argmax(joined == joined[name]))] for name, _ in pairs]
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
            replace(line.example, cluster=cluster),
        )
        for line, cluster in zip(lines, clusters, strict=True)
    )


def _split_of(cluster: str) -> Split:
    """Without a word from the user, four of ten clusters are kept for testing."""
    return "held-out" if split_of(cluster) != "train" else "discovery"


def _read_line(line: bytes, task: str, number: int) -> _Line:
    fields = _parse(line)
    unknown = sorted(set(fields) - set(KNOWN_KEYS))
    if unknown:
        raise TaskError(f"unknown key '{unknown[0]}'; known are {', '.join(KNOWN_KEYS)}.")
    missing = [key for key in REQUIRED_KEYS if key not in fields]
    if missing:
        raise TaskError(f"the key '{missing[0]}' is missing.")
    for key in TEXT_KEYS:
        if key in fields:
            _check_text(key, fields[key])
    for key in ("target", "distractor"):
        if not fields[key].strip():
            raise TaskError(f"the {key} is empty; give the text that the model should produce.")
    for key, companions in COMPANIONS.items():
        for companion in companions:
            if key in fields and companion not in fields:
                raise TaskError(f"'{key}' needs '{companion}' beside it.")
    identity = fields.get("id", f"{task}/{number}")
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise TaskError(f"'id' must be text or a number, not {json.dumps(identity)[:40]}.")
    example = Example(
        id=str(identity), task=task, **{key: fields[key] for key in TEXT_KEYS if key in fields}
    )
    return _Line(
        number=number,
        split=_split(fields),
        example=replace(
            example,
            spans=_spans(fields, example),
            cluster=_name(fields, "cluster"),
            template=_name(fields, "template"),
        ),
    )


def _name(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key, "")
    if key in fields and (
        isinstance(value, bool) or not isinstance(value, str | int) or value == ""
    ):
        raise TaskError(f"'{key}' must be text or a number, not {json.dumps(value)[:40]}.")
    return str(value)


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise TaskError(f"'{key}' must be text, not {json.dumps(value)[:40]}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TaskError(
            f"'{key}' holds half of a character, {value[error.start]!a}; write it whole."
        ) from None


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise TaskError(
            f"byte {error.start} is not UTF-8; save the file with that encoding."
        ) from None
    except json.JSONDecodeError as error:
        raise TaskError(f"not valid JSON: {error.msg} at column {error.colno}.") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"not readable as JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise TaskError('a line must be a JSON object, like {"prompt": ...}.')
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TaskError(f"the key '{twice}' stands twice; keep one.")
    return fields


def _split(fields: dict[str, Any]) -> Split | None:
    if "split" not in fields:
        return None
    for split in SPLITS:
        if fields["split"] == split:
            return split
    raise TaskError(f"'split' is {json.dumps(fields['split'])}; it must be one of {SPLITS}.")


def _spans(fields: dict[str, Any], example: Example) -> dict[str, tuple[int, int]]:
    text = example.prompt + example.target + example.suffix
    spans = fields.get("spans", {})
    if not isinstance(spans, dict):
        raise TaskError("'spans' must be an object of names and words or [start, end] pairs.")
    found = {}
    for name, where in spans.items():
        match where:
            case str() if where and where in text:
                start = text.index(where)
                found[name] = (start, start + len(where))
            case [int(start), int(end)] if 0 <= start < end <= len(text):
                found[name] = (start, end)
            case _:
                raise TaskError(
                    f"span '{name}' is {json.dumps(where)[:40]}; give a word that stands in prompt,"
                    f" target or suffix, or [start, end] within their {len(text)} characters."
                )
    return found
