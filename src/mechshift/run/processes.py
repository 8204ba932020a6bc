"""Worker processes on the devices of one machine, one a device, started by concurrent.futures.

A worker ends when the process that started it does, or when that says so.
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
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

from mechshift.errors import ArtifactError
from mechshift.run.jobs import Job, Told, Worker, use_cores
from mechshift.run.settings import RunSettings
from mechshift.run.workers import LOOK_EVERY, Done


class Processes:
    """Worker processes of this machine: the engine of a run with `--devices`."""

    def __init__(self, run: Path, settings: RunSettings, devices: Sequence[str]) -> None:
        """Start them; each loads the models when it is first given something to do.

        Args:
            run: the run folder, which the caller holds.
            settings: of the run.
            devices: of each worker; `cpu` may stand there several times.
        """
        context = _context()
        free = context.SimpleQueue()
        for number, device in enumerate(devices):
            free.put(_Place(run, settings, device, number, len(devices)))
        self._told: SimpleQueue[Told] = context.SimpleQueue()
        self._stop: Event = context.Event()
        self._num_workers = len(devices)
        self._at: dict[Future[tuple[Sequence[int], str]], Job] = {}
        self._pool = ProcessPoolExecutor(
            len(devices),
            mp_context=context,
            initializer=_begin,
            initargs=(free, self._told, self._stop),
        )

    def load(self) -> None:
        """Load the models in every worker; see `Engine`."""
        with _one_line():
            for loaded in [self._pool.submit(_load) for _ in range(self._num_workers)]:
                loaded.result()

    def hand_out(self, job: Job) -> None:
        """Queue a job."""
        with _one_line():
            self._at[self._pool.submit(_do, job)] = job

    def done(self) -> list[Done]:
        """Jobs that were done; see `Engine`."""
        with _one_line():
            finished = wait(self._at, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED).done
            return [Done(self._at.pop(future), *future.result()) for future in finished]

    def told(self) -> list[Told]:
        """What stands in the queue."""
        told = []
        while not self._told.empty():
            told.append(self._told.get())
        return told

    def finish(self) -> None:
        """Wait for the jobs that workers are at, and forget all others."""
        running = [future for future in self._at if not future.cancel()]
        self._at = {}
        # Somebody must read what they tell: a full pipe would hold them up for ever.
        while wait(running, timeout=LOOK_EVERY).not_done:
            self.told()

    def close(self, *, at_once: bool) -> None:
        """End the workers."""
        if at_once:
            self._stop.set()
        self._pool.shutdown(cancel_futures=True)


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


_begun: tuple[_Place, "SimpleQueue[Told]"] | None = None
_worker: Worker | None = None


def _begin(free: "SimpleQueue[_Place]", told: "SimpleQueue[Told]", stop: Event) -> None:
    """Take one of the places, and a share of the cores. Runs first in every worker."""
    global _begun
    place = free.get()
    _begun = place, told
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _end_at_once)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    use_cores(lambda cores: cores[place.number :: place.num_workers] or cores)


def _load() -> None:
    _this_worker()


def _do(job: Job) -> tuple[list[int], str]:
    return _this_worker().do(job), str(os.getpid())


def _this_worker() -> Worker:
    global _worker
    if _worker is None:
        assert _begun is not None
        place, told = _begun
        _worker = Worker(place.run, place.settings, place.device, told.put)
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
