"""How much faster is a run on several workers, at the graph of a 7B model?

The pair of `random_pair`, with Qwen2.5-7B's layers and heads at little width. Workers are processes
of one thread each on a CPU; each loads the models before the clock starts. Scores go to them in
chunks, faithfulness in pieces of one model on one task.

1. Make the pool once.
2. With one worker and with several: make both stages in a copy of the run, and compare all numbers.
   Times are the clock's, and the processor's of the busiest worker, which others' work on the same
   machine does not change as much.
3. For the price of a chunk: make the scores again, one example a chunk.
4. For the price of handing out: jobs in which nothing is to be done.

With `--cluster auto`, or HOST:PORT, the workers are those of a Ray cluster that has CPUs for them.

    OMP_NUM_THREADS=1 python benchmarks/workers.py --help
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from measuring import show
from random_pair import PairShape
from same_numbers import differences
from whole_run import Options as WholeRun
from whole_run import given_of

from mechshift.locks import hold_folder
from mechshift.run import ClusterOptions
from mechshift.run.circuit_runs import EVALUATE
from mechshift.run.jobs import Job
from mechshift.run.pools import POOL_STAGE
from mechshift.run.processes import Processes
from mechshift.run.scores import ATTRIBUTE, ATTRIBUTE_OTHERS
from mechshift.run.settings import RunSettings
from mechshift.run.stage import Stage, write_pieces
from mechshift.run.workers import Engine, WorkerPool

STAGES = (ATTRIBUTE, EVALUATE)

NUM_EMPTY_JOBS = 500


@dataclass(frozen=True)
class Options:
    """By default some minutes on two cores."""

    shape: PairShape = field(default_factory=lambda: PairShape(examples=48, held_out=12))
    workers: int = 2
    chunk_size: int = 8
    """Examples in a chunk of scores."""
    cluster: str | None = None
    """Address of a Ray cluster that the workers are on; by default processes of this machine."""


class Measured(NamedTuple):
    """What each stage takes [seconds], and a job in which nothing is to be done."""

    clock: list[float]
    processor: list[float]
    """Of the worker that computed longest."""
    empty_job: float


def main(options: Options) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given = given_of(folder, WholeRun(shape=options.shape))
        assert POOL_STAGE.pieces is not None
        write_pieces(given.run, POOL_STAGE, POOL_STAGE.pieces(given), quiet=True)
        settings = in_chunks_of(options.chunk_size, given.settings)

        def measured(name: str, settings: RunSettings, number: int, *stages: Stage) -> Measured:
            run = Path(shutil.copytree(given.run, folder / name))
            with hold_folder(run):
                return measure(run, settings, number, options.cluster, stages)

        # What comes first finds files and memory cold, so that is not the one worker.
        several = measured("by-several", settings, options.workers, *STAGES)
        one = measured("by-1", settings, 1, *STAGES)
        moved = list(differences(folder / "by-1", folder / "by-several"))
        finely = measured("finely", in_chunks_of(1, given.settings), 1, ATTRIBUTE)
    rows = []
    for place, stage in enumerate(STAGES):
        by_clock = one.clock[place], several.clock[place]
        by_processor = one.processor[place], several.processor[place]
        texts = [
            text
            for alone, together in (by_clock, by_processor)
            for text in (f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.2f}")
        ]
        rows.append([stage.name, *texts])
    number = options.workers
    where = "processes" if options.cluster is None else "workers on Ray"
    heads = (
        "stage",
        "one: s",
        f"{number}: s",
        "faster",
        "one: CPU s",
        f"{number}: CPU s",
        "faster",
    )
    show(f"One and {number} {where}, {options.shape.examples} examples", heads, rows)
    more = options.shape.examples - -(-options.shape.examples // options.chunk_size)
    print(f"Numbers that differ: {len(moved)}")
    price = (finely.processor[0] - one.processor[0]) / more
    print(f"A chunk more takes {price * 1000:.0f} ms of the processor")
    print(f"A job in which nothing is to be done takes {one.empty_job * 1000:.2f} ms")


def in_chunks_of(size: int, settings: RunSettings) -> RunSettings:
    """The settings with so many examples in a chunk, and in a batch."""
    attribution = replace(settings.attribution, chunk_size=size, batch_size=size)
    return replace(settings, attribution=attribution)


def measure(
    run: Path,
    settings: RunSettings,
    num_workers: int,
    cluster: str | None,
    stages: tuple[Stage, ...],
) -> Measured:
    """What stages take with so many workers that hold their models."""
    clock, processor = [], []
    engine = engine_of(run, settings, num_workers, cluster)
    with WorkerPool(engine, quiet=True) as pool:
        pool.load()
        pids = all_workers(engine, num_workers)
        began = time.perf_counter()
        do_nothing(engine, NUM_EMPTY_JOBS)
        empty_job = (time.perf_counter() - began) / NUM_EMPTY_JOBS
        for stage in stages:
            before, began = processor_seconds(pids), time.perf_counter()
            pool.write(stage)
            clock.append(time.perf_counter() - began)
            after = processor_seconds(pids)
            processor.append(max(after[pid] - before[pid] for pid in pids))
    return Measured(clock, processor, empty_job)


def engine_of(run: Path, settings: RunSettings, num_workers: int, cluster: str | None) -> Engine:
    if cluster is None:
        return Processes(run, settings, ["cpu"] * num_workers)
    from mechshift.run.cluster import Actors  # ray is an extra

    where = ClusterOptions(address=cluster)
    return Actors(run, settings, where, device="cpu", num_workers=num_workers, quiet=True)


def do_nothing(engine: Engine, number: int) -> set[int]:
    """Hand out jobs of a stage that has no pieces here, and name the processes that did them."""
    for _ in range(number):
        engine.hand_out(Job(ATTRIBUTE_OTHERS.name))
    done = []
    while len(done) < number:
        done += engine.done()
    return {int(one.worker.rpartition("/")[2]) for one in done}


def all_workers(engine: Engine, number: int) -> set[int]:
    """The processes of all workers, once each has loaded the models."""
    found: set[int] = set()
    while len(found) < number:
        found |= do_nothing(engine, number)
    return found


def processor_seconds(pids: set[int]) -> dict[int, float]:
    """What processes of this machine have computed, all threads."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids}
    return {pid: (int(one[11]) + int(one[12])) / ticks for pid, one in fields.items()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
