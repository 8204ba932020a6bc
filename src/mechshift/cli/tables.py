"""Tables in a terminal."""

import polars as pl
from rich.console import Console
from rich.table import Table

from mechshift.printable import printable


def print_table(table: pl.DataFrame) -> None:
    """Print a table on standard output: numbers to the right, as wide as the terminal allows."""
    shown = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    for index, (name, dtype) in enumerate(table.schema.items()):
        shown.add_column(
            printable(name),
            justify="right" if dtype.is_numeric() else "left",
            overflow="fold",
            no_wrap=index == 0,
        )
    for row in table.rows():
        shown.add_row(*(_cell(value) for value in row))
    # Names come from users' files: rich must not read markup in them.
    Console(markup=False, highlight=False).print(shown)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))
