"""Pages: file names that are safe, figures whose titles wrap, and text that stays text."""

import json
import re

import jinja2
import pytest

from mechshift.errors import ReportError
from mechshift.page.figure import Figure, scatter
from mechshift.page.html import (
    TOP_MARGIN,
    check_file_names,
    figure_view,
    render_part,
    task_slug,
)
from mechshift.page.theme import finish

ATTACK = "</script><script>alert(1)</script>"


@pytest.fixture
def figure() -> Figure:
    drawn = Figure()
    drawn.add(scatter(x=[1, 2], y=[3, 4], name=ATTACK))
    size = {"height": 400}
    return finish(drawn, "a title", "a subtitle", wide=size, narrow=size)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("greater-than", "greater-than"),
        ("my tasks/a.jsonl", "my-tasks-a-jsonl"),
        ("../../etc", "etc"),
        ("日本", "task"),
    ],
)
def test_a_tasks_name_becomes_a_file_name(name: str, slug: str) -> None:
    assert task_slug(name) == slug


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ReportError, match="at least one task"):
        check_file_names([])


def test_tasks_that_would_share_their_files_are_refused() -> None:
    check_file_names(["ioi", "infilling"])
    with pytest.raises(ReportError, match=re.escape("tasks ['ioi', 'ioi!'] would share file")):
        check_file_names(["ioi", "ioi!"])


def test_the_title_of_a_figure_stands_in_the_page(figure: Figure) -> None:
    view = figure_view(figure, anchor="ioi-overlap", reading="so", csv="ioi-overlap.csv")
    assert (view.title, view.subtitle, view.height) == ("a title", "a subtitle", 400)
    plot = json.loads(view.plot)
    assert "title" not in plot["layout"]
    assert plot["layout"]["margin"]["t"] == TOP_MARGIN != figure.layout["margin"]["t"]
    assert plot["data"] == figure.data
    assert figure.layout["title"]["text"] == "a title"  # the figure itself is left as it was


def test_a_figure_cannot_end_the_script_that_it_stands_in(figure: Figure) -> None:
    plot = figure_view(figure, anchor="a", reading="", csv="").plot
    assert not set("<>&") & set(plot)
    assert json.loads(plot)["data"][0]["name"] == ATTACK


def test_a_part_escapes_what_it_shows_and_refuses_what_it_was_not_given() -> None:
    rows = [{"name": ATTACK, "count": "2", "share": None}]
    given = {"anchor": "ioi", "open_words": ()}
    html = render_part("pool.html.j2", part={"rows": rows}, **given)
    assert ATTACK not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    with pytest.raises(jinja2.UndefinedError, match="rows"):
        render_part("pool.html.j2", part={}, **given)
