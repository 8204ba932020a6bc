"""Records in folders: nested dataclasses as named arrays and JSON values, and back.

A folder of a run (`artifacts`) holds the arrays in `arrays.safetensors`, and all else in
`values.json`. Works for any nesting of dataclasses whose leaves are NumPy arrays, numbers, strings,
None, and tuples, lists and mappings of these.

1. A nested record's name is joined with a dot: `overlap.edges.value`. It may be optional, declared
   `Record | None`; None is kept under its own name.
2. A tuple of records is one JSON list, with the JSON values of each record as an object. Arrays of
   such records are named after their places: `points.0.scores`.
3. A mapping of names to records is one JSON object of such objects, in the mapping's order, and
   arrays are named after its keys: `by_owner.arm.metric`.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jaxtyping
import numpy as np
import polars as pl
from jaxtyping import jaxtyped
from safetensors import safe_open

from mechshift.artifacts import ARRAYS_NAME, read_artifact
from mechshift.errors import ArtifactError, MechshiftError
from mechshift.input_files import MAX_SHOWN, as_declared, parse_json

Record = TypeVar("Record")

JsonValue = Any
"""Value that `json.dumps` writes: None, bool, int, float, str, or lists and objects of these."""

RECORD_VALUES = "values.json"
"""Holds what of a record is no array."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatRecord:
    """A record taken apart."""

    arrays: Mapping[str, np.ndarray]
    scalars: Mapping[str, JsonValue]


def to_flat(record: Any) -> FlatRecord:
    """Take a record of dataclasses apart into arrays and JSON values."""
    arrays: dict[str, np.ndarray] = {}
    scalars: dict[str, JsonValue] = {}
    _collect(record, "", arrays, scalars)
    return FlatRecord(arrays=arrays, scalars=scalars)


def from_flat(record_type: type[Record], flat: FlatRecord) -> Record:
    """Rebuild a record from its parts.

    Raises:
        ArtifactError: a part is missing, or one is left over.
    """
    unused = {*flat.arrays, *flat.scalars}
    record = _build(record_type, "", flat, unused)
    if unused:
        raise ArtifactError(
            f"stored {record_type.__name__} holds unknown parts {sorted(unused)}; it was written by"
            " another version. Delete its folder and run its stage again."
        )
    return record


@dataclass(frozen=True, kw_only=True, eq=False)
class Files:
    """Files of one folder, as `write_artifact` takes them."""

    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def record_files(record: Any) -> Files:
    """A record of dataclasses as arrays and one JSON text; files are given back as they are."""
    if isinstance(record, Files):
        return record
    flat = to_flat(record)
    # In the order of the fields: a mapping is read back in the order in which it stands here.
    return Files(
        arrays=flat.arrays, texts={RECORD_VALUES: json.dumps(flat.scalars, indent=2) + "\n"}
    )


def read_record(record_type: type[Record], folder: Path, *, stage: str) -> Record:
    """A record that was stored as `record_files` says.

    Args:
        record_type: what was stored.
        folder: where.
        stage: under which name it was written.

    Raises:
        ArtifactError: missing, damaged, or written by another version.
    """
    artifact = read_artifact(folder, stage=stage)
    if RECORD_VALUES not in artifact.texts:
        raise ArtifactError(
            f"{folder} holds no {RECORD_VALUES}, so another version of mechshift wrote it; delete"
            " it and run its stage again."
        )
    fields = dataclasses.fields(record_type)  # type: ignore[arg-type]
    in_file = {one.name for one in fields if _IN_FILE in one.metadata} & {*artifact.arrays}
    arrays = artifact.arrays.read(name for name in artifact.arrays if name not in in_file)
    if in_file:
        # Of safetensors' readers only torch's maps a file instead of copying it.
        with safe_open(folder / ARRAYS_NAME, framework="pt") as file:
            arrays |= {name: file.get_tensor(name).numpy() for name in in_file}
    scalars: dict[str, Any] = parse_json(
        artifact.texts[RECORD_VALUES].encode(),
        dict[str, Any],
        where=str(folder / RECORD_VALUES),
        error=ArtifactError,
        advice="delete its folder and run its stage again",
    )
    try:
        return from_flat(record_type, FlatRecord(arrays=arrays, scalars=scalars))
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


def _collect(
    record: Any, prefix: str, arrays: dict[str, np.ndarray], scalars: dict[str, JsonValue]
) -> None:
    for field in dataclasses.fields(record):
        name, value = prefix + field.name, getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            _collect(value, name + ".", arrays, scalars)
        elif isinstance(value, np.ndarray):
            arrays[name] = np.ascontiguousarray(value)
        elif _holds_records(value):
            items = {key: to_flat(item) for key, item in _items(value)}
            for key, item in items.items():
                arrays |= {f"{name}.{key}.{inner}": one for inner, one in item.arrays.items()}
            values = {key: item.scalars for key, item in items.items()}
            scalars[name] = values if isinstance(value, Mapping) else list(values.values())
        else:
            scalars[name] = _as_json(value)


def _holds_records(value: Any) -> bool:
    if not isinstance(value, tuple | Mapping):
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    return any(dataclasses.is_dataclass(item) for item in inner)


def _items(collection: Any) -> list[tuple[str, Any]]:
    """What a tuple, list or mapping holds, by the names that arrays in it bear."""
    if isinstance(collection, Mapping):
        return list(collection.items())
    return [(str(index), item) for index, item in enumerate(collection)]


