"""Does any damaged file get more than one line?

Damages one file after the other of all kinds that mechshift reads (`outside_files`), as a seed and
a number say (`mutations`), and has each read by whoever reads it. Allowed are an answer and one
line of an error of ours, within 2 s of processor time and 1 GiB; all else is a fault: another
exception, a message of two lines, a hang, a dead process.

Inputs are read in a process of their own, so that a dead one stops nothing. What was found is kept
in a folder, and the same command goes on from there. `--only NUMBER` shows one input and where it
leads.

    python benchmarks/fuzz.py --help
"""

import contextlib
import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

# Set before torch or a tokenizer is imported: a forked process has no threads.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

import tyro  # noqa: E402
from mutations import mutated  # noqa: E402
from outside_files import Outside, outside_files  # noqa: E402

from mechshift.disk import write_text, write_whole  # noqa: E402
from mechshift.errors import MechshiftError  # noqa: E402

SECONDS, BYTES = 2.0, 2**30
"""What an input may take: of processor time, and of memory beyond what is imported."""

PATIENCE, TO_BEGIN = 60.0, 600.0
"""Seconds after which a process that does not get on is killed; and before its first input."""

BATCH, SAVED_EVERY = 50_000, 500
"""Inputs of one process, and those after which it keeps what it found."""

DIED = "a process of its own"

AT = ".at"
"""File of the number of the input that is being read."""


@dataclass(frozen=True)
class Options:
    """By default what docs/reliability.md tells of."""

    inputs: int = 1_000_000
    seed: int = 0
    out: Path = Path("build/fuzz")
    """Keeps what was found, and how far it got."""
    run: Path | None = None
    """A finished run folder, whose records are damaged too; it is copied."""
    only: int | None = None
    """Show this input, and where it leads."""
    worker: bool = False
    """Examine inputs in this process; what the command starts."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What an input leads to that is not allowed."""

    number: int
    file: str
    """Which kind."""
    what: str
    where: str
    """The line of mechshift that it comes from."""


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    inputs: int = 0
    read: int = 0
    """That were taken for good files."""
    seconds: float = 0.0
    longest: float = 0.0

    def count(self, *, read: bool, seconds: float) -> None:
        self.inputs += 1
        self.read += read
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


@dataclass
class Found:
    """All that is known by now."""

    seed: int
    next: int = 0
    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def deadly(self) -> set[int]:
        """Inputs at which a process died, which are not read again."""
        return {one.number for one in self.faults if one.where == DIED}


