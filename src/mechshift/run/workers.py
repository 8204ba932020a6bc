"""Worker processes: a run's stages, whose pieces and chunks are made on several devices at once.

A worker loads the models on a device of its own and makes pieces with the functions of a run in one
process (`stage`), so the bytes are the same. The stages follow each other as there; within one

1. a worker says which pieces are missing;
2. each missing piece goes to the next worker that is free, which makes it, or says which chunks
   are missing that it is joined from;
3. those chunks go to the workers in their place, and once all are saved the piece goes again.

Processes and queue are concurrent.futures'. The process that hands out work loads no model, and is
the one that holds the run folder. A worker ends when it does, or when it says so.
"""

import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

from mechshift.errors import ArtifactError, MechshiftError
from mechshift.progress import Advance, progress_bar
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

LOOK_EVERY = 0.2
"""Seconds between two looks at how far the workers are, and whether their parent still lives."""


class Job(NamedTuple):
    """What one worker does without a break."""

    stage: str
    piece: int
    """Its place among the stage's pieces."""
    chunk: int | None = None
    """Its place among the piece's chunks; None: the piece itself."""


class Told(NamedTuple):
    """How far a worker is."""

    piece: int
    title: str
    share: float
    """Of the piece that was done since it said so last."""


class WorkerPool:
    """Worker processes, one a device, for all stages of a run."""

    def __init__(
        self, run: Path, settings: RunSettings, devices: Sequence[str], *, quiet: bool = False
    ) -> None:
        """Start them; each loads the models when it is first given something to do.

        Args:
            run: the run folder, which the caller holds.
            settings: of the run.
            devices: of each worker; `cpu` may stand there several times.
            quiet: no progress bars.
        """
        context = _context()
        free = context.SimpleQueue()
        for number, device in enumerate(devices):
            free.put(_Place(run, settings, device, number, len(devices)))
        self._told: SimpleQueue[Told] = context.SimpleQueue()
        self._stop: Event = context.Event()
        self._quiet, self._num_workers = quiet, len(devices)
        self._pool = ProcessPoolExecutor(
            len(devices),
            mp_context=context,
            initializer=_begin,
            initargs=(free, self._told, self._stop),
        )

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End the workers: after what they are at, or at once where the run is broken off."""
        if kind is not None and not issubclass(kind, MechshiftError):
            self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def load(self) -> None:
        """Load the models in every worker, before anything is written.

        Raises:
            MechshiftError: they cannot be loaded.
        """
        with _one_line():
            for loaded in [self._pool.submit(_load) for _ in range(self._num_workers)]:
                loaded.result()

    def write(self, stage: Stage) -> None:
        """Write the pieces of a stage that are missing.

        Raises:
            MechshiftError: what a worker raised; what the others were at is finished first.
            ArtifactError: a worker was killed.
        """
        with _one_line():
            self._write(stage)

    def _write(self, stage: Stage) -> None:
        missing = self._pool.submit(_missing, stage.name).result()
        chunks_left: dict[int, int] = {}
        at: dict[Future[Sequence[int]], Job] = {}

        def hand_out(job: Job) -> None:
            at[self._pool.submit(_make, job)] = job

        with progress_bar(stage.name, len(missing), quiet=self._quiet) as advance:
            for piece in missing:
                hand_out(Job(stage.name, piece))
            shown = dict.fromkeys(missing, 0.0)
            try:
                while at:
                    done = wait(at, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED).done
                    self._show(shown, advance)
                    for future in done:
                        job = at.pop(future)
                        chunks = future.result()
                        for chunk in chunks:
                            hand_out(job._replace(chunk=chunk))
                        if chunks:
                            chunks_left[job.piece] = len(chunks)
                        elif job.chunk is not None:
                            chunks_left[job.piece] -= 1
                            if not chunks_left[job.piece]:
                                hand_out(job._replace(chunk=None))
            except MechshiftError:
                running = [future for future in at if not future.cancel()]
                # Somebody must read what they tell: a full pipe would hold them up for ever.
                while wait(running, timeout=LOOK_EVERY).not_done:
                    self._show(shown, advance)
                raise
            self._show(shown, advance)

    def _show(self, shown: dict[int, float], advance: Advance) -> None:
        """Move the bar on, by no more than one for each piece: what a piece tells is a guess."""
        while not self._told.empty():
            piece, title, share = self._told.get()
            share = min(share, 1 - shown[piece])
            shown[piece] += share
            advance(share, title)


def _context() -> multiprocessing.context.BaseContext:
    """How workers are started. Never as forks of this process: CUDA does not survive that.

    On Linux as forks of one that has imported torch and transformers, which takes seconds, and used
    nothing. Without polars, which starts threads when it is imported. Elsewhere each imports for
    itself: on macOS a fork of torch does not work.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mechshift.models"])
    return context