def _as_json(value: Any) -> JsonValue:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple | list) else value


def _build(record_type: type[Record], prefix: str, flat: FlatRecord, unused: set[str]) -> Record:
    hints = typing.get_type_hints(record_type)
    values: dict[str, Any] = {}
    arrays: dict[str, tuple[np.ndarray, Any]] = {}
    for field in dataclasses.fields(record_type):  # type: ignore[arg-type]
        name, hint = prefix + field.name, hints[field.name]
        nested = _record_type(hint)
        if _ADDED_LATER in field.metadata and not _is_stored(name, flat):
            continue
        left_out = type(None) in _options(hint) and flat.scalars.get(name, nested) is None
        if nested is not None and not left_out:
            values[field.name] = _build(nested, name + ".", flat, unused)
            continue
        unused.discard(name)
        where = f"stored {record_type.__name__}, '{name}'"
        item_type = _record_type(_item_hint(hint))
        if name in flat.arrays:
            values[field.name] = flat.arrays[name]
            arrays[name] = flat.arrays[name], hint
        elif name not in flat.scalars:
            raise ArtifactError(
                f"stored {record_type.__name__} lacks '{name}'; delete its folder and run its stage"
                " again."
            )
        elif item_type is not None and flat.scalars[name] is not None:
            values[field.name] = _build_items(item_type, name, hint, flat, unused, where)
        else:
            values[field.name] = _declared(flat.scalars[name], _without_arrays(hint), where)
    _check_arrays(arrays, f"stored {record_type.__name__}")
    try:
        return record_type(**values)
    except (AssertionError, MechshiftError) as error:  # each alone is right, and not together
        raise ArtifactError(
            f"stored {record_type.__name__} is damaged: {str(error)[:MAX_SHOWN].removesuffix('.')}"
            f"; {_ADVICE}."
        ) from error


def added_later() -> Any:
    """Default of a field that a record came to have after some were stored: they read without it.

    Of any other field, also one with a default, a stored record must hold something (None where it
    has none), so that what an earlier version left out is not taken for what was found empty.
    """
    return dataclasses.field(default=None, metadata={_ADDED_LATER: True})


_ADDED_LATER, _IN_FILE = "added later", "in file"

KEPT_IN_FILE: Mapping[str, bool] = {_IN_FILE: True}
"""Metadata of a record's array that may exceed memory: when it is read it stays in its file, and is
paged in as it is looked at. Changes to it do not reach the file."""


def _is_stored(name: str, flat: FlatRecord) -> bool:
    """Whether anything stands under this name."""
    return any(
        stored == name or stored.startswith(f"{name}.") for stored in (*flat.scalars, *flat.arrays)
    )


_ADVICE = "delete its folder and run its stage again"


def _declared(value: JsonValue, hint: Any, where: str) -> Any:
    return as_declared(value, hint, where=where, error=ArtifactError, advice=_ADVICE)


def _check_arrays(arrays: Mapping[str, tuple[np.ndarray, Any]], what: str) -> None:
    """Refuse arrays of another kind or of other axes than a record's fields declare (jaxtyping).

    An axis that several fields name is as long in all of them.

    Args:
        arrays: each with what its field declares, by name.
        what: whose they are, to begin a message with.
    """
    with jaxtyped("context"):
        for name, (array, hint) in arrays.items():
            if not any(isinstance(array, one) for one in _options(hint) if isinstance(one, type)):
                raise ArtifactError(
                    f"{what}, '{name}': an array of {array.dtype} {list(array.shape)} is none of"
                    f" {hint} with axes as long as in the other arrays; {_ADVICE}."
                )


def _without_arrays(hint: Any) -> Any:
    """What JSON may hold of a field; arrays are stored elsewhere."""
    kept = [o for o in _options(hint) if not (isinstance(o, type) and _is_array(o))]
    return typing.Union[*kept] if kept else types.NoneType


def _is_array(option: type) -> bool:
    return issubclass(option, np.ndarray | jaxtyping.AbstractArray)


def _build_items(
    item_type: type, name: str, hint: Any, flat: FlatRecord, unused: set[str], where: str
) -> Any:
    """The tuple or mapping of records whose JSON values stand under `name`."""
    by_name = any(typing.get_origin(option) is Mapping for option in _options(hint))
    shape = dict[str, dict[str, Any]] if by_name else list[dict[str, Any]]
    stored = _declared(flat.scalars[name], shape, where)
    items: dict[str, Any] = {}
    for key, scalars in _items(stored):
        start = f"{name}.{key}."
        own = [array for array in flat.arrays if array.startswith(start)]
        arrays = {array.removeprefix(start): flat.arrays[array] for array in own}
        items[key] = from_flat(item_type, FlatRecord(arrays=arrays, scalars=scalars))
        unused.difference_update(own)
    return items if isinstance(stored, Mapping) else tuple(items.values())


def _record_type(hint: Any) -> type | None:
    """The dataclass that a field declares, optional or not; None for any other field."""
    for option in _options(hint):
        if dataclasses.is_dataclass(option):
            return typing.cast(type, option)
    return None


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _item_hint(hint: Any) -> Any:
    """What a field declares of the items of its tuple or mapping; None for any other field."""
    for option in _options(hint):
        arguments = typing.get_args(option)
        if typing.get_origin(option) is tuple and arguments[1:] == (Ellipsis,):
            return arguments[0]
        if typing.get_origin(option) is Mapping:
            return arguments[1]
    return None
