"""Run folders: each stage's results, whole or absent, with what they were made from.

One folder per stage and task:

    manifest.json        stage, config, hashes of the inputs, versions, SHA-256 of each file
    arrays.safetensors   every array, by name
    NAME.parquet         one per table
    NAME                 one per text

1. Everything is written to a hidden folder beside the final one, flushed to the disk, and renamed.
   So a folder under its final name is whole; what a killed run left is removed at the next write.
2. Nothing in it depends on the time, the machine or the path: the same inputs give the same bytes.
3. Pickle is never read or written.
4. A folder is not overwritten with other results, unless its writer makes them anew: `is_current`
   and `write_artifact` refuse, and name the settings that differ.

The inputs of a stage are named by `artifact_hash`, so a change upstream is noticed downstream.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mechshift.disk import disk_refusal, move_into_place, partial_folder, write_text
from mechshift.errors import ArtifactError
from mechshift.input_files import as_declared, is_file_name, read_json

FORMAT_VERSION = 2
"""Raised when a folder written before could no longer be read as it was meant."""

MANIFEST_NAME = "manifest.json"
ARRAYS_NAME = "arrays.safetensors"
TABLE_SUFFIX = ".parquet"

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_ABSENT = object()

_version = cache(version)  # a run asks for it at every folder that it opens


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of a folder, and what it was made from; all of it plain JSON values."""

    format_version: int
    stage: str
    """Which stage wrote it, for example `pool` or `scores`."""
    config: Mapping[str, Any]
    """Every setting that can change the result, seeds and model revisions included."""
    inputs: Mapping[str, str]
    """Name of each input (an earlier folder, a model) and its hash."""
    versions: Mapping[str, str]
    """Versions of Python and of the packages that can change a number."""
    files: Mapping[str, str]
    """Name of each other file in the folder and its SHA-256 in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One folder, read: its files agreed with the manifest when it was opened."""

    folder: Path
    manifest: Manifest
    arrays: "StoredArrays"
    """By name; each is read from the disk when it is asked for, and not kept."""
    texts: Mapping[str, str]
    """By file name, suffix included; tables are for users alone, and no stage reads one."""


def write_artifact(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    arrays: Mapping[str, np.ndarray] = _NOTHING,
    tables: Mapping[str, pl.DataFrame] = _NOTHING,
    texts: Mapping[str, str] = _NOTHING,
    replace: bool = False,
) -> None:
    """Write one stage's results, all or nothing.

    They are not read back: hashing what was just hashed would take as long as writing it.

    Args:
        folder: where; its parents are made.
        stage: the name that `read_artifact` will ask for.
        config: JSON values only (see `dataclasses.asdict`); what changes results, nothing else.
        inputs: name -> hash, for example from `artifact_hash`.
        arrays: any numeric or boolean dtype.
        tables: written as `NAME.parquet`.
        texts: written in UTF-8 under their names as they are, for example `examples.jsonl`.
        replace: whatever is there makes room, once all of the new is on the disk.

    Raises:
        ArtifactError: `folder` holds something else already, or the disk refuses.
    """
    made_from = _made_from(stage, config, inputs)
    with explained_refusal(folder), partial_folder(folder) as partial:
        _write_files(partial, arrays, tables, texts)
        files = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
        write_text(partial / MANIFEST_NAME, _manifest_text(made_from | {"files": files}))
        if replace:
            move_into_place(partial, folder, replace=True)
        else:
            _move_into_place(partial, folder)


def finish_artifact(
    growing: Path,
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    texts: Mapping[str, str],
) -> None:
    """Give a folder whose arrays lie in their file already (`ArrayFile`) all else, and its name.

    Until then it stays where it is, whatever happens, and can be finished again.

    Args:
        growing: the folder, on the same disk as its place.
        folder: its place.
        stage: as of `write_artifact`, like the rest.
        config: what decided the arrays.
        inputs: name -> hash.
        texts: by file name.

    Raises:
        ArtifactError: `folder` holds something else already, or the disk refuses.
    """
    made_from = _made_from(stage, config, inputs)
    with explained_refusal(folder):
        for name, text in texts.items():
            write_text(growing / name, text)
        names = sorted({ARRAYS_NAME, *texts})
        files = {name: file_hash(growing / name) for name in names}
        write_text(growing / MANIFEST_NAME, _manifest_text(made_from | {"files": files}))
        _move_into_place(growing, folder)


