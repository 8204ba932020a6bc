"""Pages of mechshift: self-contained HTML files from templates.

Everything is inline: style, scripts and the libraries, each once. The page needs no network.
Only the links to the CSV files point outside, to files beside it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mechshift.errors import ReportError
from mechshift.page.figure import Figure, default_look, to_json
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR, NEUTRAL_COLOUR, PAIR_COLOUR

TOP_MARGIN = 34
"""Room above the panels for their titles [pixels]; the figure's title stands in the page."""


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """A figure as the template needs it."""

    anchor: str
    title: str
    subtitle: str
    reading: str
    csv: str
    plot: Markup
    """JSON of data and layout, safe inside a script element."""

    height: int
    """As it is drawn on a wide page [pixels]."""

    narrow_height: int
    """The same on a phone, with its panels stacked."""


def render_page(template: str, **content: Any) -> str:
    """A page from one of the templates, which extend `page.html.j2`.

    Names from the run are escaped. The same content gives the same bytes.
    """
    environment = _environment()
    return environment.get_template(template).render(
        **content,
        arm_colour=ARM_COLOUR,
        mdm_colour=MDM_COLOUR,
        pair_colour=PAIR_COLOUR,
        neutral_colour=NEUTRAL_COLOUR,
        style=_inline(environment, "report.css"),
        navigation=_inline(environment, "navigation.js"),
        theme=_inline(environment, "theme.js"),
        script=_inline(environment, "report.js"),
        plotly=Markup(get_plotlyjs()),
        explorer_style=partial(_inline, environment, "explorer.css"),
        explorer_script=partial(_inline, environment, "explorer.js"),
        runs_style=partial(_inline, environment, "runs.css"),
        runs_script=partial(_inline, environment, "runs.js"),
        d3=_d3,
        look=_in_script(default_look()),
    )


def render_part(template: str, **content: Any) -> Markup:
    """A piece of a page from a template of its own, escaped like a page."""
    return Markup(_environment().get_template(template).render(**content))


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mechshift.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def task_slug(name: str) -> str:
    """A task's name as it appears in file names and anchors: letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-") or "task"


def check_file_names(tasks: Sequence[str]) -> None:
    """Refuse tasks whose files would overwrite each other.

    Raises:
        ReportError: no task, or two that would share file names.
    """
    if not tasks:
        raise ReportError("a report needs at least one task with a comparison.")
    slugs = [task_slug(name) for name in tasks]
    if len(set(slugs)) != len(slugs):
        raise ReportError(
            f"tasks {list(tasks)} would share file names ({sorted(slugs)}); rename one."
        )


def _inline(environment: jinja2.Environment, name: str) -> Markup:
    """A style or script of ours, as it stands."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


@cache
def _d3() -> Markup:
    """The drawing library of the circuit explorer (`page/vendor`)."""
    file = resources.files("mechshift.page").joinpath("vendor/d3.min.js")
    return Markup(file.read_text(encoding="utf-8"))


def figure_view(figure: Figure, *, anchor: str, reading: str, csv: str) -> FigureView:
    """Move the title from the figure, where it cannot wrap, into the page."""
    title, layout = figure.layout["title"], dict(figure.layout)
    del layout["title"]
    layout["margin"] = {**layout["margin"], "t": TOP_MARGIN}
    plot: dict[str, Any] = {"data": figure.data, "layout": layout}
    if figure.frames:
        plot["frames"] = figure.frames
    return FigureView(
        anchor=anchor,
        title=title["text"],
        subtitle=title["subtitle"]["text"],
        reading=reading,
        csv=csv,
        plot=_in_script(to_json(plot)),
        height=layout["meta"]["wide"]["height"],
        narrow_height=layout["meta"]["narrow"]["height"],
    )


def _in_script(text: str) -> Markup:
    """JSON that cannot end the script element it stands in."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
