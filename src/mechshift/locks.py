"""Locks on folders, so that two processes never write into one at the same time, on any machine.

1. The system's own lock, on the hidden file `.lock` in the folder: the kernel lets go of it when
   the process ends, however it ends, so a killed process locks nobody out. Some shared file systems
   do not carry it to other machines, and some have none.
2. So the holder signs, in `.lock-holder.json` beside it, and touches that file every 15 s. A
   signature can be made by one process alone, since the file is created where there is none.
3. A signature of this machine counts while the system's lock does, that of another machine until
   it was not touched for two minutes, by the clock of the file system. One that counts no more is
   replaced, and looked at again a second later: of two processes that replace it at once, the later
   one holds the folder.
4. A holder that finds another's signature in place of its own, because it was suspended, is ended.

Both files are removed on release.
"""

import errno
import json
import os
import platform
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from msgspec import Struct
from msgspec.structs import asdict

from mechshift.disk import seconds_since_change
from mechshift.errors import ArtifactError, MechshiftError
from mechshift.input_files import read_json

LOCK_NAME, HOLDER_NAME = ".lock", ".lock-holder.json"

BEAT, STALE, SETTLING = 15.0, 120.0, 1.0
"""Seconds between two touches; after which a holder on another machine counts as gone; and those
that two processes which replace one signature may lie apart. A network file system may show a touch
up to a minute late."""

_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def hold_folder(folder: Path, *, error: type[MechshiftError] = ArtifactError) -> Iterator[None]:
    """Make a folder if need be and keep other processes out of it.

    Also the check, before any wait, that the folder can be written. A folder that was made and is
    still empty at the end is removed again, with those that were made for it.

    Within a hold the same thread may hold the folder again, as a run's stages do.

    Args:
        folder: where; its parents are made.
        error: what is raised.

    Raises:
        ArtifactError, or `error`: another process holds the folder, and the message says which and
            since when; the folder cannot be made or written; or another process took it over while
            this one was suspended, in place of the KeyboardInterrupt that ends the work.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    key = folder.resolve(), threading.get_ident()
    if key in _held:
        yield
        return
    lock = FileLock(folder.resolve() / LOCK_NAME)
    hold: _Hold | None = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            hold = _Hold(folder.resolve(), is_locked=_acquire(lock))
        except (Timeout, _InUse) as taken:
            raise error(
                f"{folder} is in use by {taken if isinstance(taken, _InUse) else _holder(folder)};"
                " wait until it has ended, or choose another folder."
            ) from None
        except OSError as refusal:
            raise error(
                f"cannot write in {folder}: {refusal.strerror or refusal}; choose another folder,"
                " or make room or way for this one."
            ) from refusal
        _held.add(key)
        try:
            yield
        except KeyboardInterrupt:
            if not hold.is_lost:
                raise
        if hold.is_lost:
            raise error(
                f"{folder} was taken over by {_holder(folder)}, since this process was not heard"
                f" of for {STALE:.0f} s; wait until that one has ended."
            )
    finally:
        _held.discard(key)
        if hold is not None:
            hold.end()
            if not hold.is_lost:
                _remove(folder)
        elif lock.is_locked and not (folder / HOLDER_NAME).exists():
            _remove(folder)  # nobody could sign
        lock.release()
        _remove_empty(made)


def is_held(folder: Path) -> bool:
    """Whether a process has signed that it holds a folder, and touched that lately.

    A guess, for who only looks: one that was killed a moment ago still seems to hold it, and the
    clocks of two machines may differ.
    """
    try:
        return time.time() - (folder / HOLDER_NAME).stat().st_mtime < STALE
    except OSError:
        return False


_held: set[tuple[Path, int]] = set()
"""Folders that are held by this process, each with the thread that does."""


class _Holder(Struct):
    """Who holds a folder."""

    host: str
    process: int
    since: str
    machine: str = ""
    token: str = ""
    """Of this one hold."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


class _InUse(Exception):
    """Another process has signed; the message says which."""


