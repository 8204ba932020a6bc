"""Tables for a paper: as LaTeX (with booktabs) and as Markdown, every text escaped.

A cell is a number with its interval, or a few words. No library is needed for either: a table here
is rows of short texts, and what there is for it (pandas, great_tables) brings more than it saves.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mechshift.page.formats import Cell

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{MATHEMATICAL LEFT ANGLE BRACKET}": r"$\langle$",
    "\N{MATHEMATICAL RIGHT ANGLE BRACKET}": r"$\rangle$",
}

_IN_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~&])")


@dataclass(frozen=True, kw_only=True)
class PrintedGroup:
    """Rows that answer one question."""

    name: str
    """Empty: they have no line above them."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Name of a row, and a cell for every column."""


@dataclass(frozen=True, kw_only=True)
class PrintedTable:
    """A table with its caption."""

    name: str
    """Of its file and its label."""
    caption: str
    corner: str
    """What stands above the rows' names."""
    columns: tuple[str, ...]
    groups: tuple[PrintedGroup, ...]

    def __post_init__(self) -> None:
        assert all(
            len(cells) == len(self.columns) for group in self.groups for _, cells in group.rows
        )


def latex(text: str) -> str:
    """A text in which LaTeX reads no command: one line, whatever it holds."""
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def markdown(text: str) -> str:
    """A text in which Markdown reads no mark-up and no HTML."""
    return _IN_MARKDOWN.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    """With a space in place of line ends and other characters that have no shape."""
    joined = " ".join(re.split(r"[\t\r\n]+", text))
    return "".join(
        letter if letter.isprintable() or letter == "\N{NO-BREAK SPACE}" else " "
        for letter in joined
    )


def latex_table(table: PrintedTable) -> str:
    r"""A `table` environment, to be included with \input; it needs the package booktabs."""
    width = len(table.columns) + 1
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'l' * len(table.columns)}}}",
        r"\toprule",
        _latex_row([table.corner, *table.columns]),
        r"\midrule",
    ]
    for place, group in enumerate(table.groups):
        if place:
            lines.append(r"\addlinespace")
        if group.name:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex(group.name)}}}}} \\")
        lines += [_latex_row([name, *map(_text, cells)]) for name, cells in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(latex, texts)) + r" \\"


def markdown_table(table: PrintedTable) -> str:
    """A table as GitHub and most others read it, under its caption."""
    lines = [markdown(table.caption), "", _markdown_row([table.corner, *table.columns])]
    lines.append("|---" * (len(table.columns) + 1) + "|")
    for group in table.groups:
        if group.name:
            empty = " |" * len(table.columns)
            lines.append(f"| **{markdown(group.name)}** |{empty}")
        lines += [_markdown_row([name, *map(_text, cells)]) for name, cells in group.rows]
    return "\n".join(lines) + "\n"


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown, texts))} |"


def _text(cell: Cell) -> str:
    """A cell without its remark, which is longer than a column of a paper is wide."""
    between = ", " if cell.interval and not cell.interval.startswith("[") else " "
    return f"{cell.text}{between}{cell.interval}".strip()
