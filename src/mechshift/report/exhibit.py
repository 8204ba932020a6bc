"""What stands around a figure on the page."""

from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure, its numbers and how to read it."""

    name: str
    """Part of file names: `circuit-map`, `overlap`, ..."""

    figure: go.Figure
    table: pl.DataFrame
    reading: str
    """One or two sentences for a reader who sees this kind of figure for the first time."""

    section: str = "Circuits"
    """Heading under which it stands; figures of one section follow each other."""

    fold: str = ""
    """Line under which it is folded away, together with its neighbours of the same line; empty:
    always in view."""
