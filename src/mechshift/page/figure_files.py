"""Figures as files for a paper or for slides: SVG, PDF and PNG at a stated width.

Each is drawn by plotly.js, as on the page, in a browser without a window (`browser`). A column
shows the panels below each other, as a phone does. The title is left out, as a caption says it.
Of a figure that moves, the last frame is drawn.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from mechshift.errors import ConfigError
from mechshift.page.browser import Browser, open_browser
from mechshift.page.figure import Figure, assign, to_json
from mechshift.page.html import TOP_MARGIN, render_page

FigureFormat = Literal["svg", "pdf", "png"]
WidthName = Literal["column", "page"]
StyleName = Literal["paper", "slides"]

MM_PER_INCH = 25.4


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Width of a figure."""

    width: float
    """In print [mm]."""
    drawn: int
    """At which it is drawn [pixels], which decides how large text is in print."""
    patch: Literal["narrow", "wide"]
    """How its panels lie (`theme.finish`)."""
    left: int
    """Margin where a figure names none [pixels]."""
    ground: str = "#ffffff"
    """Colour behind the drawing."""

    @property
    def mm_per_pixel(self) -> float:
        """Of the drawing in print."""
        return self.width / self.drawn


SHEETS: Mapping[WidthName, Sheet] = {
    # Text of 13 pixels is 8 and 7 points high.
    "column": Sheet(width=85.0, drawn=380, patch="narrow", left=52),
    "page": Sheet(width=174.0, drawn=900, patch="wide", left=64),
}

# Text of 13 pixels is 13 points high, and stands on whatever colour the slide has.
SLIDE = Sheet(width=254.0, drawn=720, patch="wide", left=64, ground="rgba(0,0,0,0)")
"""Ten inches: nearly the whole width of a slide."""

DOTS_PER_INCH = 400
"""Of a PNG: what printers of journals ask for where there is text in a picture."""

PAPER_LAYOUT = {
    "font.color": "#000000",
    "font.family": "Helvetica, Arial, 'Liberation Sans', sans-serif",
    "margin.t": TOP_MARGIN,
    "margin.r": 10,
}

PAPER_GRID = "#e3e6ea"


def paper_plot(figure: Figure, sheet: Sheet) -> dict[str, Any]:
    """Data and layout of a figure as it is printed: black, without title, buttons or slider."""
    layout: dict[str, Any] = copied(figure.layout)
    patch = layout.pop("meta")[sheet.patch]
    for name in ("title", "updatemenus", "sliders"):
        layout.pop(name, None)
    grounds = dict.fromkeys(("paper_bgcolor", "plot_bgcolor"), sheet.ground)
    for name, value in {"margin.l": sheet.left, **PAPER_LAYOUT, **grounds, **patch}.items():
        assign(layout, name, value)
    for name, axis in layout.items():
        if re.fullmatch(r"[xy]axis\d*", name):
            axis["gridcolor"] = PAPER_GRID
    layout |= {"width": sheet.drawn, "autosize": False}
    data = figure.frames[-1]["data"] if figure.frames else figure.data
    return {"data": data, "layout": layout}


def sheet_of(style: StyleName, width: WidthName | None) -> Sheet:
    """What a figure of a style is drawn for.

    Args:
        style: paper or slides.
        width: of a paper; by default a column.

    Raises:
        ConfigError: a width of slides, which have one.
    """
    if style == "slides":
        if width is not None:
            raise ConfigError(f"--width {width} is a paper's; slides are {SLIDE.width:g} mm wide.")
        return SLIDE
    return SHEETS[width or "column"]


def copied(value: Any) -> Any:
    """Plain data whose dicts and lists can be changed; arrays are shared."""
    if isinstance(value, dict):
        return {name: copied(one) for name, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


class Press:
    """Press that draws figures into files; made by `open_press`."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def files(
        self, figure: Figure, formats: Sequence[FigureFormat], sheet: Sheet
    ) -> dict[FigureFormat, bytes]:
        """The figure in each format.

        Raises:
            ReportError: the browser cannot draw it.
        """
        plot = paper_plot(figure, sheet)
        self._browser.evaluate(f"draw({to_json(plot['data'])}, {to_json(plot['layout'])})")
        height = plot["layout"]["height"]
        made: dict[FigureFormat, bytes] = {}
        if "png" in formats:
            scale = DOTS_PER_INCH * sheet.mm_per_pixel / MM_PER_INCH
            made["png"] = base64.b64decode(self._browser.evaluate(f"image('png', {scale})"))
        if {"svg", "pdf"} & set(formats):
            drawn = without_chance(self._browser.evaluate("image('svg', 1)"))
            svg = sized(drawn, sheet, height)
            made["svg"] = svg.encode()
            if "pdf" in formats:
                self._browser.evaluate(f"lay({to_json(svg)})")
                inches = sheet.mm_per_pixel / MM_PER_INCH
                made["pdf"] = self._browser.pdf(sheet.drawn * inches, height * inches)
        return {name: made[name] for name in formats}


def without_chance(svg: str) -> str:
    """A drawing of plotly's, without the six letters that it draws at random for all ids in it."""
    found = re.search(r'id="defs-([0-9a-f]{6})"', svg)
    if found is None:
        return svg
    return re.sub(rf'((?:id="|url\(#)[a-z-]*){found[1]}', r"\1", svg)


def sized(svg: str, sheet: Sheet, height: int) -> str:
    """A drawing of plotly's, in millimetres instead of pixels."""
    width, tall = f"{sheet.width:g}mm", f"{height * sheet.mm_per_pixel:g}mm"
    svg = re.sub(r'width="[\d.]+"', f'width="{width}"', svg, count=1)
    return re.sub(r'height="[\d.]+"', f'height="{tall}"', svg, count=1)


@contextmanager
def open_press(program: Path) -> Iterator[Press]:
    """Start a browser and show it the page on which figures are drawn.

    Args:
        program: see `browser.find_browser`.

    Raises:
        ReportError: it does not start.
    """
    with (
        TemporaryDirectory(prefix="mechshift-figures-") as folder,
        open_browser(program) as browser,
    ):
        page = Path(folder) / "drawing.html"
        page.write_text(render_page("drawing.html.j2"), encoding="utf-8")
        browser.show(page)
        yield Press(browser)
