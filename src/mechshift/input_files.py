"""Input files: what a user, another program or an earlier run wrote, checked once where it enters.

1. A regular file is read, up to a stated size: a pipe may never end, and a device never does.
2. JSON is UTF-8 and says each key once; no string holds half of a character, since it could be
   neither written nor shown again.
3. The value is of the type that the reader declares (msgspec, strict): a record of these keys and
   no others, or, for a format that is not ours, a `msgspec.Struct` of the keys that are read.

A refusal is one line that names the file, the key, and what was expected there.
"""

import dataclasses
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from mechshift.errors import MechshiftError

MAX_JSON_BYTES = 2**28
"""Largest JSON file that is read; vocabularies and indices of the largest models are a tenth."""

MAX_SHOWN = 300
"""Characters of a refusal's reason: keys of a damaged file may be of any length."""


def check_regular(path: Path, max_bytes: int, *, error: type[MechshiftError]) -> None:
    """Refuse, before it is opened, what is no regular file of at most so many bytes.

    Raises:
        MechshiftError: of the type `error`; also where the system refuses.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as refusal:  # ValueError: NUL in the name
        raise _unread(path, refusal, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise error(f"cannot read {path}: Is a directory.")
    if not stat.S_ISREG(found.st_mode):
        raise error(f"cannot read {path}: it is a pipe or a device; give a regular file.")
    if found.st_size > max_bytes:
        raise error(
            f"cannot read {path}: it has {found.st_size:,} bytes, and at most {max_bytes:,} are"
            " read."
        )


def is_file_name(name: str) -> bool:
    """Whether a name that a file states can be that of a file in the same folder."""
    return Path(name).name == name and "\0" not in name and len(os.fsencode(name)) < 256


def read_bytes(path: Path, max_bytes: int, *, error: type[MechshiftError]) -> bytes:
    """All of a regular file.

    Raises:
        MechshiftError: as `check_regular`.
    """
    check_regular(path, max_bytes, error=error)
    try:
        return path.read_bytes()
    except OSError as refusal:
        raise _unread(path, refusal, error) from None


def read_lines(
    path: Path, max_bytes: int, max_line_bytes: int, *, error: type[MechshiftError]
) -> Iterator[tuple[int, bytes]]:
    """The lines of a regular file, one after the other, with their numbers from 1 on.

    Args:
        path: of at most `max_bytes`.
        max_bytes: size of the largest file that is read.
        max_line_bytes: the longest line that is read; no more than that of one is in memory.
        error: what is raised.

    Raises:
        MechshiftError: as `check_regular`; or a longer line.
    """
    check_regular(path, max_bytes, error=error)
    try:
        with path.open("rb") as file:
            for number in count(1):
                line = file.readline(max_line_bytes + 1)
                if not line:
                    return
                if len(line) > max_line_bytes:
                    raise error(
                        f"{path}, line {number}: it has more than {max_line_bytes:,} bytes; write"
                        " one object a line, or shorter texts."
                    )
                yield number, line
    except OSError as refusal:
        raise _unread(path, refusal, error) from None


def read_json(path: Path, declared: Any, *, error: type[MechshiftError], advice: str = "") -> Any:
    """The value in a JSON file, as the type that is declared.

    Args:
        path: of at most `MAX_JSON_BYTES`.
        declared: what the file must hold: any type that msgspec knows, such as a record's.
        error: what is raised.
        advice: what to do about a file that does not hold it; ends the message.

    Raises:
        MechshiftError: of the type `error`; no such file, or it holds something else.
    """
    content = read_bytes(path, MAX_JSON_BYTES, error=error)
    return parse_json(content, declared, where=str(path), error=error, advice=advice)


def parse_json(
    content: bytes,
    declared: Any,
    *,
    where: str,
    error: type[MechshiftError],
    advice: str = "",
) -> Any:
    """The value that these bytes are the JSON of.

    Args:
        content: a whole file, or a line of one.
        declared: its type.
        where: which file and line, to begin messages with.
        error: what is raised.
        advice: as in `read_json`.

    Raises:
        MechshiftError: of the type `error`; not JSON, or of another type.
    """
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark.
        text = content.decode("utf-8-sig").rstrip()
        value = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text or "\\uD" in text:
            _check_characters(value)
    except UnicodeDecodeError as reason:
        refusal = f"byte {reason.start} is not UTF-8; save the file with that encoding"
    except json.JSONDecodeError as reason:
        line = f"line {reason.lineno}, " if reason.lineno > 1 else ""
        refusal = f"not valid JSON: {reason.msg} at {line}column {reason.colno}"
    except (_Odd, ValueError) as reason:
        refusal = str(reason)
    except RecursionError:
        refusal = "its lists and objects are nested too deeply"
    else:
        return as_declared(value, declared, where=where, error=error, advice=advice)
    raise error(_message(where, refusal, advice))


def as_declared(
    value: Any,
    declared: Any,
    *,
    where: str,
    error: type[MechshiftError],
    advice: str = "",
) -> Any:
    """A parsed JSON value as the type that is declared: lists become tuples, objects records.

    Arguments and errors as in `parse_json`. A record's own refusals become one of `error` too.
    """
    try:
        if dataclasses.is_dataclass(declared) and isinstance(value, dict):
            _check_keys(value, [field.name for field in dataclasses.fields(declared)])
        return msgspec.convert(value, declared, str_keys=True)
    except msgspec.ValidationError as reason:
        what, _, place = str(reason).partition(" - at `")
        place = place.removeprefix("$").removesuffix("`").removeprefix(".")
        for theirs, ours in _WORDS:
            what = re.sub(theirs, ours, what)
        refusal = f"{_named(place, value, declared)}: {what}" if place else what
    except (_Odd, MechshiftError) as reason:
        refusal = str(reason)
    except RecursionError:
        refusal = "its lists and objects are nested too deeply"
    raise error(_message(where, refusal, advice))


_WORDS = (
    ("^Object missing required field `(.*)`", r"the key '\1' is missing"),
    ("^Object contains unknown field `(.*)`", r"unknown key '\1'"),
    ("^Invalid enum value", "unknown word"),
    ("^Expected", "expected"),
)
"""msgspec's words, which are those of other formats, and ours."""


