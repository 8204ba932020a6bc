"""Figures as files: how they are laid out for print, and what a real browser makes of them."""

import os
import re
import shutil
import struct
from pathlib import Path

import pytest

from mechshift.errors import ConfigError, ReportError
from mechshift.page.browser import find_browser, open_browser
from mechshift.page.figure import Figure, scatter
from mechshift.page.figure_files import SHEETS, SLIDE, open_press, paper_plot, sheet_of, sized
from mechshift.page.theme import finish

ATTACK = "</script><script>alert(1)</script>"


@pytest.fixture
def figure() -> Figure:
    drawn = Figure(("left", "right"), columns=2)
    drawn.add(scatter(x=[1, 2], y=[3, 4], name=ATTACK), column=1)
    drawn.add(scatter(x=[1, 2], y=[4, 3], name="b"), column=2)
    wide = {"height": 300, "xaxis.domain": [0.0, 0.4], "margin.l": 64}
    narrow = {"height": 500, "xaxis.domain": [0.0, 1.0], "margin.l": 80}
    return finish(drawn, "a title", "a subtitle", wide=wide, narrow=narrow)


@pytest.fixture(scope="module")
def chromium() -> Path:
    try:
        return find_browser()
    except ConfigError as none:
        pytest.skip(str(none))


def test_a_column_has_its_panels_below_each_other_and_is_black_on_white(figure: Figure) -> None:
    layout = paper_plot(figure, SHEETS["column"])["layout"]
    assert (layout["width"], layout["height"]) == (380, 500)
    assert layout["xaxis"]["domain"] == [0.0, 1.0] and layout["margin"]["l"] == 80
    assert layout["font"]["color"] == "#000000" and layout["paper_bgcolor"] == "#ffffff"
    assert "title" not in layout and "meta" not in layout
    wide = paper_plot(figure, SHEETS["page"])["layout"]
    assert wide["height"] == 300 and wide["xaxis"]["domain"] == [0.0, 0.4]


def test_the_figure_itself_stays_as_it_was(figure: Figure) -> None:
    paper_plot(figure, SHEETS["column"])
    assert figure.layout["title"]["text"] == "a title"
    assert figure.layout["xaxis"]["domain"] == [0.0, 0.4]
    assert figure.layout["paper_bgcolor"] == "rgba(0,0,0,0)"


def test_text_is_7_points_high_or_more_and_13_on_slides() -> None:
    for sheet in SHEETS.values():
        assert 7 <= 13 * sheet.mm_per_pixel / 25.4 * 72 <= 9
    assert 13 <= 13 * SLIDE.mm_per_pixel / 25.4 * 72 <= 14


def test_slides_have_their_panels_side_by_side_and_no_ground(figure: Figure) -> None:
    layout = paper_plot(figure, sheet_of("slides", None))["layout"]
    assert layout["xaxis"]["domain"] == [0.0, 0.4] and layout["font"]["color"] == "#000000"
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert sheet_of("paper", None) is SHEETS["column"]
    with pytest.raises(ConfigError, match="--width page is a paper's; slides are 254 mm wide"):
        sheet_of("slides", "page")


def test_of_a_figure_that_moves_the_last_frame_is_printed(figure: Figure) -> None:
    moved = [scatter(x=[1, 2], y=[9, 9], name="last")]
    figure.frames = [{"name": "0", "data": figure.data}, {"name": "100", "data": moved}]
    figure.set_layout(sliders=[{"active": 0}])
    plot = paper_plot(figure, SHEETS["column"])
    assert plot["data"] is moved and "sliders" not in plot["layout"]


def test_a_drawing_is_measured_in_millimetres() -> None:
    svg = '<svg class="main-svg" width="380" height="760" viewBox="0 0 380 760"><rect width="5"/>'
    assert sized(svg, SHEETS["column"], 760) == (
        '<svg class="main-svg" width="85mm" height="170mm" viewBox="0 0 380 760"><rect width="5"/>'
    )


def test_a_browser_draws_all_formats_at_their_size(figure: Figure, chromium: Path) -> None:
    with open_press(chromium) as press:
        column = press.files(figure, ("pdf", "png", "svg"), SHEETS["column"])
        page = press.files(figure, ("svg",), SHEETS["page"])
    assert list(column) == ["pdf", "png", "svg"] and list(page) == ["svg"]
    svg = column["svg"].decode()
    assert 'width="85mm" height="111.842mm"' in svg and "<script" not in svg
    assert 'width="174mm"' in page["svg"].decode()
    assert column["png"][:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", column["png"][16:24])
    assert width == pytest.approx(85 / 25.4 * 400, abs=2)
    assert height == pytest.approx(500 / 380 * width, abs=3)
    assert column["pdf"].startswith(b"%PDF") and column["pdf"].count(b"/Type /Page\n") == 1
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", column["pdf"])
    assert box is not None
    assert [float(side) for side in box.groups()] == pytest.approx(
        [85 / 25.4 * 72, 111.842 / 25.4 * 72], abs=1
    )


def test_a_figure_has_the_same_bytes_each_time(figure: Figure, chromium: Path) -> None:
    drawn = []
    for formats in (("svg", "pdf", "png"), ("pdf", "svg")):
        with open_press(chromium) as press:
            drawn += [press.files(figure, formats, SHEETS["column"]) for _ in range(2)]
    first = drawn[0]
    assert first["svg"].count(b"clip") > 0, "its ids are drawn by plotly"
    for again in drawn[1:]:
        assert all(content == first[name] for name, content in again.items())


def test_what_the_browser_refuses_is_one_line(chromium: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>var answer = 40;</script>", encoding="utf-8")
    with open_browser(chromium) as browser:
        browser.show(page)
        assert browser.evaluate("answer + 2") == 42
        with pytest.raises(ReportError, match="cannot draw a figure: ReferenceError: nothing is"):
            browser.evaluate("nothing()")


def test_without_a_browser_one_line_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mechshift.page.browser.PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="drawn by Chromium or Chrome, and none of chromium, .*;"):
        find_browser()
    with pytest.raises(ConfigError, match="none is no program"):
        find_browser(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="descriptors of a child are those of POSIX")
def test_a_program_that_is_no_browser_is_one_line(tmp_path: Path) -> None:
    program = shutil.which("true")
    assert program is not None
    with pytest.raises(ReportError, match="the browser ended by itself"):
        with open_browser(Path(program)):
            pass
    text = tmp_path / "text"
    text.write_text("no program", encoding="utf-8")
    with pytest.raises(ReportError, match="does not start"):
        with open_browser(text):
            pass
    assert not list(tmp_path.glob("mechshift-*"))
