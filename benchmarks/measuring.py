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
class ProcessPeak:
    """What `peak_of_process` fills in when its block ends."""

    bytes: int = 0


@contextmanager
def peak_of_process() -> Iterator[ProcessPeak]:
    """The most memory of this process that lies in the machine's at once inside the block.

    Linux forgets the peak of before when it is told so; elsewhere it is that since the start.
    """
    peak, forget = ProcessPeak(), Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    yield peak
    if forget.exists():
        status = Path("/proc/self/status").read_text()
        peak.bytes = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    else:
        peak.bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column names what a row is of, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
