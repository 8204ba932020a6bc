"""How are time, memory and agreement measured, alike in every benchmark?

Time: what is compared runs in turn in one process, so that a machine whose speed drifts slows all
alike. A ratio is the median of the ratios of the rounds.

Memory: bytes of the tensors that are alive at the peak, beyond what was there before. That number
is the same in every run, whatever the allocator keeps back. On CUDA it is torch's own peak.
"""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mechshift.run.stage import Given, Stage, write_pieces
from mechshift.testing.measuring import LiveBytes

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds of each work in each round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, to: str) -> float:
        """Median over rounds of how many times longer one work took than another."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def timed_in_turn(works: Mapping[str, Work], rounds: int) -> Timings:
    """Time every work once in each round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            gc.collect()
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - start)
    return Timings(seconds=seconds)


def peak_megabytes(work: Work) -> float:
    """Tensors alive at the peak of `work`, without those that were there before [MB]."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with LiveBytes() as live:
        work()
    return live.peak / 2**20


@dataclass
class Peak:
    """What is filled in when a block ends."""

    bytes: int = 0


@contextmanager
def peak_of_process() -> Iterator[Peak]:
    """The most memory of this process that lies in the machine's at once inside the block.

    Linux forgets the peak of before when it is told so; elsewhere it is that since the start.
    """
    peak, forget = Peak(), Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    yield peak
    if forget.exists():
        status = Path("/proc/self/status").read_text()
        peak.bytes = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    else:
        peak.bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_bytes() -> int:
    """Of this process, in the machine's memory now; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * int(status.read_text().partition("VmRSS:")[2].split()[0])


def seconds_of(work: Work) -> tuple[float, float]:
    """By the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a stage took."""

    clock: float
    """Seconds."""
    processor: float
    """Seconds, all threads together."""
    peak: float
    """Of the process while the stage ran [GiB]."""
    disk: float
    """Of the stage's folder [MB]."""


def spent_on(stage: Stage, given: Given) -> Spent:
    """Do a stage as a run does it."""
    assert stage.pieces is not None
    pieces = stage.pieces(given)
    with peak_of_process() as peak:
        clock, processor = seconds_of(lambda: write_pieces(given.run, stage, pieces, quiet=True))
    folder = given.run / stage.name
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Spent(clock=clock, processor=processor, peak=peak.bytes / 2**30, disk=sum(files) / 1e6)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column names what a row is of, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
