"""Stages of a run: the record that says what a stage is, and the driver that carries it out.

A stage is a list of pieces: one task, or one model on one task, each with a folder of its own. For
every piece the driver

1. skips it where its folder holds the result of the same settings, inputs and versions, and refuses
   it where the folder holds another one: it may have cost days;
2. computes it under a progress bar; a piece of many examples in chunks, each of which is saved
   before the next is begun, so that a killed run loses at most one;
3. writes the record with its manifest, whole or not at all.

A chunk that was saved is not computed again, and the joined record holds the same bytes either way.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mechshift.array_file import ArrayFile, ArrayShape, Rows
from mechshift.artifacts import (
    ARRAYS_NAME,
    explained_refusal,
    finish_artifact,
    is_current,
    read_artifact,
    write_artifact,
)
from mechshift.attribution import chunk_canvases
from mechshift.denoising import Canvas
from mechshift.errors import ArtifactError
from mechshift.flat_records import Files, record_files
from mechshift.locks import hold_folder
from mechshift.models import ModelPair
from mechshift.progress import Advance, progress_bar
from mechshift.run.settings import RunSettings
from mechshift.tasks import Task

PLACES = "places.json"
"""In a chunk's folder: which rows of the file of all examples are its own, and their hash."""

When = Literal["always", "unless skipped", "if added", "by itself"]
"""Condition on which a run does a stage: always; unless --skip names it; if --also names it; never,
so that it has to be asked for with its own command."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Material that the stages of one run work on."""

    run: Path
    """The run folder."""
    pair: ModelPair
    """With its controls, unless they are skipped."""
    tasks: Sequence[Task]
    """In the order in which the report shows them."""
    settings: RunSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Work of making one piece."""

    title: str
    """What is being done, for the progress bar."""
    total: int
    """How much `compute` reports to the bar; more or less of it is no error."""
    compute: Callable[[Advance], Any]
    """Gives the record that is stored; `Files`, where a stage writes for people; or None, where
    there is nothing to store."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkedWork:
    """Work of making a piece of so many examples that it is saved on the way."""

    title: str
    canvases: Sequence[Canvas]
    """Of all examples, in pool order."""
    chunk_size: int
    """Examples in a chunk."""
    compute: Callable[[list[Canvas], Advance], Any]
    """The record of consecutive examples, from all of their canvases."""
    read: Callable[[Path], Any]
    """A chunk's record, from its folder."""
    join: Callable[[Sequence[Any]], Any]
    """Records of consecutive chunks, as `read` gives them."""
    table: "ChunkTable | None" = None
    """Where records are too large to be written twice: how chunks fill in that of all examples.
    `read` and `join` are not asked then."""

    def chunks(self) -> list[list[Canvas]]:
        """The canvases of each chunk."""
        return chunk_canvases(self.canvases, self.chunk_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkTable:
    """The arrays of a record of all examples, which chunks write into their place in the file.

    What of a chunk has no place of its own, because other chunks have a share in it, is stored with
    the chunk until all are there.
    """

    arrays: Mapping[str, ArrayShape]
    """Of the record of all examples, every one that it has."""
    place: Callable[[Any, int], "PlacedChunk"]
    """From a chunk's record and the number of its first example."""
    finish: Callable[[ArrayFile, Sequence[Mapping[str, np.ndarray]]], Any]
    """The record of all examples, from the file that all chunks are in, after what was left of them
    is written into it too."""


class PlacedChunk(NamedTuple):
    """A chunk's record, taken apart."""

    rows: Sequence[tuple[str, int, np.ndarray]]
    """Array, its first row, and the rows from there on."""
    left: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One folder that a stage writes."""

    folder: Path
    config: Mapping[str, Any]
    """Every setting that can change the result, as JSON values."""
    inputs: Mapping[str, str]
    """Hash of every earlier folder and model that it is made from, by name."""
    prepare: Callable[[], Work | ChunkedWork]
    """Called only where the piece is missing, so that what is there costs nothing."""
    stage: str = ""
    """Name of another stage as which it is written and read; empty: its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One stage of a run."""

    name: str
    """Its folder in the run, its name in manifests, and its word for --skip and --also."""
    command: str
    """The sub-command that does it alone."""
    about: str
    """What it does, in a line that ends a sentence: "finds ..."."""
    reads: tuple[str, ...] = ()
    """Names of the earlier stages whose folders it needs; those that it shows where they are there
    are not among them."""
    when: When = "always"
    check: Callable[[RunSettings], None] | None = None
    """Refuses settings that cannot work, before a model is loaded."""
    pieces: Callable[[Given], Iterable[Piece]] | None = None
    """What a run does of it, each piece made from what stands in the run by then; None: a run does
    not do it."""
    remade: Literal["never", "when stale", "always"] = "never"
    """Whether an old result makes room for a new one: of stages that cost seconds, where it was
    made from something else, or at every call. Those of other stages are kept, or refused."""
    together: str = ""
    """Title of one progress bar over all pieces, where a single one takes no time; empty: each
    piece that is made has its own."""

    def is_wanted(self, settings: RunSettings) -> bool:
        """Whether a run with these settings does it."""
        wanted = {
            "always": True,
            "unless skipped": self.name not in settings.skip,
            "if added": self.name in settings.also,
            "by itself": False,
        }
        return wanted[self.when]


Bar = Callable[[str, int], AbstractContextManager[Advance]]
"""Shows how far work of some title and amount is: on a progress bar, or to a run's workers."""


def write_pieces(run: Path, stage: Stage, pieces: Iterable[Piece], *, quiet: bool = False) -> None:
    """Write the pieces of a run that are missing, in their order, while no other process does.

    Raises:
        ArtifactError: a folder, or a chunk, holds something else; another process writes in the
            run; or the disk refuses.
    """
    with hold_folder(run):
        if not stage.together:
            for piece in pieces:
                _write_missing(stage, piece, partial(progress_bar, quiet=quiet))
            return
        several = list(pieces)
        with progress_bar(stage.together, len(several), quiet=quiet) as advance:
            for piece in several:
                _write_missing(stage, piece, partial(progress_bar, quiet=True))
                advance(1)


def _write_missing(stage: Stage, piece: Piece, bar: Bar) -> None:
    if is_kept(stage, piece):
        remove_chunks(piece)
    else:
        write_piece(stage, piece, piece.prepare(), bar)


def write_piece(stage: Stage, piece: Piece, work: Work | ChunkedWork, bar: Bar) -> None:
    """Make what a piece lacks, chunk by chunk where it has any, and write it.

    Raises:
        ArtifactError: a chunk holds something else, or the disk refuses.
    """
    made_from = made_from_of(stage, piece)
    if isinstance(work, ChunkedWork):
        with bar(work.title, len(work.canvases)) as advance:
            reserve(piece, work)
            for chunk in work.chunks():
                write_chunk(stage, piece, work, chunk, advance)
        if work.table is not None:
            _finish_table(stage, piece, work, work.table)
            return
        read = [work.read(_chunk_folder(piece, chunk)) for chunk in work.chunks()]
        files: Files | None = record_files(work.join(read))
    else:
        with bar(work.title, work.total) as advance:
            record = work.compute(advance)
        files = None if record is None else record_files(record)
    replace = stage.remade != "never"
    if files is not None:
        _write(piece.folder, made_from, files, replace=replace)
    elif replace:
        shutil.rmtree(piece.folder, ignore_errors=True)
    remove_chunks(piece)


def write_chunk(
    stage: Stage, piece: Piece, work: ChunkedWork, chunk: list[Canvas], advance: Advance
) -> None:
    """Make and save one of a piece's chunks, if it is missing.

    Raises:
        ArtifactError: its folder holds something else, or the disk refuses.
    """
    if is_saved(stage, piece, work, chunk):
        advance(len(chunk))
        return
    folder, record = _chunk_folder(piece, chunk), work.compute(chunk, advance)
    if work.table is None:
        files = record_files(record)
    else:
        rows, left = work.table.place(record, chunk[0].example)
        file = _array_file(piece, work.table)
        with explained_refusal(folder):
            for name, first, values in rows:
                file.write(name, first, values)
            file.flush()  # before the chunk says that they are there
        places = [Rows(name, first, len(values)) for name, first, values in rows]
        marker = {"rows": places, "sha256": file.digest(places)}
        files = Files(arrays=left, texts={PLACES: json.dumps(marker, indent=2) + "\n"})
    _write(folder, made_from_of(stage, piece), files, replace=work.table is not None)


def reserve(piece: Piece, work: ChunkedWork) -> None:
    """Reserve the room that the record of all examples takes, before a chunk of it is made.

    Raises:
        ArtifactError: the disk refuses.
    """
    if work.table is not None:
        with explained_refusal(piece.folder):
            _array_file(piece, work.table).reserve()


def is_saved(stage: Stage, piece: Piece, work: ChunkedWork, chunk: Sequence[Canvas]) -> bool:
    """Whether a chunk is there; rows that were written to since are not.

    Raises:
        ArtifactError: its folder holds something else.
    """
    folder = _chunk_folder(piece, chunk)
    if not is_current(folder, **made_from_of(stage, piece)):
        return False
    if work.table is None:
        return True
    try:
        marker = json.loads((folder / PLACES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False  # of a version that stored the rows with their chunk
    places = [Rows(*one) for one in marker["rows"]]
    return _array_file(piece, work.table).digest(places) == marker["sha256"]


def _finish_table(stage: Stage, piece: Piece, work: ChunkedWork, table: ChunkTable) -> None:
    """Write what was left of the chunks into the file, and give the folder its name."""
    made_from, file = made_from_of(stage, piece), _array_file(piece, table)
    parts = [
        read_artifact(_chunk_folder(piece, chunk), stage=made_from["stage"]).arrays
        for chunk in work.chunks()
    ]
    with explained_refusal(piece.folder):
        files = record_files(table.finish(file, parts))
    found = {name: (str(one.dtype), one.shape) for name, one in files.arrays.items()}
    assert found == dict(table.arrays), f"laid out as {table.arrays}, and found {found}"
    finish_artifact(file.path.parent, piece.folder, **made_from, texts=files.texts)
    remove_chunks(piece)


def _array_file(piece: Piece, table: ChunkTable) -> ArrayFile:
    return ArrayFile(_chunks_folder(piece) / ".all" / ARRAYS_NAME, table.arrays)


def remove_chunks(piece: Piece) -> None:
    """Remove the chunks of a piece that is written."""
    shutil.rmtree(_chunks_folder(piece), ignore_errors=True)


def _chunks_folder(piece: Piece) -> Path:
    return piece.folder.parent / f"{piece.folder.name}.chunks"


def _chunk_folder(piece: Piece, chunk: Sequence[Canvas]) -> Path:
    return _chunks_folder(piece) / f"{chunk[0].example:06d}-{chunk[-1].example:06d}"


def is_kept(stage: Stage, piece: Piece) -> bool:
    """Whether a folder holds what the stage would compute, and need not compute again.

    Raises:
        ArtifactError: it holds something else that may have cost days.
    """
    if stage.remade == "always":
        return False
    try:
        return is_written_as(stage, piece)
    except ArtifactError:
        if stage.remade == "never":
            raise
        return False


def is_written_as(stage: Stage, piece: Piece) -> bool:
    """Whether a piece is there, so that what it is made of need not even be loaded.

    Raises:
        ArtifactError: the folder holds something else.
    """
    return is_current(piece.folder, **made_from_of(stage, piece))


def made_from_of(stage: Stage, piece: Piece) -> dict[str, Any]:
    """What decides a piece, as `is_current` and `write_artifact` take it."""
    return {
        "stage": piece.stage or stage.name,
        "config": piece.config,
        "inputs": piece.inputs,
    }


def _write(
    folder: Path, made_from: Mapping[str, Any], files: Files, *, replace: bool = False
) -> None:
    write_artifact(
        folder,
        **made_from,
        arrays=files.arrays,
        tables=files.tables,
        texts=files.texts,
        replace=replace,
    )
