"""Records as named arrays and JSON values, and back, so that a run folder can hold them.

Works for any nesting of dataclasses whose leaves are NumPy arrays, numbers, strings, None and
tuples of these. A nested field's name is joined with a dot: `overlap.edges.value`. A nested record
may be optional, declared `Record | None`; None is kept under its own name.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from mechshift.errors import ArtifactError

Record = TypeVar("Record")

JsonValue = Any
"""What `json.dumps` writes: None, bool, int, float, str, or a list of these."""


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


def _collect(
    record: Any, prefix: str, arrays: dict[str, np.ndarray], scalars: dict[str, JsonValue]
) -> None:
    for field in dataclasses.fields(record):
        name, value = prefix + field.name, getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            _collect(value, name + ".", arrays, scalars)
        elif isinstance(value, np.ndarray):
            arrays[name] = np.ascontiguousarray(value)
        else:
            scalars[name] = list(value) if isinstance(value, tuple) else value


def _build(record_type: type[Record], prefix: str, flat: FlatRecord, unused: set[str]) -> Record:
    hints = typing.get_type_hints(record_type)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(record_type):  # type: ignore[arg-type]
        name, hint = prefix + field.name, hints[field.name]
        nested = _record_type(hint)
        left_out = type(None) in _options(hint) and flat.scalars.get(name, nested) is None
        if nested is not None and not left_out:
            values[field.name] = _build(nested, name + ".", flat, unused)
            continue
        unused.discard(name)
        if name in flat.arrays:
            values[field.name] = flat.arrays[name]
        elif name in flat.scalars:
            values[field.name] = _as_declared(flat.scalars[name], hint)
        else:
            raise ArtifactError(
                f"stored {record_type.__name__} lacks '{name}'; delete its folder and run its stage"
                " again."
            )
    return record_type(**values)


def _record_type(hint: Any) -> type | None:
    """The dataclass that a field declares, optional or not; None for any other field."""
    for option in _options(hint):
        if dataclasses.is_dataclass(option):
            return typing.cast(type, option)
    return None


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _as_declared(value: JsonValue, hint: Any) -> Any:
    """JSON has no tuples and no integer-valued floats; give back what the field declares."""
    if isinstance(value, list):
        return tuple(value)
    if float in _options(hint) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