class TooLong(BaseException):
    """More than the processor time that an input may take; nobody catches it on the way."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Refuse memory beyond what is there, and interrupt what takes too long."""

    def interrupt(_signum: int, _frame: object) -> None:
        raise TooLong

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + BYTES, before[1]))
    handler = signal.signal(signal.SIGPROF, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def chosen(files: Sequence[Outside], seed: int, number: int) -> tuple[Outside, bytes]:
    """The file that an input damages, and the damaged content."""
    rng = random.Random(f"{seed} {number}")
    file = rng.choices(files, [one.share for one in files])[0]
    return file, mutated(file.path.read_bytes(), file.form, rng)


def examine(file: Outside, content: bytes) -> tuple[str, str]:
    """What is wrong with how a damaged file is read, and where; two empty texts: nothing.

    `read` in place of what is wrong: it was taken for a good one.
    """
    good = {file.path: file.path.read_bytes()}
    manifest = file.path.parent / "manifest.json"
    if manifest.is_file():
        good[manifest] = manifest.read_bytes()
    file.path.write_bytes(content)
    file.seal()
    try:
        return _read(file)
    except TooLong as error:  # also when it comes just as the reader has ended
        return f"more than {SECONDS:g} s", _line_of(error)
    finally:
        for path, whole in good.items():
            path.write_bytes(whole)


def _read(file: Outside) -> tuple[str, str]:
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file.read()
        return "read", ""
    except MechshiftError as error:
        return _wrong_with(error), ""
    except (KeyboardInterrupt, GeneratorExit, TooLong):
        raise
    except BaseException as error:  # a panic in Rust is none of Exception
        return f"{type(error).__name__}: {str(error)[:200]}", _line_of(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _wrong_with(error: MechshiftError) -> str:
    text = str(error)
    if "\n" in text:
        return f"a message of several lines: {text[:200]!r}"
    if "alloc" in text or "MemoryError" in text:
        return f"more than 1 GiB: {text[:200]!r}"
    return ""


def _line_of(error: BaseException) -> str:
    """The innermost line of mechshift, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}mechshift{os.sep}" in frame.filename]
    return " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in (ours[-1:] + frames[-1:])
    )


def examine_inputs(
    files: Sequence[Outside],
    found: Found,
    stop: int,
    begin: Callable[[int], object] = lambda _: None,
) -> None:
    """Examine inputs in this process, and add to what was found.

    Args:
        files: of `outside_files`.
        found: says where to begin.
        stop: the first input that is not examined.
        begin: called with the number of each input before it is read.
    """
    began = time.monotonic()
    deadly = found.deadly
    with limits():
        for number in range(found.next, stop):
            if number in deadly:
                continue
            begin(number)
            file, content = chosen(files, found.seed, number)
            start = time.process_time()
            what, where = examine(file, content)
            seconds = time.process_time() - start
            if what in ("", "read") and seconds > SECONDS:
                what, where = f"more than {SECONDS:g} s", f"{seconds:.1f}"
            found.tallies.setdefault(file.name, Tally()).count(read=what == "read", seconds=seconds)
            if what not in ("", "read"):
                found.faults.append(Fault(number=number, file=file.name, what=what, where=where))
    found.next = stop
    found.seconds += time.monotonic() - began


def work(options: Options, files: Sequence[Outside]) -> None:
    """Examine a batch in this process, and keep what was found every so many inputs."""
    found = restored(options)
    end = min(options.inputs, found.next + BATCH)
    at = os.open(options.out / AT, os.O_RDWR | os.O_CREAT)
    while found.next < end:
        stop = min(end, found.next + SAVED_EVERY)
        examine_inputs(
            files, found, stop, lambda number: os.pwrite(at, number.to_bytes(8, "little"), 0)
        )
        keep(options, found)
    left = (options.inputs - found.next) * found.seconds / found.next
    print(
        f"{found.next:,} of {options.inputs:,} inputs, {len(found.faults)} faults, about"
        f" {left / 60:.0f} min left",
        flush=True,
    )


def wait_for(process: subprocess.Popen, at: Path) -> str:
    """How a process ended, which is killed when it does not get on; empty: well."""
    last, since = b"", time.monotonic()
    while (code := process.poll()) is None:
        now = at.read_bytes() if at.is_file() else b""
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > (PATIENCE if now else TO_BEGIN):
            process.kill()
            process.wait()
            return f"did not get on for {time.monotonic() - since:.0f} s"
        time.sleep(0.1)
    return f"died with status {code}" if code else ""


def restored(options: Options) -> Found:
    """What an earlier call found, if there was one."""
    path = _state(options)
    return _restored(path) if path.is_file() else Found(seed=options.seed)


def keep(options: Options, found: Found) -> None:
    write_whole(_state(options), json.dumps(asdict(found)))
    write_text(_state(options).with_suffix(".txt"), table(found) + "\n")


def _state(options: Options) -> Path:
    return options.out / f"seed-{options.seed}.json"


def _restored(path: Path) -> Found:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Found(
        **stored
        | {
            "faults": [Fault(**one) for one in stored["faults"]],
            "tallies": {name: Tally(**one) for name, one in stored["tallies"].items()},
        }
    )


def table(found: Found) -> str:
    """What became of the inputs of each kind, and each fault once."""
    lines = [f"{'file':<52} {'inputs':>8} {'read':>7} {'ms each':>8} {'longest s':>9}"]
    for name, one in sorted(found.tallies.items()):
        each = 1000 * one.seconds / one.inputs
        lines.append(f"{name:<52} {one.inputs:>8} {one.read:>7} {each:>8.2f} {one.longest:>9.2f}")
    kinds: dict[tuple[str, str, str], list[int]] = {}
    for fault in found.faults:
        key = (fault.file, fault.what.partition(":")[0], fault.where)
        kinds.setdefault(key, []).append(fault.number)
    first = {fault.number: fault for fault in found.faults}
    for (file, _, where), numbers in sorted(kinds.items(), key=lambda item: -len(item[1])):
        what = first[numbers[0]].what
        lines.append(f"FAULT {len(numbers)} x {file}: {what} ({where}); --only {numbers[0]}")
    lines.append(
        f"seed {found.seed}: {found.next:,} inputs, {len(found.faults)} faults,"
        f" {found.seconds:,.0f} s"
    )
    return "\n".join(lines)


def show(files: Sequence[Outside], seed: int, number: int) -> None:
    """One input, and the whole way to where it leads."""
    file, content = chosen(files, seed, number)
    print(f"{file.name}: {content[:3000]!r}")
    file.path.write_bytes(content)
    file.seal()
    with limits():
        signal.setitimer(signal.ITIMER_PROF, 10 * SECONDS)
        try:
            print(f"read: {file.read()!r:.500}")
        except BaseException:
            traceback.print_exc()


def in_memory() -> str | None:
    """A folder for files that need no disk, since some are flushed; None: there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker or options.only is not None:
        with TemporaryDirectory(prefix="mechshift-fuzz-", dir=in_memory()) as folder:
            files = outside_files(Path(folder) / "files", options.run)
            if options.only is None:
                work(options, files)
            else:
                show(files, options.seed, options.only)
        return
    at = options.out / AT
    while (found := restored(options)).next < options.inputs:
        at.unlink(missing_ok=True)
        ended = wait_for(subprocess.Popen([sys.executable, *sys.argv, "--worker"]), at)
        if ended:
            found = restored(options)
            if not at.is_file():
                sys.exit(f"the worker {ended} before its first input.")
            number = int.from_bytes(at.read_bytes(), "little")
            found.faults.append(Fault(number=number, file="", what=ended, where=DIED))
            keep(options, found)
    print(table(found))
    if found.faults:
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