class _Odd(Exception):
    """Content that JSON allows and we do not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Odd(f"the key {twice!r:.60} stands twice; keep one")
    return found


def _check_characters(value: Any) -> None:
    for key, text in _strings(value, ""):
        try:
            text.encode()
        except UnicodeEncodeError as reason:
            half = text[reason.start]
            raise _Odd(f"'{key}' holds half of a character, {half!a}; write it whole") from None


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every string in a value with the key at which it stands."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield "a key", key
            yield from _strings(item, f"{place}.{key}".lstrip("."))


def _check_keys(value: dict[str, Any], known: list[str]) -> None:
    if unknown := [key for key in value if key not in known]:
        raise _Odd(f"unknown key {unknown[0]!r:.60}; known are {', '.join(known)}")


def _named(place: str, value: Any, declared: Any) -> str:
    """The place of what does not fit, with its key where msgspec writes `[...]` for it."""
    before, unnamed, after = place.partition("[...]")
    if not unnamed or " in " in place:
        return place
    steps: list[str | int] = [
        int(step) if step.isdigit() else step for step in re.findall(r"\w+", before)
    ]
    mapping = value
    for step in steps:
        mapping = mapping[step]
    items = list(mapping.items())
    while len(items) > 1:  # of two halves at least one does not fit by itself
        half = items[: len(items) // 2]
        fits = _fits(_replaced(value, steps, dict(half)), declared)
        items = items[len(half) :] if fits else half
    return f"{before}[{items[0][0]!r:.60}]{after}"


def _fits(value: Any, declared: Any) -> bool:
    try:
        msgspec.convert(value, declared, str_keys=True)
    except (msgspec.ValidationError, MechshiftError):
        return False
    return True


def _replaced(value: Any, steps: list[str | int], new: Any) -> Any:
    """A value with another one at the end of these keys; the given one stays as it is."""
    if not steps:
        return new
    copy = value.copy()
    copy[steps[0]] = _replaced(value[steps[0]], steps[1:], new)
    return copy


def _unread(
    path: Path, refusal: OSError | ValueError, error: type[MechshiftError]
) -> MechshiftError:
    return error(f"cannot read {path}: {getattr(refusal, 'strerror', None) or refusal}.")


def _message(where: str, refusal: str, advice: str) -> str:
    """One line, whatever characters the file's keys have."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in refusal[:MAX_SHOWN])
    end = f"; {advice}." if advice else "."
    return f"{f'{where}: ' if where else ''}{shown.removesuffix('.')}{end}"
