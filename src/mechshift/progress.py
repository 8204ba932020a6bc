"""How does a person see that long work goes on, and how long it will take?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]
"""Called with how much more is done."""


@contextmanager
def progress_bar(description: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """A bar on standard error with the time gone and the time left; nothing with `quiet`.

    Where standard error is not a terminal, the bar is written once, when it is done.
    """
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda done: progress.advance(bar, done)
        # Work that ends early, as a pool does once it is full, is done all the same.
        progress.update(bar, total=progress.tasks[0].completed, refresh=True)
