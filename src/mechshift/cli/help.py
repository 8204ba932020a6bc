"""Help that fits two screens, for who runs a command for the first time.

A command with hundreds of options groups them by stage. Its `--help` shows what comes first, and of
every group its name and what it is about; `--help-all` shows all of them.
"""

import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

ASKS, ASKS_ALL = ("-h", "--help"), "--help-all"

TWO_SCREENS = 100
"""Lines; a help that is shorter is shown whole, and so is one without the frames of groups, which
a terminal that is not UTF-8 gets."""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_TITLE = re.compile(r"^╭─ (\S+) options ─+╮$")


class _Kept(io.StringIO):
    """Text that is kept, with the colours and letters that what would show it can show."""

    def __init__(self, shown: Any) -> None:
        super().__init__()
        self._shown = shown

    @property
    def encoding(self) -> str:  # type: ignore[override]
        # tyro draws frames where it reads this very word.
        return "ascii" if self._shown is None else self._shown.encoding.lower()

    def isatty(self) -> bool:
        return self._shown is not None and self._shown.isatty()


@contextmanager
def short_help(words: Sequence[str]) -> Iterator[list[str]]:
    """Shorten the help that is printed inside the block, unless all of it is asked for.

    Args:
        words: of the command line.

    Returns:
        The words that the parser understands.
    """
    if not {*ASKS, ASKS_ALL} & {*words}:
        yield [*words]
        return
    kept = _Kept(sys.stdout)
    try:
        with redirect_stdout(kept):
            yield [ASKS[1] if word == ASKS_ALL else word for word in words]
    finally:
        text = kept.getvalue()
        print(text if ASKS_ALL in words else shortened(text), end="")


def shortened(text: str) -> str:
    """A help in which groups of options are one line each, if it is longer than two screens."""
    lines = text.splitlines(keepends=True)
    if len(lines) <= TWO_SCREENS:
        return text
    kept, groups = [], {}
    group: str | None = None
    for line in lines:
        bare = _STYLE.sub("", line).strip()
        if found := _TITLE.match(bare):
            group = found[1]
            groups[group] = ""
        elif group is None:
            kept.append(line)
        elif bare.startswith("╰"):
            group = None
        elif not groups[group]:
            groups[group] = bare.strip("│ ")
    if not groups:
        return text
    width = max(map(len, groups))
    more = [f"  --{name}.{'*':<{width - len(name) + 3}}{about}\n" for name, about in groups.items()]
    return "".join([*kept, f"\nMore options, all of them with {ASKS_ALL}:\n", *more])
