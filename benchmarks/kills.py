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
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
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
from random_pair import PairShape, write_random_pair  # noqa: E402

import mechshift.cli.stages  # noqa: E402
import mechshift.cli.training  # noqa: E402
import mechshift.cli.trajectories  # noqa: E402, F401
from mechshift.cli.main import main as mechshift  # noqa: E402
from mechshift.disk import write_whole  # noqa: E402
from mechshift.models import without_reports  # noqa: E402
from mechshift.models.folders import weights_hash  # noqa: E402
from mechshift.testing import files_of  # noqa: E402

SHAPE = PairShape(
    layers=2,
    heads=2,
    key_value_heads=1,
    width=16,
    mlp_width=24,
    vocabulary=48,
    tokens=6,
    examples=10,
    held_out=10,
)

SMALL = tuple(
    (
        "--pool.num-examples 10 --pool.num-held-out 10 --pool.num-others 0 --attribution.ig-steps 1"
        " --attribution.chunk-size 4 --comparison.circuit-size 12 --comparison.num-resamples 20"
        " --comparison.num-splits 4"
        " --comparison.num-splits-per-resample 1 --comparison.num-shuffles 5"
        " --comparison.num-exchanges 5 --device cpu --quiet"
    ).split()
)

REST = tuple(
    (
        "--skip controls flow --evaluation.fractions 0.1 --evaluation.num-random 2"
        " --evaluation.no-rediscover --semantics.ig-steps 1 --semantics.num-neurons 2"
        " --semantics.num-contexts 2 --semantics.num-sequences 4 --semantics.num-resamples 20"
        " --ablation.kinds heads --ablation.num-control-draws 1 --ablation.num-resamples 20"
    ).split()
)

KILLED = -9


@dataclass(frozen=True)
class Options:
    """By default what docs/reliability.md tells of."""

    kills: int = 200
    """All commands together."""
    per_round: int = 4
    """Kills of a command before it is left alone."""
    seed: int = 0
    commands: tuple[str, ...] = ("run", "posttrain", "trajectory", "conclude", "report")
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


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, and the folder that it begins with."""

    name: str
    words: Callable[[Path], tuple[str, ...]]
    """From the folder that it works in."""
    begins_with: Path | None = None


def commands(out: Path) -> dict[str, Command]:
    """All of them, on a pair that is made where it is not there yet."""
    with without_reports():
        return _commands(out)


def _commands(out: Path) -> dict[str, Command]:
    pair = write_random_pair(out / "pair", SHAPE)
    texts = out / "texts.jsonl"
    lines = [json.loads(line) for line in pair.task.read_text(encoding="utf-8").splitlines()]
    dialogues = [{"prompt": line["prompt"], "response": line["target"]} for line in lines]
    texts.write_text("".join(json.dumps(line) + "\n" for line in dialogues), encoding="utf-8")
    models = ("--arm", str(pair.arm), "--mdm", str(pair.mdm), "--tasks", str(pair.task))
    trained = out / "trained"
    if not trained.exists():
        _as_training(trained, pair.arm, pair.mdm)
    followed = ("--arm", str(pair.arm), "--mdm", str(trained), "--tasks", str(pair.task))
    whole = out / "run-whole" / "run"
    found = (
        Command(name="run", words=lambda f: ("run", str(f / "run"), *models, *SMALL, *REST)),
        Command(
            name="posttrain",
            words=lambda f: (
                *("posttrain", str(f / "out"), "--parent", str(pair.arm), "--optimizer", "adamw"),
                *("--mixture", str(texts), "1", "8", "--num-steps", "4", "--batch-size", "4"),
                *("--first-checkpoint", "1", "--state-every", "1", "--log-every", "1"),
                *("--num-evaluated", "0", "--warmup-steps", "1", "--quiet"),
            ),
        ),
        Command(
            name="trajectory",
            words=lambda f: ("trajectory", str(f / "run"), *followed, *SMALL, "--skip", "flow"),
        ),
        Command(
            name="conclude",
            words=lambda f: ("conclude", str(f / "run"), "--quiet"),
            begins_with=_without(whole, out / "not-concluded", "conclusions", "quantities"),
        ),
        Command(
            name="report",
            words=lambda f: ("report", str(f / "run")),
            begins_with=_without(whole, out / "not-reported", "report"),
        ),
    )
    return {one.name: one for one in found}


def _as_training(folder: Path, arm: Path, mdm: Path) -> None:
    """A folder as a post-training leaves it: the MDM, a checkpoint between, and a recipe."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    between = write_random_pair(folder.with_name("other-pair"), replace(SHAPE, seed=1))
    shutil.copytree(mdm, partial)
    shutil.copytree(between.arm, partial / "checkpoints" / "step-000002")
    recipe = {"parent_weights": weights_hash(arm), "config": {"num_steps": 4, "objective": "mdm"}}
    (partial / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    partial.rename(folder)


def _without(run: Path, folder: Path, *stages: str) -> Path:
    """A folder with a copy of a run that lacks the report and some stages."""
    if run.exists() and not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        left_out = shutil.ignore_patterns("report", *stages)
        shutil.copytree(run, partial / "run", ignore=left_out)
        partial.rename(folder)
    return folder


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
        _begin(command, whole)
        status, events = forked(command.words(whole), whole, -1, out / "said.txt")
        if status:
            said = (out / "said.txt").read_text(encoding="utf-8")
            raise SystemExit(f"{command.name} ended with {status}: {said[-2000:]}")
        write_whole(counted, str(events))
    return whole, int(counted.read_text(encoding="utf-8"))


def _begin(command: Command, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if command.begins_with is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(command.begins_with, folder)


def killed_round(command: Command, number: int, kills: int, options: Options) -> Round:
    """Kill a command so many times, and compare what it ends with."""
    whole, events = left_alone(command, options.out)
    folder, said = options.out / f"{command.name}-killed", options.out / "said.txt"
    _begin(command, folder)
    rng = random.Random(f"{options.seed} {command.name} {number}")
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
            command = commands(options.out)[name]
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