@contextmanager
def _one_line() -> Iterator[None]:
    """Say in one line that a worker was killed."""
    try:
        yield
    except BrokenProcessPool:
        raise ArtifactError(
            "a worker process ended without a word, perhaps for lack of memory; what was saved is"
            " kept: call the same again, with fewer --devices if it happens again."
        ) from None


@dataclass(frozen=True)
class _Place:
    """What a worker is started for."""

    run: Path
    settings: RunSettings
    device: str
    number: int
    num_workers: int


class _Worker:
    """The models on one device, and the pieces of the stage that is being made."""

    def __init__(self, place: _Place, told: "SimpleQueue[Told]") -> None:
        """Load the models.

        Raises:
            MechshiftError: they cannot be loaded.
        """
        settings = place.settings
        self._given = Given(
            run=place.run,
            pair=settings.models.load(place.device, controls=CONTROLS not in settings.skip),
            tasks=load_tasks(settings.task_names()),
            settings=settings,
        )
        self._told = told
        self._stage: Stage | None = None
        self._pieces: list[Piece] = []
        self._prepared: tuple[int, Work | ChunkedWork] | None = None

    def missing(self, name: str) -> list[int]:
        """Places of the pieces that a stage has to make.

        Raises:
            ArtifactError: a folder holds something else.
        """
        stage = self._turned_to(name)
        missing = []
        for place, piece in enumerate(self._pieces):
            if is_kept(stage, piece):
                remove_chunks(piece)
            else:
                missing.append(place)
        return missing

    def make(self, job: Job) -> list[int]:
        """Make a piece or a chunk of it.

        Returns:
            Places of the chunks that must be made first; nothing was made where there are any.

        Raises:
            MechshiftError: see the stage.
        """
        stage = self._turned_to(job.stage)
        piece = self._pieces[job.piece]
        if self._prepared is None or self._prepared[0] != job.piece:
            self._prepared = job.piece, piece.prepare()
        work, bar = self._prepared[1], partial(self._bar, job.piece)
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

    def _turned_to(self, name: str) -> Stage:
        """The stage of this name, begun if it is another than before: earlier ones are written."""
        if self._stage is None or self._stage.name != name:
            self._stage = next(stage for stage in STAGES if stage.name == name)
            assert self._stage.pieces is not None
            self._pieces = list(self._stage.pieces(self._given))
            self._prepared = None
        return self._stage

    @contextmanager
    def _bar(self, piece: int, title: str, total: int) -> Iterator[Advance]:
        def advance(done: int | float, /, note: str = "") -> None:
            self._told.put(Told(piece, title, done / max(1, total)))

        yield advance


_begun: tuple[_Place, "SimpleQueue[Told]"] | None = None
_worker: _Worker | None = None


def _begin(free: "SimpleQueue[_Place]", told: "SimpleQueue[Told]", stop: Event) -> None:
    """Take one of the places, and a share of the cores. Runs first in every worker."""
    global _begun
    place = free.get()
    _begun = place, told
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _end_at_once)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[place.number :: place.num_workers] or cores
        os.sched_setaffinity(0, own)
        torch.set_num_threads(min(torch.get_num_threads(), len(own)))


def _load() -> None:
    _this_worker()


def _missing(stage: str) -> list[int]:
    return _this_worker().missing(stage)


def _make(job: Job) -> list[int]:
    return _this_worker().make(job)


def _this_worker() -> _Worker:
    global _worker
    if _worker is None:
        assert _begun is not None
        _worker = _Worker(*_begun)
    return _worker


def _end_with_parent(stop: Event) -> None:
    """End the process once its parent has ended, however it did, or does not want it any more.

    What it was at is lost, as if it were killed; what it saved is whole.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive() and not stop.is_set():
        time.sleep(LOOK_EVERY)
    os._exit(1)


def _end_at_once(signum: int, _frame: object) -> None:
    os._exit(128 + signum)
