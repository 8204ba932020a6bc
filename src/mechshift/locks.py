"""Locks on folders, so that two processes never write into one at the same time.

The lock is the system's own, on the hidden file `.lock` in the folder: the kernel lets go of it
when the process ends, however it ends, so a killed process locks nobody out. Beside it
`.lock-holder.json` says who holds it, for the message to the second one. Both are removed on
release.
"""

import errno
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from msgspec import Struct

from mechshift.errors import ArtifactError, MechshiftError
from mechshift.input_files import read_json

LOCK_NAME, HOLDER_NAME = ".lock", ".lock-holder.json"

_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def hold_folder(folder: Path, *, error: type[MechshiftError] = ArtifactError) -> Iterator[None]:
    """Make a folder if need be and keep other processes out of it.

    Also the check, before any wait, that the folder can be written. A folder that was made and is
    still empty at the end is removed again, with those that were made for it.

    Within a hold the same thread may hold the folder again, as a run's stages do. On a file system
    without locks the folder is not held, and all else is the same.

    Args:
        folder: where; its parents are made.
        error: what is raised.

    Raises:
        ArtifactError, or `error`: another process holds the folder, and the message says which and
            since when; or the folder cannot be made or written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    # A singleton counts how often its thread has acquired it.
    lock = FileLock(folder.resolve() / LOCK_NAME, is_singleton=True)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _acquire(lock)
            (folder / HOLDER_NAME).write_text(_this_process(), encoding="utf-8")
        except Timeout:
            raise error(
                f"{folder} is in use by {_holder(folder)}; wait until it has ended, or choose"
                " another folder."
            ) from None
        except OSError as refusal:
            raise error(
                f"cannot write in {folder}: {refusal.strerror or refusal}; choose another folder,"
                " or make room or way for this one."
            ) from refusal
        yield
    finally:
        if lock.is_locked:
            if lock.lock_counter == 1:
                _remove(folder)
            lock.release()
        _remove_empty(made)


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire(blocking=False)
    except NotImplementedError:  # filelock's word for ENOSYS
        return
    except OSError as refusal:
        if refusal.errno not in _NO_LOCKS_HERE:
            raise


def _this_process() -> str:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return json.dumps({"host": platform.node(), "process": os.getpid(), "since": since}) + "\n"


def _holder(folder: Path) -> str:
    try:
        holder: _Holder = read_json(folder / HOLDER_NAME, _Holder, error=ArtifactError)
    except ArtifactError:
        return "another process"  # which holds the lock and has not signed yet
    return f"process {holder.process} on {holder.host} since {holder.since}"


class _Holder(Struct):
    host: str
    process: int
    since: str


def _remove(folder: Path) -> None:
    """Remove both files while the lock is held: afterwards they may be another's."""
    for name in (HOLDER_NAME, LOCK_NAME):
        with suppress(OSError):  # Windows keeps an open file; the next holder takes it over
            (folder / name).unlink()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inner ones first, up to the first that holds something."""
    with suppress(OSError):
        for path in folders:
            path.rmdir()
