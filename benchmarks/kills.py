"""Does a command that is killed again and again end with the bytes of one that was not?

Each command runs on a random pair of two layers, in a folder of its own, and kills itself with
SIGKILL just before some file event, or half-way through a file (`file_events`). The same command
is given again, and killed again, until so many kills were made; then it is left alone, and what it
ends with is compared, byte by byte, with a folder in which nothing was killed.

Processes are forked off one that has imported everything and used nothing. A round is the kills of
one command up to an end; rounds that are done are kept, and the same call goes on with the next.

    python benchmarks/kills.py --help
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

# Set before torch or a tokenizer is imported: a forked process has no threads.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

import file_events  # noqa: E402
import tyro  # noqa: E402
from small_commands import Command, small_commands  # noqa: E402

import mechshift.cli.pages  # noqa: E402
import mechshift.cli.stages  # noqa: E402
import mechshift.cli.training  # noqa: E402
import mechshift.cli.trajectories  # noqa: E402, F401
from mechshift.cli.main import main as mechshift  # noqa: E402
from mechshift.disk import write_whole  # noqa: E402
from mechshift.testing import files_of  # noqa: E402

KILLED = -9

TEMPORARY = "temporary"
"""Folder of what a killed command leaves where the system keeps such files, as a browser's."""


@dataclass(frozen=True)
class Options:
    """By default what docs/reliability.md tells of."""

    kills: int = 200
    """All commands together."""
    per_round: int = 4
    """Kills of a command before it is left alone."""
    seed: int = 0
    commands: tuple[str, ...] = (
        "run",
        "posttrain",
        "trajectory",
        "attribute",
        "conclude",
        "report",
        "index",
        "tables",
        "figures",
    )
    """Of `small_commands`; `figures` needs Chromium."""
    out: Path = Path("build/kills")
    """Where the pair, the folders and the rounds that are done are kept."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What became of one command that was killed."""

    command: str
    number: int
    kills: int
    """That came before it had ended; a few of those that were meant come too late."""
    events: int
    """Of the command when it is left alone from the beginning."""
    differing: tuple[str, ...]
    """Files that are not those of the folder in which nothing was killed."""
    problem: str = ""
    """What it ended with in place of status 0 or a kill."""


def forked(words: tuple[str, ...], folder: Path, left: int, said: Path) -> tuple[int, int]:
    """Exit status of a command in a process of its own, and how many file events it came to.

    Args:
        words: the command line.
        folder: below which events are counted.
        left: events before it is killed; -1: it is not.
        said: gets what it prints.
    """
    receiver, sender = os.pipe()
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
            os.dup2(1, 2)
            tempfile.tempdir = str(said.with_name(TEMPORARY))
            with file_events.listening() as disk:
                with disk.below(folder, left=left, refusal=file_events.KILL):
                    status = mechshift(words)
                os.write(sender, str(disk.num_writes).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # nothing of the parent's is flushed twice
    os.close(sender)
    _, status = os.waitpid(process, 0)
    with os.fdopen(receiver, "rb") as told:
        return os.waitstatus_to_exitcode(status), int(told.read() or 0)


def left_alone(command: Command, out: Path) -> tuple[Path, int]:
    """The folder of a command that was not killed, and its events; made once."""
    whole, counted = out / f"{command.name}-whole", out / f"{command.name}-events.txt"
    if not counted.exists():
        command.begin(whole)
        (out / TEMPORARY).mkdir(exist_ok=True)
        status, events = forked(command.words(whole), whole, -1, out / "said.txt")
        if status:
            said = (out / "said.txt").read_text(encoding="utf-8")
            raise SystemExit(f"{command.name} ended with {status}: {said[-2000:]}")
        write_whole(counted, str(events))
    return whole, int(counted.read_text(encoding="utf-8"))


def killed_round(command: Command, number: int, kills: int, options: Options) -> Round:
    """Kill a command so many times, and compare what it ends with."""
    whole, events = left_alone(command, options.out)
    folder, said = options.out / f"{command.name}-killed", options.out / "said.txt"
    command.begin(folder)
    rng = random.Random(f"{options.seed} {command.name} {number}")
    (options.out / TEMPORARY).mkdir(exist_ok=True)
    done, status = 0, KILLED
    for _ in range(kills):
        # Mostly soon: an attempt begins with what is there by then.
        left = int(events * rng.random() ** 2)
        status, _ = forked(command.words(folder), folder, left, said)
        if status != KILLED:
            break
        done += 1
    if status == KILLED:
        status, _ = forked(command.words(folder), folder, -1, said)
    shutil.rmtree(options.out / TEMPORARY, ignore_errors=True)
    problem = "" if status == 0 else f"status {status}: {said.read_text()[-1000:]}"
    there, wanted = files_of(folder), files_of(whole)
    names = sorted(there.keys() | wanted.keys())
    return Round(
        command=command.name,
        number=number,
        kills=done,
        events=events,
        differing=tuple(name for name in names if there.get(name) != wanted.get(name)),
        problem=problem,
    )


def rounds(options: Options) -> Iterator[Round]:
    """Rounds of all commands in turn, those first that are kept from an earlier call."""
    kept = options.out / f"seed-{options.seed}.jsonl"
    known = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    done = [Round(**json.loads(line)) for line in known]
    yield from done
    kills, number = sum(one.kills for one in done), len(done) // len(options.commands)
    started = len(done) % len(options.commands)
    while kills < options.kills:
        for name in options.commands[started:]:
            if kills >= options.kills:
                return
            command = small_commands(options.out)[name]
            wanted = min(options.per_round, options.kills - kills)
            one = killed_round(command, number, wanted, options)
            kills += one.kills
            done.append(one)
            write_whole(kept, "".join(json.dumps(asdict(each)) + "\n" for each in done))
            yield one
        number, started = number + 1, 0


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    kills, wrong, start = 0, 0, time.monotonic()
    for one in rounds(options):
        kills += one.kills
        wrong += bool(one.differing or one.problem)
        verdict = one.problem or (f"differs in {one.differing}" if one.differing else "same bytes")
        print(
            f"{kills:>4} of {options.kills} kills, {time.monotonic() - start:.0f} s:"
            f" {one.command}, {one.kills} kills at some of {one.events} events: {verdict}",
            flush=True,
        )
    print(
        f"seed {options.seed}: {kills} kills, {wrong} rounds that did not end with the same bytes"
    )
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
