"""How long does large or endless input take to be read, or refused, and how much memory?

Writes task files of so many lines for the embedded pair's tokenizer and gives each to `mechshift
tasks`, in a process of its own; then what a run cannot read: a line of 50 MB, a file beyond the
stated size, a pipe, and counts that are typing errors. Importing alone is the first row, and is
within all others. docs/reliability.md holds the table.

    python benchmarks/large_input.py --help
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import islice, permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from rich.console import Console
from rich.table import Table

NAMES = ("Mary", "John", "Anna", "Paul", "Emma", "Jack", "Kate", "Luke", "Rose", "Mark")
THINGS = ("book", "coin", "ring", "key", "lamp", "pen", "bell", "ticket")
PLACES = ("store", "park", "library", "office", "school", "garden", "station", "market")

RUN = "from mechshift.__main__ import entry_point; entry_point()"


@dataclass(frozen=True)
class Options:
    """By default what docs/reliability.md shows."""

    lines: tuple[int, ...] = (20_000, 200_000)
    """The last is the most that a task file may hold."""
    line_bytes: int = 50_000_000
    """Of the one line that is too long."""
    only: str = ""
    """Rows whose names begin so; empty: all."""


def write_examples(path: Path, num_lines: int) -> None:
    """Lines of different texts that the embedded pair's tokenizer can write; 576,000 at most."""
    choices = product(range(100), PLACES, THINGS, permutations(NAMES, 2))
    with path.open("w", encoding="utf-8") as file:
        for number, place, thing, (one, other) in islice(choices, num_lines):
            start = f"Then {one} and {other} went to the {place} at {number:02d}."
            fields = {
                "prompt": f"{start} {one} gave a {thing} to",
                "target": f" {other}",
                "distractor": f" {one}",
                "corrupted_prompt": f"{start} {other} gave a {thing} to",
                "cluster": f"{number} {place} {thing}",
            }
            file.write(json.dumps(fields) + "\n")


def timed(*arguments: str) -> tuple[str, str, str, str, str]:
    """Exit status, seconds, those of the processor, peak memory [MB] and last words of a command.

    The peak is right only while this process is smaller: a new one begins with its memory.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    words = process.stderr.read().strip().splitlines() or [""]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    seconds = f"{time.perf_counter() - start:.1f}"
    busy = f"{usage.ru_utime + usage.ru_stime:.1f}"
    return str(process.returncode), seconds, busy, f"{usage.ru_maxrss / 2**10:,.0f}", words[-1]


def main(options: Options) -> None:
    columns = ("input", "exit status", "seconds", "of the processor", "peak MB", "last line")
    table = Table(*columns, title="Large input")
    with TemporaryDirectory() as folder:
        own, pipe = Path(folder) / "own.jsonl", Path(folder) / "pipe.jsonl"
        os.mkfifo(pipe)

        def row(name: str, *arguments: str) -> None:
            if not name.startswith(options.only):
                return
            *numbers, words = timed(*arguments)
            table.add_row(name, *numbers, words.replace(folder, "...")[:150])

        row("no file", "tasks")
        for num_lines in options.lines:
            write_examples(own, num_lines)
            row(f"{num_lines:,} lines ({own.stat().st_size / 1e6:.0f} MB)", "tasks", str(own))
        write_examples(own, 20)
        with own.open("ab") as file:
            for _ in range(options.line_bytes // 1000):
                file.write(b"x" * 1000)
        row(f"a line of {options.line_bytes:,} bytes", "tasks", str(own))
        with own.open("wb") as file:
            file.truncate(2**40)  # a hole, which takes no disk
        row("a file of 1 TB", "tasks", str(own))
        row("a pipe", "tasks", str(pipe))
        out = ("posttrain", f"{folder}/out", "--parent", "untrained-tiny")
        row("a pipe as texts", *out, "--mixture", str(pipe), "1", "0")
        row("-n 1000000000", "tasks", "ioi", "-n", "1000000000")
        run = ("run", f"{folder}/run")
        for setting in ("num-examples", "num-held-out", "max-candidates"):
            row(f"--pool.{setting} 1000000000", *run, f"--pool.{setting}", "1000000000")
    Console(width=200).print(table)


if __name__ == "__main__":
    main(tyro.cli(Options))
