"""Files of arrays that are laid out first and filled in later, piece by piece, by any process.

1. Names, types and shapes of all arrays are known beforehand, and so is the place of every number.
2. The whole file is reserved on the disk, as zeros, before anything is written to it: a full disk
   refuses it at once, in an error of its own.
3. Rows are written straight to their place and flushed, so nothing is copied again.

Once filled, it holds the bytes that safetensors would have written of the same arrays.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mechshift.disk import flush

DTYPES = {"int64": "I64", "float64": "F64", "float32": "F32"}
"""NumPy's name and safetensors' name of a type, in the order in which arrays of them lie."""


class ArrayShape(NamedTuple):
    """Shape and type of an array that is still to be filled."""

    dtype: str
    """NumPy's name of it, a key of `DTYPES`."""
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class Rows(NamedTuple):
    """Consecutive rows of one of the arrays."""

    name: str
    first: int
    number: int


class ArrayFile:
    """A safetensors file of known layout."""

    def __init__(self, path: Path, arrays: Mapping[str, ArrayShape]) -> None:
        """`arrays` by name; nothing is written yet."""
        self.path, self.arrays = path, arrays
        self._start: dict[str, int] = {}
        listed, end = {}, 0
        order = list(DTYPES)
        for name in sorted(arrays, key=lambda one: (order.index(arrays[one].dtype), one)):
            dtype, shape = arrays[name]
            begin, end = end, end + arrays[name].num_bytes
            listed[name] = {
                "dtype": DTYPES[dtype],
                "shape": list(shape),
                "data_offsets": [begin, end],
            }
            self._start[name] = begin
        header = json.dumps(listed, separators=(",", ":"), ensure_ascii=False).encode()
        header += b" " * (-len(header) % 8)
        self._head = len(header).to_bytes(8, "little") + header
        self._size = len(self._head) + end

    def reserve(self) -> None:
        """Make the file, of zeros, unless it is there already.

        Raises:
            OSError: the disk has no room, or the system refuses.
        """
        if self._is_there():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            with partial.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self._size)
                file.truncate(self._size)
                file.write(self._head)
            flush(partial)
            partial.replace(self.path)
            flush(self.path.parent)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _is_there(self) -> bool:
        if not self.path.is_file() or self.path.stat().st_size != self._size:
            return False
        with self.path.open("rb") as file:
            return file.read(len(self._head)) == self._head

    def write(self, name: str, first: int, rows: np.ndarray) -> None:
        """Write consecutive rows; where they are shorter along their first axis, zeros stay behind.

        `flush` says when they are on the disk.
        """
        dtype, shape = self.arrays[name]
        assert str(rows.dtype) == dtype
        assert rows.shape[2:] == shape[2:]
        assert first + len(rows) <= shape[0]
        size = prod(shape[1:]) * rows.itemsize
        whole = rows.shape[1:] == shape[1:]
        assert whole or rows.shape[1] < shape[1]
        with self.path.open("r+b") as file:
            for number, part in [(0, rows)] if whole else enumerate(rows):
                file.seek(len(self._head) + self._start[name] + (first + number) * size)
                file.write(np.ascontiguousarray(part).data.cast("B"))

    def flush(self) -> None:
        """Wait until all that was written is on the disk."""
        flush(self.path)

    def read(self) -> dict[str, np.ndarray]:
        """The arrays as they are now; they stay in the file and are paged in as they are read."""
        return {
            name: np.memmap(
                self.path, dtype, "r", offset=len(self._head) + self._start[name], shape=shape
            )
            for name, (dtype, shape) in self.arrays.items()
        }

    def digest(self, places: Sequence[Rows]) -> str:
        """SHA-256 of some rows as they are in the file, in hexadecimal."""
        found, arrays = hashlib.sha256(), self.read()
        for name, first, number in places:
            for row in arrays[name][first : first + number]:
                found.update(np.ascontiguousarray(row).data)
        return found.hexdigest()