class _Hold:
    """Our signature in a folder, touched until `end`."""

    def __init__(self, folder: Path, *, is_locked: bool) -> None:
        """Sign.

        Args:
            folder: where.
            is_locked: whether we have the system's lock too, so that no other process of this
                machine does.

        Raises:
            _InUse: another process holds the folder.
            OSError: the system refuses.
        """
        self.is_lost = False
        """Whether another process took the folder over."""
        self._signed = folder / HOLDER_NAME
        self._holder = _this_process()
        self._sign(is_locked)
        self._to_interrupt = threading.current_thread() is threading.main_thread()
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beats.start()

    def end(self) -> None:
        """Touch the signature no more, and look at it once more."""
        self._ended.set()
        self._beats.join()
        self.is_lost = self.is_lost or self._is_of_another()

    def _sign(self, is_locked: bool) -> None:
        settling = 0.0
        if not self._create():
            other = _read_holder(self._signed)
            age = STALE  # where it has just been removed
            with suppress(FileNotFoundError):
                age = seconds_since_change(self._signed)
            of_here = other is not None and other.machine == _machine()
            if other is None:
                gone = is_locked  # one that was killed, or is about to sign elsewhere
            else:
                gone = of_here and (is_locked or not _is_running(other.process))
            if not gone and age < STALE:
                heard = "" if of_here else f", last heard of {age:.0f} s ago"
                forgotten = f" (a killed one is forgotten after {STALE:.0f} s)"
                raise _InUse(f"{other or 'another process'}{heard}{forgotten}")
            if not (gone and of_here) or age >= STALE:
                settling = SETTLING
            self._signed.unlink(missing_ok=True)
            self._create()
        time.sleep(settling)
        found = _read_holder(self._signed)
        if found is None or found.token != self._holder.token:
            raise _InUse(str(found or "another process"))

    def _create(self) -> bool:
        """Sign where nobody has; whether nobody had."""
        try:
            file = self._signed.open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(json.dumps(asdict(self._holder)) + "\n")
        except OSError:
            self._signed.unlink(missing_ok=True)
            raise
        return True

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # the server is away, or the folder has another name
                if not self._signed.exists():
                    self._create()  # somebody tidied up
                elif not self._is_of_another():
                    os.utime(self._signed)
                else:
                    self.is_lost = True
                    if self._to_interrupt:
                        _interrupt_main()
                    return

    def _is_of_another(self) -> bool:
        found = _read_holder(self._signed)
        return found is not None and found.token != self._holder.token


def _interrupt_main() -> None:
    """As Ctrl-C does, or SIGTERM where Ctrl-C is ignored, as in a shell's background."""
    main = threading.main_thread().ident
    assert main is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(signum)):
            signal.pthread_kill(main, signum)  # which wakes it where it waits
            return


def _acquire(lock: FileLock) -> bool:
    """Whether the system's lock is ours; it is not where there is none."""
    try:
        lock.acquire(blocking=False)
    except NotImplementedError:  # filelock's word for ENOSYS
        return False
    except OSError as refusal:
        if refusal.errno not in _NO_LOCKS_HERE:
            raise
        return False
    return True


def _this_process() -> _Holder:
    return _Holder(
        host=platform.node(),
        process=os.getpid(),
        since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        machine=_machine(),
        token=secrets.token_hex(8),
    )


def _machine() -> str:
    """One kernel, within which the system's locks hold, whatever its containers call themselves."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _holder(folder: Path) -> str:
    # One that holds the lock may not have signed yet.
    return str(_read_holder(folder / HOLDER_NAME) or "another process")


def _read_holder(signed: Path) -> _Holder | None:
    try:
        holder: _Holder = read_json(signed, _Holder, error=ArtifactError)
    except ArtifactError:
        return None
    return holder


def _is_running(process: int) -> bool:
    """Whether a process of this machine has this number."""
    if os.name != "posix":
        return True  # on Windows signal 0 would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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
