import re

import pytest

from mechshift.topics.registry import tracked_quantities
from mechshift.topics.trajectory_page import TrajectoryFacts, TrajectoryInput, render_trajectory

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def shown(make_trajectory):
    return TrajectoryInput(
        tasks=(make_trajectory("ioi"), make_trajectory(HOSTILE)),
        tracked=tracked_quantities(),
        descriptions={"ioi": "who gets it", HOSTILE: HOSTILE},
        facts=TrajectoryFacts(
            arm_name=HOSTILE,
            config={"pool": {"seed": 0}},
            versions={"python": "3.11"},
            weights={"diffusion, step 32": "ab" * 32},
            notes=("diffusion has no step 0: <b>no</b>",),
        ),
    )


@pytest.fixture(scope="module")
def rendered(shown):
    return render_trajectory(shown)


@pytest.fixture(scope="module")
def page(rendered):
    return rendered.page


def test_the_page_shows_each_task_with_its_figures_and_names_files_that_exist(page, rendered):
    anchors = re.findall(r'class="card figure-card" id="([^"]+)"', page)
    assert anchors[:4] == ["curves", "ioi-depth", "ioi-circuit-diffusion", "ioi-circuit-control"]
    assert len(anchors) == 7
    named = set(re.findall(r'href="([^"#]+\.csv)"', page))
    assert named == set(rendered.texts) and "trajectory.csv" in named


def test_names_and_reasons_from_a_run_are_escaped(page):
    assert HOSTILE not in page
    assert "<b>here</b>" not in page and "<b>no</b>" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_what_is_undefined_is_listed_with_its_reason(page):
    missing = page[page.index('id="ioi-missing"') :]
    line = re.search(r"<li>(.*?)</li>", missing)[1]
    assert line == (
        "diffusion, step 32, own circuit: full and empty score alike &lt;b&gt;here&lt;/b&gt;"
    )


def test_every_checkpoint_has_a_row_with_every_number(page):
    section = page[page.index('id="task-ioi"') : page.index('id="ioi-missing"')]
    rows = re.findall(r'<th scope="row">([\d,]+)</th>(.*?)</tr>', section, re.DOTALL)
    assert [step for step, _ in rows] == ["0", "32", "64", "1,000", "0", "32", "500"]
    assert {cells.count("<td ") for _, cells in rows} == {len(tracked_quantities())}
    assert [cells.count("undefined") for _, cells in rows] == [0, 1, 0, 0, 0, 0, 0]


def test_the_same_trajectory_gives_the_same_bytes(page, shown):
    assert render_trajectory(shown).page == page


LINES = """Array.from(document.querySelectorAll("#plot-ioi-circuit-diffusion .js-line"))
    .map((line) => line.getAttribute("d")).join()"""
"""The edges as they are drawn."""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_changes_the_circuit_that_is_drawn(open_page, page, tmp_path, width):
    path = tmp_path / "trajectory.html"
    path.write_text(page, encoding="utf-8")
    tab = open_page(path, viewport={"width": width, "height": 900})
    assert tab.locator(".plot svg.main-svg").first.is_visible()
    rail = tab.locator("#plot-ioi-circuit-diffusion .slider-rail-touch-rect")
    rail.scroll_into_view_if_needed()
    tab.evaluate(f"() => {{ window.before = {LINES}; }}")
    box = rail.bounding_box()
    tab.mouse.click(box["x"] + 0.99 * box["width"], box["y"] + box["height"] / 2)
    tab.wait_for_function(f"{LINES} !== window.before")
    assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth")
    label = tab.locator("#plot-ioi-circuit-diffusion .slider-label").first.text_content()
    assert label == "after training steps: 1,000"
