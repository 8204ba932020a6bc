"""Jobs of a run's workers: pieces of its stages, and chunks of pieces, each made on one device.

A worker loads the models and makes pieces with the functions of a run in one process (`stage`), so
the bytes are the same wherever it runs. Who hands out the jobs, and in which order, is `workers`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from mechshift.progress import Advance
from mechshift.run.folders import CONTROLS
from mechshift.run.settings import RunSettings
from mechshift.run.stage import (
    ChunkedWork,
    Given,
    Piece,
    Stage,
    Work,
    is_kept,
    is_saved,
    remove_chunks,
    reserve,
    write_chunk,
    write_piece,
)
from mechshift.run.stages import STAGES
from mechshift.tasks import load_tasks


class Job(NamedTuple):
    """What one worker does without a break."""

    stage: str
    piece: int | None = None
    """Its place among the stage's pieces; None: to say which of them are missing."""
    chunk: int | None = None
    """Its place among the piece's chunks; None: the piece itself."""


class Told(NamedTuple):
    """How far a worker is."""

    job: Job
    title: str
    share: float
    """Of the piece that was done since it said so last."""


class Worker:
    """The models on one device, and the pieces of the stage that is being made."""

    def __init__(
        self, run: Path, settings: RunSettings, device: str, tell: Callable[[Told], None]
    ) -> None:
        """Load the models.

        Args:
            run: the run folder, which the process that hands out jobs holds.
            settings: of the run.
            device: where the models are.
            tell: called with how far a job is.

        Raises:
            MechshiftError: they cannot be loaded.
        """
        self._given = Given(
            run=run,
            pair=settings.models.load(device, controls=CONTROLS not in settings.skip),
            tasks=load_tasks(settings.task_names()),
            settings=settings,
        )
        self._tell = tell
        self._stage: Stage | None = None
        self._pieces: list[Piece] = []
        self._prepared: tuple[int, Work | ChunkedWork] | None = None

    def do(self, job: Job) -> list[int]:
        """Make a piece or a chunk of it, or say which pieces are missing.

        Returns:
            Places of the pieces that the stage has to make; or of the chunks that must be made
            before the piece, of which nothing was made where there are any.

        Raises:
            MechshiftError: see the stage.
        """
        stage = self._turned_to(job.stage)
        if job.piece is None:
            return self._missing(stage)
        piece = self._pieces[job.piece]
        if self._prepared is None or self._prepared[0] != job.piece:
            self._prepared = job.piece, piece.prepare()
        work, bar = self._prepared[1], partial(self._bar, job)
        if isinstance(work, ChunkedWork):
            chunks = work.chunks()
            if job.chunk is not None:
                with bar(work.title, len(work.canvases)) as advance:
                    write_chunk(stage, piece, work, chunks[job.chunk], advance)
                return []
            reserve(piece, work)
            missing = [
                n for n, chunk in enumerate(chunks) if not is_saved(stage, piece, work, chunk)
            ]
            if missing:
                return missing
        write_piece(stage, piece, work, bar)
        return []

    def folders(self, stage: str) -> list[Path]:
        """The folder of each piece of a stage, by its place."""
        self._turned_to(stage)
        return [piece.folder for piece in self._pieces]

    def _missing(self, stage: Stage) -> list[int]:
        missing = []
        for place, piece in enumerate(self._pieces):
            if is_kept(stage, piece):
                remove_chunks(piece)
            else:
                missing.append(place)
        return missing

    def _turned_to(self, name: str) -> Stage:
        """The stage of this name, begun if it is another than before: earlier ones are written."""
        if self._stage is None or self._stage.name != name:
            self._stage = next(stage for stage in STAGES if stage.name == name)
            assert self._stage.pieces is not None
            self._pieces = list(self._stage.pieces(self._given))
            self._prepared = None
        return self._stage

    @contextmanager
    def _bar(self, job: Job, title: str, total: int) -> Iterator[Advance]:
        def advance(done: int | float, /, note: str = "") -> None:
            self._tell(Told(job, title, done / max(1, total)))

        yield advance


def use_cores(choose: Callable[[Sequence[int]], Sequence[int]]) -> None:
    """Leave all but some of the cores to other workers of the machine, where the system can.

    Args:
        choose: from the cores that the process may use those that it is to use.
    """
    if hasattr(os, "sched_setaffinity"):
        own = choose(sorted(os.sched_getaffinity(0)))
        os.sched_setaffinity(0, own)
        torch.set_num_threads(min(torch.get_num_threads(), len(own)))
