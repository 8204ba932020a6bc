"""A disk that refuses at the n-th write, or a process that is killed there.

Counted are, below one folder,

1. what Python asks of the system, which it tells an audit hook: files opened for writing, folders
   made, renames, and removals where they can be refused, or a kill can come before them;
2. flushes to the disk, and what is written in Rust or mapped (safetensors, Parquet, tokenizers,
   arrays in files), of which half a file is then there.

A full or read-only disk goes on refusing until the command has ended; a failing one refuses once.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import safetensors.numpy
import safetensors.torch
from safetensors import SafetensorError
from transformers.tokenization_utils_tokenizers import TokenizersBackend

KILL = -9
"""In place of an error number: the process is killed."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"}
REMOVING = {"os.remove", "os.rmdir"}


class Disk:
    """What is asked of the system below one folder, and whether it is granted."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.left = -1
        self.refusal = 0
        self.num_writes = 0
        self.refused: list[str] = []

    @contextlib.contextmanager
    def below(self, folder: Path, *, left: int = -1, refusal: int = 0) -> Iterator["Disk"]:
        """Refuse after so many writes below `folder`; -1: count them alone.

        Args:
            folder: what lies elsewhere is granted.
            left: how many are granted.
            refusal: an error's number, or `KILL`.
        """
        self.folder, self.left, self.refusal = os.fspath(folder), left, refusal
        self.num_writes, self.refused = 0, []
        try:
            yield self
        finally:
            self.folder = None

    def hears(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook; Python has none that can be taken off again."""
        if self.folder is None:
            return
        if event == "open":
            path, _, flags = arguments
            # A folder is opened so by tempfile, which has another way where that is refused.
            if isinstance(flags, int) and flags & WRITING and not os.path.isdir(path):
                self.asked(path)
        elif event in MAKING and not (event == "os.mkdir" and os.path.isdir(arguments[0])):
            self.asked(arguments[0])
        elif event in REMOVING and self.refusal in (errno.EROFS, KILL):
            self.asked(arguments[0], counts=self.refusal == KILL, inside=arguments[-1] != -1)

    def asked(self, path: Any, *, counts: bool = True, inside: bool = False) -> None:
        """A write to a path.

        Args:
            path: a file or a folder.
            counts: whether it is one of the writes that are counted.
            inside: it is relative to a folder that is open.
        """
        if self._is_due(path, counts, inside):
            self._refuse(path)

    def half_written(
        self, write: Callable[..., Any], place: int, refused: Callable[[OSError], Exception]
    ) -> Callable[..., Any]:
        """A function that writes a whole file, of which half is there where it is refused.

        Args:
            write: the function.
            place: of the path among its arguments.
            refused: what it raises for the system's error.
        """

        def writing(*arguments: Any, **options: Any) -> Any:
            path = os.fspath(arguments[place])
            if not self._is_due(path, counts=True, inside=False):
                return write(*arguments, **options)
            folder, self.folder = self.folder, None
            write(*arguments, **options)
            os.truncate(path, os.path.getsize(path) // 2)
            self.folder = folder
            try:
                self._refuse(path)
            except OSError as refusal:
                raise refused(refusal) from None

        return writing

    def _is_due(self, path: Any, counts: bool, inside: bool) -> bool:
        if self.folder is None:
            return False
        named = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)
        if not (named or inside):
            return False
        broken = self.left >= 0 and self.num_writes > self.left
        self.num_writes += counts
        if self.left < 0 or self.num_writes <= self.left:
            return False
        return not (self.refusal == errno.EIO and broken)

    def _refuse(self, path: Any) -> None:
        if self.refusal == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        self.refused.append(str(path))
        raise OSError(self.refusal, os.strerror(self.refusal), str(path))


@contextlib.contextmanager
def listening() -> Iterator[Disk]:
    """A disk that hears of all writes of this process."""
    disk = Disk()
    sys.addaudithook(disk.hears)
    fsync, fallocate = os.fsync, os.posix_fallocate

    def flushing(descriptor: int) -> None:
        disk.asked(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def reserving(descriptor: int, start: int, length: int) -> None:
        disk.asked(os.readlink(f"/proc/self/fd/{descriptor}"))
        fallocate(descriptor, start, length)

    def in_rust(kind: type[Exception]) -> Callable[[OSError], Exception]:
        return lambda refusal: kind(f"{refusal.strerror} (os error {refusal.errno})")

    save_tokenizer = TokenizersBackend._save_pretrained

    def saving_tokenizer(
        tokenizer: Any, save_directory: Any, *arguments: Any, **options: Any
    ) -> Any:
        try:
            disk.asked(os.path.join(save_directory, "tokenizer.json"))
        except OSError as refusal:
            raise in_rust(Exception)(refusal) from None
        return save_tokenizer(tokenizer, save_directory, *arguments, **options)

    with contextlib.ExitStack() as stack:

        def replace(owner: Any, name: str, new: Any) -> None:
            stack.enter_context(patch.object(owner, name, new))

        replace(os, "fsync", flushing)
        replace(os, "posix_fallocate", reserving)
        replace(TokenizersBackend, "_save_pretrained", saving_tokenizer)
        for owner, name, place, refused in (
            (safetensors.numpy, "serialize_file", 1, in_rust(SafetensorError)),
            (safetensors.torch, "serialize_file", 1, in_rust(SafetensorError)),
            (pl.DataFrame, "write_parquet", 1, in_rust(pl.exceptions.ComputeError)),
            (Path, "write_bytes", 0, lambda refusal: refusal),
        ):
            replace(owner, name, disk.half_written(getattr(owner, name), place, refused))
        yield disk
