"""Task files: a user's own task, one JSON object per line.

Every line is checked before any model is loaded, then again at token level for the tokenizer at
hand; the first bad line is named with its number. The file is UTF-8; blank lines are skipped. The
keys are those of `Example`:

    required  prompt, target, distractor, corrupted_prompt
    optional  id, suffix, corrupted_suffix, causal_prompt, corrupted_causal_prompt,
              spans ({"name": "a word of the text"} or {"name": [start, end]}), split

A suffix needs its corrupted one, and both causal prompts, which an autoregressive model reads.
"""

import codecs
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
KNOWN_KEYS = ("id", *TEXT_KEYS, "spans", "split")


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

    def generate(
        self, tokenizer: PreTrainedTokenizerBase, *, split: Split, num_examples: int, seed: int
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
        return [example for _, own, example in self.examples if own == split][:num_examples]

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
    examples: list[tuple[int, Split, Example]] = []
    first_line: dict[str, int] = {}
    # Editors on Windows begin UTF-8 files with a byte order mark.
    lines = raw.removeprefix(codecs.BOM_UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            split, example = _read_line(line, path.stem, number)
            if example.id in first_line:
                raise TaskError(
                    f"the id '{example.id}' is already that of line {first_line[example.id]};"
                    " give every example its own."
                )
        except TaskError as error:
            raise TaskError(f"{path}, line {number}: {error}") from None
        first_line[example.id] = number
        examples.append((number, split, example))
    if not examples:
        raise TaskError(f"{path} holds no examples; write one JSON object per line.")
    digest = hashlib.sha256(raw).hexdigest()
    return TaskFile(name=path.stem, path=path, examples=tuple(examples), sha256=digest)


def _read_line(line: bytes, task: str, number: int) -> tuple[Split, Example]:
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
    return _split(fields, example), replace(example, spans=_spans(fields, example))


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


def _split(fields: dict[str, Any], example: Example) -> Split:
    if "split" not in fields:
        # Without a word from the user, four of ten lines are kept for testing.
        return "held-out" if split_of(example.id) != "train" else "discovery"
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
