"""How much faster is a run on several workers, at the graph of a 7B model?

The pair of `random_pair`, with Qwen2.5-7B's layers and heads at little width. Workers are processes
of one thread each on a CPU; each loads the models before the clock starts. Scores go to them in
chunks, faithfulness in pieces of one model on one task.

1. Make the pool once.
2. With one worker and with several: make both stages in a copy of the run, and compare all numbers.
3. For the price of a chunk: make the scores again, one example a chunk.

    OMP_NUM_THREADS=1 python benchmarks/workers.py --help
"""

import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import tyro
from measuring import show
from random_pair import PairShape
from same_numbers import differences
from whole_run import Options as WholeRun
from whole_run import given_of

from mechshift.locks import hold_folder
from mechshift.run.circuit_runs import EVALUATE
from mechshift.run.pools import POOL_STAGE
from mechshift.run.processes import Processes
from mechshift.run.scores import ATTRIBUTE
from mechshift.run.settings import RunSettings
from mechshift.run.stage import Stage, write_pieces
from mechshift.run.workers import WorkerPool

STAGES = (ATTRIBUTE, EVALUATE)


@dataclass(frozen=True)
class Options:
    """By default some minutes on two cores."""

    shape: PairShape = field(default_factory=lambda: PairShape(examples=48, held_out=12))
    workers: int = 2
    chunk_size: int = 8
    """Examples in a chunk of scores."""


def main(options: Options) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given = given_of(folder, WholeRun(shape=options.shape))
        assert POOL_STAGE.pieces is not None
        write_pieces(given.run, POOL_STAGE, POOL_STAGE.pieces(given), quiet=True)
        settings = in_chunks_of(options.chunk_size, given.settings)
        # What comes first finds files and memory cold, so that is not the one worker.
        several, one = (
            seconds_of(given.run, folder / f"by-{number}", settings, number, STAGES)
            for number in (options.workers, 1)
        )
        moved = list(differences(folder / "by-1", folder / f"by-{options.workers}"))
        small = in_chunks_of(1, given.settings)
        (finely,) = seconds_of(given.run, folder / "finely", small, 1, (ATTRIBUTE,))
    rows = [
        [stage.name, f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.2f}"]
        for stage, alone, together in zip(STAGES, one, several, strict=True)
    ]
    title = f"One worker and {options.workers}, {options.shape.examples} examples"
    show(title, ("stage", "one: s", f"{options.workers}: s", "times as fast"), rows)
    more = options.shape.examples - -(-options.shape.examples // options.chunk_size)
    print(f"Numbers that differ: {len(moved)}")
    print(f"A chunk more takes {(finely - one[0]) / more * 1000:.0f} ms")


def in_chunks_of(size: int, settings: RunSettings) -> RunSettings:
    """The settings with so many examples in a chunk, and in a batch."""
    attribution = replace(settings.attribution, chunk_size=size, batch_size=size)
    return replace(settings, attribution=attribution)


def seconds_of(
    pooled: Path, run: Path, settings: RunSettings, num_workers: int, stages: tuple[Stage, ...]
) -> list[float]:
    """What each stage takes in a copy of a run, with so many workers that hold their models."""
    shutil.copytree(pooled, run)
    seconds = []
    devices = ["cpu"] * num_workers
    with hold_folder(run), WorkerPool(Processes(run, settings, devices), quiet=True) as workers:
        workers.load()
        for stage in stages:
            began = time.perf_counter()
            workers.write(stage)
            seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
