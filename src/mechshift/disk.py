"""Files and folders on the disk, written so that one under its own name is whole.

Each is written under a hidden name, flushed to the disk and renamed, so that neither a kill nor a
power cut leaves half of it. What was there before goes only once the new one is in its place.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

if sys.platform != "win32":
    import fcntl

LEFT_SECONDS = 7 * 24 * 3600.0
"""After a week without a change, an unfinished folder counts as left, where no lock can tell."""


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, with the same line ends on every platform."""
    path.write_bytes(text.encode("utf-8"))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, in place of an earlier one, that is whole once it has its name.

    Args:
        path: where; the folder is there.
        content: bytes, or a text for `write_text`.
    """
    partial = path.with_name(f".{path.name}.partial")
    if isinstance(content, str):
        write_text(partial, content)
    else:
        partial.write_bytes(content)
    flush(partial)
    partial.replace(path)
    flush(path.parent)


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` to write into, which is gone after unless it was moved.

    What processes that were killed while writing `folder` left beside it is removed first. Who
    writes holds the system's lock on its own hidden folder, so whatever nobody holds was left:
    numbers of processes say nothing of those on another machine.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    partial, lock = _own_partial(folder)
    try:
        partial.chmod(0o755)  # mkdtemp makes it private; a run folder is shared like any other
        yield partial
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)


def move_into_place(partial: Path, folder: Path, *, replace: bool = False) -> None:
    """Flush a folder that was written, and give it its name.

    Args:
        partial: the folder, beside its place.
        folder: its place.
        replace: remove a folder that has the name, once the new one is in its place.

    Raises:
        OSError: something that is not to be replaced has the name, or the system refuses.
    """
    for path in sorted(partial.rglob("*")):
        flush(path)
    flush(partial)
    older = folder.with_name(f".{folder.name}.older")
    if replace:
        shutil.rmtree(older, ignore_errors=True)
        if folder.exists():
            folder.rename(older)
    try:
        partial.replace(folder)
    except OSError:
        if replace and older.exists():
            older.rename(folder)
        raise
    flush(folder.parent)
    if replace:
        shutil.rmtree(older, ignore_errors=True)


def make_writable(folder: Path) -> None:
    """Make a folder, and write a file in it that goes at once: a check before long work.

    Raises:
        OSError: the system refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


def disk_refusal(error: Exception) -> str | None:
    """The system's reason, if an error is one of the disk's.

    Weights, tables and tokenizers are written in Rust, whose libraries have errors of their own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if "(os error " in str(error) else None


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seconds_since_change(path: Path) -> float:
    """Seconds since a file or a folder was changed, both times by the clock of its disk."""
    with TemporaryFile(dir=path.parent) as now:
        now.write(b"now")
        now.flush()
        # Opened, since a network file system keeps what it knew of a path.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.fstat(now.fileno()).st_mtime - os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)


def _partial_prefix(folder: Path) -> str:
    return f".{folder.name}.partial-"


def _own_partial(folder: Path) -> tuple[Path, int | None]:
    """A new hidden folder, and the descriptor that holds it; None where folders have no locks."""
    while True:
        partial = Path(mkdtemp(prefix=_partial_prefix(folder), dir=folder.parent))
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _hold(partial)
            if lock is None or partial.exists():
                return partial, lock
            os.close(lock)
        # Before it was held, another process took it for one that was left.


def _remove_stale(folder: Path) -> None:
    """Remove what runs that were killed while writing `folder` left beside it."""
    prefix = _partial_prefix(folder)
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix):
            with suppress(BlockingIOError, FileNotFoundError):  # somebody's, or gone by now
                lock = _hold(path)
                if lock is not None or _was_left(path):
                    shutil.rmtree(path, ignore_errors=True)
                if lock is not None:
                    os.close(lock)


def _hold(folder: Path) -> int | None:
    """A descriptor that holds a folder until it is closed.

    None: the file system has no locks on folders, as NFS and Windows.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: there is none any more.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as refusal:
        os.close(descriptor)
        if isinstance(refusal, BlockingIOError):
            raise
        return None
    return descriptor


def _was_left(folder: Path) -> bool:
    """Whether nothing was made in a folder for so long that nobody can be writing it."""
    try:
        return seconds_since_change(folder) > LEFT_SECONDS
    except OSError:
        return False
