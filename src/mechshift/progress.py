"""Progress bars of long work, with an estimate of the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@runtime_checkable
class Advance(Protocol):
    """Called with how much more is done, and perhaps a note to show beside the bar."""

    def __call__(self, done: int | float, /, note: str = "") -> None:
        """Move the bar on."""


@contextmanager
def progress_bar(description: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """A bar on standard error with the time gone and the time left; nothing with `quiet`.

    Where standard error is not a terminal, the bar is written once, when it is done.
    """
    if quiet:
        yield _shown_nowhere
        return
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(description, total=total, note="")

        def advance(done: int | float, /, note: str = "") -> None:
            progress.update(bar, advance=done, note=note)

        yield advance
        # Work that ends early, as a pool does once it is full, is done all the same.
        progress.update(bar, total=progress.tasks[0].completed, refresh=True)


def _shown_nowhere(done: int | float, /, note: str = "") -> None:
    """Move no bar on."""
