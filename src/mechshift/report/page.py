"""What is every page of mechshift like: one self-contained HTML file.

Everything is inline: style, script and plotly.js, which appears once. The page needs no network.
Only the links to the CSV files point outside, to files beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mechshift.figures.theme import ARM_COLOUR, MDM_COLOUR

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


def render_page(template: str, **content: Any) -> str:
    """A page from one of the templates, which extend `page.html.j2`.

    Names from the run are escaped. The same content gives the same bytes.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mechshift.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **content,
        arm_colour=ARM_COLOUR,
        mdm_colour=MDM_COLOUR,
        style=Markup(_template_text(environment, "report.css")),
        script=Markup(_template_text(environment, "report.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _template_text(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def figure_view(figure: go.Figure, *, anchor: str, reading: str, csv: str) -> FigureView:
    """Move the title from the figure, where it cannot wrap, into the page."""
    plot = json.loads(figure.to_json())
    title = plot["layout"].pop("title")
    plot["layout"]["margin"]["t"] = TOP_MARGIN
    return FigureView(
        anchor=anchor,
        title=title["text"],
        subtitle=title["subtitle"]["text"],
        reading=reading,
        csv=csv,
        plot=_script_json(plot),
        height=plot["layout"]["height"],
    )


def _script_json(value: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
