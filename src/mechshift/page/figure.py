"""Figure: traces and layout as plain data in plotly's JSON schema, which plotly.js draws on a page.

plotly's own objects check each attribute as it is set, and copy it, which took most of a report's
time. Here a trace is a dict of lists and arrays. The tests hold every figure of a report against
plotly's schema; in Python, `Figure.to_plotly` gives plotly's object, checked, to show or save.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

Trace = dict[str, Any]
"""Attributes of a trace, its `type` among them; a missing value is a NaN in an array."""


def scatter(**attributes: Any) -> Trace:
    """Points or a line."""
    return {"type": "scatter", **attributes}


def bars(**attributes: Any) -> Trace:
    """Bars."""
    return {"type": "bar", **attributes}


def box(**attributes: Any) -> Trace:
    """Boxes over samples."""
    return {"type": "box", **attributes}


def heat_map(**attributes: Any) -> Trace:
    """Coloured cells."""
    return {"type": "heatmap", **attributes}


class Figure:
    """Panels in a grid, row by row; where they lie is up to `theme.finish`.

    A row and a column name panels from 1 on; left out, they name all.
    """

    def __init__(
        self, titles: Sequence[str] = ("",), *, columns: int = 1, shared_yaxes: bool = False
    ) -> None:
        """Empty panels.

        Args:
            titles: one for each panel; a single empty one: a panel that carries no title.
            columns: of the grid.
            shared_yaxes: panels of a row have one range, and ticks only at the first.
        """
        self.data: list[Trace] = []
        self.frames: list[dict[str, Any]] = []
        """Each with `name` and `data`, the traces that it puts in place of those of `data`."""
        self.layout: dict[str, Any] = {}
        self._places = [(index // columns + 1, index % columns + 1) for index in range(len(titles))]
        for index, (_, column) in enumerate(self._places):
            suffix = _suffix(index)
            self.layout[f"xaxis{suffix}"] = {"anchor": f"y{suffix}"}
            self.layout[f"yaxis{suffix}"] = {"anchor": f"x{suffix}"}
            if shared_yaxes and column > 1:
                first = f"y{_suffix(index - column + 1)}"
                self.layout[f"yaxis{suffix}"] |= {"matches": first, "showticklabels": False}
        if any(titles):
            for title in titles:
                self.annotate(title)

    def add(self, *traces: Trace, row: int = 1, column: int = 1) -> None:
        """Draw traces in a panel."""
        suffix = _suffix(self._places.index((row, column)))
        for trace in traces:
            self.data.append({**trace, "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})

    def set_layout(self, **attributes: Any) -> None:
        """Set attributes of the layout; dicts are merged into what is there."""
        _merge(self.layout, attributes)

    def set_xaxes(
        self, *, row: int | None = None, column: int | None = None, **attributes: Any
    ) -> None:
        """Set attributes of the named panels' x axes, merged likewise; `title` may be text."""
        self._set_axes("xaxis", row, column, attributes)

    def set_yaxes(
        self, *, row: int | None = None, column: int | None = None, **attributes: Any
    ) -> None:
        """The same of the y axes."""
        self._set_axes("yaxis", row, column, attributes)

    def annotate(self, text: str, **attributes: Any) -> None:
        """Write a text; the first ones are the panels' titles."""
        self.layout.setdefault("annotations", []).append(
            {"text": text, "xref": "paper", "yref": "paper", "showarrow": False, **attributes}
        )

    def set_annotations(self, **attributes: Any) -> None:
        """Set attributes of every text, merged likewise."""
        for annotation in self.layout.get("annotations", ()):
            _merge(annotation, attributes)

    def colour_titles(self, colours: Iterable[str]) -> None:
        """Give the first panels' titles these colours."""
        for annotation, colour in zip(self.layout["annotations"], colours, strict=False):
            _merge(annotation, {"font": {"color": colour}})

    def add_hline(
        self,
        y: float,
        *,
        row: int | None = None,
        column: int | None = None,
        line: Mapping[str, Any],
        opacity: float = 1.0,
    ) -> None:
        """A horizontal line across the named panels."""
        for suffix in self._named(row, column):
            ends = {"x0": 0, "x1": 1, "xref": f"x{suffix} domain"}
            self._add_line(ends | {"y0": y, "y1": y, "yref": f"y{suffix}"}, line, opacity)

    def add_vline(
        self,
        x: float,
        *,
        row: int | None = None,
        column: int | None = None,
        line: Mapping[str, Any],
        opacity: float = 1.0,
    ) -> None:
        """A vertical line through the named panels."""
        for suffix in self._named(row, column):
            ends = {"y0": 0, "y1": 1, "yref": f"y{suffix} domain"}
            self._add_line(ends | {"x0": x, "x1": x, "xref": f"x{suffix}"}, line, opacity)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set an attribute of the layout by a dotted name: `xaxis2.domain`, `annotations[0].x`."""
        assign(self.layout, name, value)

    def to_plotly(self) -> go.Figure:
        """Plotly's object of it.

        Raises:
            ValueError: an attribute is not in plotly's schema.
        """
        return go.Figure(data=self.data, layout=self.layout, frames=self.frames)

    def _set_axes(
        self, axis: str, row: int | None, column: int | None, attributes: Mapping[str, Any]
    ) -> None:
        title = attributes.get("title")
        if isinstance(title, str):
            attributes = {**attributes, "title": {"text": title}}
        for suffix in self._named(row, column):
            _merge(self.layout[f"{axis}{suffix}"], attributes)

    def _named(self, row: int | None, column: int | None) -> Iterator[str]:
        for index, (of_row, of_column) in enumerate(self._places):
            if row in (None, of_row) and column in (None, of_column):
                yield _suffix(index)

    def _add_line(self, ends: Mapping[str, Any], line: Mapping[str, Any], opacity: float) -> None:
        shape = {"type": "line", **ends, "line": line, "opacity": opacity}
        self.layout.setdefault("shapes", []).append(shape)


def assign(layout: dict[str, Any], name: str, value: Any) -> None:
    """Set an attribute of a layout by a dotted name, as `Figure.set_attribute` does."""
    *path, last = name.replace("[", ".").replace("]", "").split(".")
    target: Any = layout
    for part in path:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    target[last] = value


def _suffix(index: int) -> str:
    """Of the names of a panel's axes."""
    return "" if index == 0 else str(index + 1)


def _merge(target: dict[str, Any], attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, Mapping):
            if not isinstance(target.get(name), dict):
                target[name] = {}
            _merge(target[name], value)
        else:
            target[name] = value


def to_json(value: Any) -> str:
    """Plain data with arrays as JSON for plotly.js; the same data give the same text."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """An array of floats in plotly.js's binary form, which also holds NaN; others as lists."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        spec = {"dtype": value.dtype.str[1:], "bdata": base64.b64encode(value.tobytes()).decode()}
        if value.ndim > 1:
            spec["shape"] = ", ".join(map(str, value.shape))
        return spec
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a figure holds {type(value).__name__}, which is not plain data")


@cache
def default_look() -> str:
    """Plotly's default look as JSON, which a page carries once for all of its figures."""
    return json.dumps(go.Figure().layout.template.to_plotly_json(), sort_keys=True)
