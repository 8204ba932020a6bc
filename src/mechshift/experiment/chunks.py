"""How is a record of many examples made, so that a killed run loses at most one chunk of them?

1. The examples are cut into chunks; each chunk's record is saved before the next is begun.
2. Once all are there, they are joined, and the joined record replaces them.

A chunk that was saved is not made again, and the joined record holds the same bytes either way.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mechshift.artifacts import is_current, write_artifact
from mechshift.attribution import chunk_canvases
from mechshift.denoising import Canvas
from mechshift.progress import Advance, progress_bar

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class ChunkedRecord(Generic[Record]):
    """One kind of record, and what can be done with it."""

    title: str
    """What is being done, for the progress bar."""
    make: Callable[[list[Canvas], Advance], Record]
    """From all canvases of consecutive examples."""
    contents: Callable[[Record], Mapping[str, Any]]
    """Arrays, tables and texts, as `write_artifact` takes them."""
    read: Callable[[Path], Record]
    join: Callable[[Sequence[Record], Path], Record]
    """Records of consecutive chunks; what is too large for memory may lie in a file in the folder
    that is given, until the joined record is written."""


def write_in_chunks(
    folder: Path,
    made_from: Mapping[str, Any],
    canvases: Sequence[Canvas],
    record: ChunkedRecord[Record],
    *,
    chunk_size: int,
    quiet: bool,
) -> None:
    """Write the record of all examples to `folder`, unless it is there already.

    Args:
        folder: of the whole record; its chunks lie beside it until it is written.
        made_from: stage, config and inputs, as `is_current` takes them; the chunks' are the same.
        canvases: of all examples, in pool order.
        record: how it is made, stored and joined.
        chunk_size: examples in a chunk.
        quiet: no progress bar.

    Raises:
        ArtifactError: the folder, or a chunk, holds something else.
    """
    chunks = folder.parent / f"{folder.name}.chunks"
    if not is_current(folder, **made_from):
        folders = []
        with progress_bar(record.title, len(canvases), quiet=quiet) as advance:
            for chunk in chunk_canvases(canvases, chunk_size):
                part = chunks / f"{chunk[0].example:06d}-{chunk[-1].example:06d}"
                folders.append(part)
                if is_current(part, **made_from):
                    advance(len(chunk))
                else:
                    made = record.make(chunk, advance)
                    write_artifact(part, **made_from, **record.contents(made))
        joined = record.join([record.read(part) for part in folders], chunks)
        write_artifact(folder, **made_from, **record.contents(joined))
    shutil.rmtree(chunks, ignore_errors=True)