def read_artifact(folder: Path, *, stage: str) -> Artifact:
    """Open one folder, checking every file against its hash.

    Raises:
        ArtifactError: missing, damaged, of another stage, or written in another format.
    """
    manifest = read_manifest(folder)
    if manifest.stage != stage:
        raise ArtifactError(
            f"{folder} was written by stage '{manifest.stage}', not '{stage}';"
            f" give the folder of '{stage}'."
        )
    texts: dict[str, bytes] = {}
    for name, expected in manifest.files.items():
        if name.endswith(TABLE_SUFFIX):
            _check_file(folder, name, expected)
        elif name != ARRAYS_NAME:
            texts[name] = _checked_bytes(folder, name, expected)
    try:
        return Artifact(
            folder=folder,
            manifest=manifest,
            arrays=StoredArrays(folder, manifest.files.get(ARRAYS_NAME)),
            # From the bytes that were hashed.
            texts={name: content.decode("utf-8") for name, content in texts.items()},
        )
    except (SafetensorError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"{folder} holds what its manifest says, and is damaged all the same ({reason:.200});"
            " delete it and run again."
        ) from error


def is_current(
    folder: Path, *, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> bool:
    """Whether `folder` already holds what a stage would compute from these settings and inputs.

    False means that nothing is there yet. Results made with other settings, inputs or versions are
    refused, not recomputed: they may have cost days, and two kinds of numbers in one run folder
    would be worse than an error.

    Raises:
        ArtifactError: other or damaged results are there; the message names what differs.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    manifest = read_manifest(folder)
    _refuse_other(folder, manifest, _made_from(stage, config, inputs))
    _check_files(folder, manifest)
    return True


def is_written(folder: Path) -> bool:
    """Whether a folder holds results, whatever they were made from; they are not looked at."""
    return (folder / MANIFEST_NAME).is_file()


def artifact_hash(folder: Path) -> str:
    """SHA-256 of the manifest, and so of settings, inputs, versions and every file's hash."""
    read_manifest(folder)
    return file_hash(folder / MANIFEST_NAME)


def file_hash(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` without looking at the other files.

    Raises:
        ArtifactError: there is none, or it is not one that this version can read.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ArtifactError(
            f"{folder} holds no {MANIFEST_NAME}, so no stage of mechshift finished there;"
            " run that stage first, or give another folder."
        )
    advice = f"delete {folder} and run again"
    content: dict[str, Any] = read_json(path, dict[str, Any], error=ArtifactError, advice=advice)
    found = content.get("format_version")
    if found != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {found!r:.60}, and this mechshift reads {FORMAT_VERSION};"
            " use the mechshift that wrote it, or delete the folder and run again."
        )
    manifest: Manifest = as_declared(
        content, Manifest, where=str(path), error=ArtifactError, advice=advice
    )
    outside = [name for name in manifest.files if not is_file_name(name)]
    if outside:
        raise ArtifactError(f"{path} names files outside its folder: {outside[0]!r:.60}.")
    return manifest


def stored_setting(folder: Path, key: str, declared: Any) -> Any:
    """One of the settings that a folder was made with, as the type that they were stored from.

    Raises:
        ArtifactError: no stage finished there, or its manifest has no such setting.
    """
    return setting_in(read_manifest(folder), folder, key, declared)


def setting_in(manifest: Manifest, folder: Path, key: str, declared: Any) -> Any:
    """The same of a manifest that was read from `folder`."""
    return as_declared(
        manifest.config.get(key),
        declared,
        where=f"{folder / MANIFEST_NAME}, config.{key}",
        error=ArtifactError,
        advice=f"delete {folder} and run again",
    )


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of one safetensors file; per-example edge scores can be larger than memory.

    The file is hashed once, and an array is read when it is asked for: one that was written to in
    between is refused.
    """

    def __init__(self, folder: Path, expected: str | None) -> None:
        """`expected` is the file's SHA-256; None: the folder has no arrays."""
        self._path = folder / ARRAYS_NAME
        self._names: tuple[str, ...] = ()
        if expected is not None:
            _check_file(folder, ARRAYS_NAME, expected)
            self._state = _file_state(self._path)
            with safe_open(self._path, framework="numpy") as file:
                self._names = tuple(sorted(file.keys()))
                _check_types(folder, {n: file.get_slice(n).get_dtype() for n in self._names})

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(f"no array '{name}'; there are: {', '.join(self._names) or 'none'}.")
        return self.read([name])[name]

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Several arrays at once: each opening of the file reads the names of all."""
        wanted = list(names)
        if not wanted:
            return {}
        with safe_open(self._path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in wanted}
        if _file_state(self._path) != self._state:
            raise ArtifactError(
                f"{self._path} was written to while it was being read; let the other process end,"
                " then run again."
            )
        return arrays

    def __contains__(self, name: object) -> bool:
        return name in self._names  # a mapping's own way to tell would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _check_types(folder: Path, types: Mapping[str, str]) -> None:
    for name, stored in types.items():
        if stored not in _STORED_TYPES:
            raise ArtifactError(
                f"{folder} holds '{name:.60}' as {stored}, which no stage of mechshift writes;"
                " delete it and run again."
            )


_STORED_TYPES = (
    *("BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"),
    *("F16", "F32", "F64", "C64"),
)
"""Names in safetensors of the types that NumPy has, too."""


def _made_from(stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """The part of a manifest that is known before anything is computed, as JSON gives it back."""
    head = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "config": dict(config),
        "inputs": dict(inputs),
        "versions": package_versions(),
    }
    restored: dict[str, Any] = json.loads(_manifest_text(head))
    return restored


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number, as manifests have them."""
    packages = ("mechshift", "torch", "transformers", "numpy")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _manifest_text(content: Mapping[str, Any]) -> str:
    # NaN would not be JSON; a setting that is missing is None.
    return json.dumps(content, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _write_files(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, pl.DataFrame],
    texts: Mapping[str, str],
) -> None:
    names = [name + TABLE_SUFFIX for name in tables] + list(texts)
    reserved = {ARRAYS_NAME, MANIFEST_NAME}
    assert len({*names, *reserved}) == len(names) + 2, f"two files of one name among {names}"
    assert not any(text.endswith(TABLE_SUFFIX) for text in texts), "a table belongs in `tables`"
    if arrays:
        odd = {
            name: array.dtype for name, array in arrays.items() if array.dtype.kind not in "biufc"
        }
        assert not odd, f"only numbers are kept in arrays, not {odd}"
        # safetensors stores the buffer as it lies; without metadata its header is in one order.
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        save_file(contiguous, folder / ARRAYS_NAME)
        (folder / ARRAYS_NAME).chmod(0o644)  # safetensors makes it private
    for name, table in tables.items():
        # The chunks that a table was built from would show in the bytes.
        table.rechunk().write_parquet(folder / (name + TABLE_SUFFIX), compression="zstd")
    for name, text in texts.items():
        write_text(folder / name, text)


def _move_into_place(partial: Path, folder: Path) -> None:
    """Flush and rename; a folder that is there already must say the same."""
    if folder.is_dir() and any(folder.iterdir()):
        _refuse_other(folder, read_manifest(folder), asdict(read_manifest(partial)))
    else:
        move_into_place(partial, folder)


@contextmanager
def explained_refusal(folder: Path) -> Iterator[None]:
    """Turn the system's refusal (disk full, no permission, a file in the way) into one line."""
    try:
        yield
    except Exception as error:
        reason = disk_refusal(error)
        if reason is None:
            raise
        raise ArtifactError(
            f"cannot write {folder}: {reason}; free the disk or choose another"
            " folder, then run again: finished stages are kept."
        ) from error


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)


def _check_file(folder: Path, name: str, expected: str) -> None:
    """Hash a file that may be larger than memory."""
    _refuse_missing(folder, name)
    _refuse_changed(folder, name, file_hash(folder / name) == expected)


def _checked_bytes(folder: Path, name: str, expected: str) -> bytes:
    _refuse_missing(folder, name)
    content = (folder / name).read_bytes()
    _refuse_changed(folder, name, hashlib.sha256(content).hexdigest() == expected)
    return content


def _refuse_missing(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ArtifactError(f"{folder / name} is missing; delete {folder} and run again.")


def _refuse_changed(folder: Path, name: str, unchanged: bool) -> None:
    if not unchanged:
        raise ArtifactError(
            f"{folder / name} was changed after it was written (its SHA-256 differs from"
            f" {MANIFEST_NAME}); delete {folder} and run again."
        )


def _file_state(path: Path) -> tuple[int, int, int]:
    """Number, length and time of the last write of a file: no write leaves all as they were."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _refuse_other(folder: Path, there: Manifest, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder whose manifest differs in any part that `wanted` has."""
    before = _flat({key: value for key, value in asdict(there).items() if key in wanted})
    now = _flat(wanted)
    keys = sorted(before.keys() | now.keys())
    # An absent setting is not the same as one that is None.
    differing = [k for k in keys if before.get(k, _ABSENT) != now.get(k, _ABSENT)]
    if differing:
        shown = "; ".join(
            f"{k}: {_short(before, k)} there, {_short(now, k)} now" for k in differing
        )
        raise ArtifactError(
            f"{folder} was made with other settings ({shown}). Choose another run folder, or"
            " delete that one to compute it again."
        )


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; the value `{}` of an empty one is kept."""
    if not isinstance(value, Mapping) or (key and not value):
        return {key: value}
    dotted = [(f"{key}.{name}".lstrip("."), inner) for name, inner in value.items()]
    return {k: v for name, inner in dotted for k, v in _flat(inner, name).items()}


def _short(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "absent"
    return text if len(text) <= 40 else text[:18] + "..." + text[-18:]
