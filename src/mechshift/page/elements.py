"""The parts that a page is made of: answers, rows of tables, figures and definitions.

Topics make them from their records, and the templates show them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mechshift.page.figure import Figure
from mechshift.page.formats import Cell


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A term and what it means on the page."""

    term: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer."""

    question: str
    verdict: str
    """A few words; `not decided` where the number does not decide."""
    sentence: str
    """The numbers behind the verdict."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure, its numbers and how to read it."""

    name: str
    """Part of file names: `circuit-map`, `overlap`, ..."""
    figure: Figure
    table: pl.DataFrame
    reading: str
    """One or two sentences for a reader who sees this kind of figure for the first time."""
    fold: str = ""
    """Line under which it is folded away, together with its neighbours of the same line; empty:
    always in view."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity over all tasks."""

    name: str
    explanation: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows of the headline that answer one question."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of a topic's section below its figures, by a template of its own, such as a table."""

    template: str
    """Name of a template in `page/templates`, which gets `part` as a variable."""
    content: Mapping[str, Any]
    """Names in the template and their values; texts are escaped by the template."""
