"""The report in a real browser, without network: it draws, adapts, and complains of nothing."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from playwright.sync_api import Page as BrowserPage

from mechshift.topics.report_page import TITLE, RunFacts, report
from mechshift.topics.topic import TaskResults

Open = Callable[..., BrowserPage]

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def report_file(
    tmp_path_factory: pytest.TempPathFactory, infilling: TaskResults, facts: RunFacts
) -> Path:
    """One task, with a figure of every kind."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report([infilling], facts).page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pair_file(
    tmp_path_factory: pytest.TempPathFactory,
    ioi: TaskResults,
    infilling: TaskResults,
    facts: RunFacts,
) -> Path:
    """Two tasks, as tabs."""
    path = tmp_path_factory.mktemp("pair") / "report.html"
    path.write_text(report([ioi, infilling], facts).page, encoding="utf-8")
    return path


def ground(page: BrowserPage) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def tick_colour(page: BrowserPage) -> str:
    return str(page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill"))


def brightness(colour: str) -> float:
    """Of `rgb(r, g, b)`, from 0 to 1."""
    return max(int(channel) for channel in re.findall(r"\d+", colour)[:3]) / 255


def has_sideways_scroll(page: BrowserPage) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_figure_is_drawn_and_fits_the_page(
    open_page: Open, report_file: Path, device: dict
) -> None:
    page = open_page(report_file, **device)
    plots = page.locator(".plot")
    assert plots.count() == 22  # twenty-one of the task and one of the pair
    folded = page.locator("main details .plot")
    assert folded.count() == 21 and folded.locator("svg").count() == 0
    page.evaluate("document.querySelectorAll('main details').forEach((e) => { e.open = true; })")
    page.wait_for_function("document.documentElement.dataset.drawn === '22'")
    for plot in plots.all():
        assert plot.locator("svg.main-svg .xaxislayer-above, svg.main-svg .plot").count() > 0
        drawn = plot.evaluate(
            "e => e.querySelector('svg.main-svg').getBoundingClientRect().width / e.clientWidth"
        )
        assert drawn == pytest.approx(1, abs=0.01)
    assert not has_sideways_scroll(page)


def test_the_button_turns_page_and_figures_dark_and_back(
    open_page: Open, report_file: Path
) -> None:
    page = open_page(report_file, **DESKTOP, color_scheme="light")
    light = ground(page), tick_colour(page)
    page.click("#theme")
    page.wait_for_function(
        "before => getComputedStyle(document.querySelector('.xtick text')).fill !== before",
        arg=light[1],
    )
    assert page.inner_text("#theme") == "Light page"
    dark = ground(page), tick_colour(page)
    assert dark[0] != light[0] and dark[1] != light[1]
    page.click("#theme")
    page.wait_for_function(
        "before => getComputedStyle(document.querySelector('.xtick text')).fill === before",
        arg=light[1],
    )
    assert (ground(page), tick_colour(page)) == light


def test_a_dark_system_gets_a_dark_page(open_page: Open, report_file: Path) -> None:
    page = open_page(report_file, **DESKTOP, color_scheme="dark")
    assert brightness(ground(page)) < 0.2
    assert brightness(tick_colour(page)) > 0.8


def test_hovering_a_node_shows_its_name_and_share(open_page: Open, report_file: Path) -> None:
    page = open_page(report_file, "#infilling-circuit-map", **DESKTOP)
    plot = page.locator("#plot-infilling-circuit-map")
    plot.scroll_into_view_if_needed()
    box = plot.locator(".scatterlayer .point").last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#plot-infilling-circuit-map .hoverlayer .hovertext")
    text = plot.locator(".hoverlayer").text_content()
    assert text is not None and "logits" in text and "all heads and MLPs" in text


COLOUR_BAR_PLACE = """() => {
    const plot = document.querySelector("#plot-infilling-circuit-map");
    const bar = plot.querySelector(".cbfills").getBoundingClientRect();
    return Math.round(bar.left - plot.getBoundingClientRect().left);
}"""


def test_a_window_made_narrow_and_wide_again_looks_as_before(
    open_page: Open, report_file: Path
) -> None:
    """Plotly leaves a colour bar in the middle of the panels when relayout turns it upright."""
    page = open_page(report_file, "#infilling-circuit-map", **DESKTOP)
    before = page.evaluate(COLOUR_BAR_PLACE)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(f"({COLOUR_BAR_PLACE})() < {before} / 2")
    page.wait_for_timeout(300)
    assert not has_sideways_scroll(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function(f"({COLOUR_BAR_PLACE})() === {before}")


def test_hostile_names_run_nothing(
    open_page: Open, hostile: TaskResults, hostile_facts: RunFacts, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(report([hostile], hostile_facts).page, encoding="utf-8")
    page = open_page(path, **PHONE)
    assert page.locator("h1").inner_text() == TITLE
    assert page.locator(".pair .name").all_inner_texts() == 2 * [hostile_facts.arm_name]
    assert page.locator("section.task h2").inner_text() == hostile.task
    assert page.locator("img").count() == 0
    assert not has_sideways_scroll(page)


HEIGHT = "document.documentElement.scrollHeight"


def test_before_anything_is_unfolded_the_page_is_six_screens(
    open_page: Open, pair_file: Path
) -> None:
    page = open_page(pair_file, **DESKTOP)
    for task in ("ioi", "infilling"):
        page.click(f"#tab-{task}")
        assert 900 < page.evaluate(HEIGHT) <= 6 * 900


def test_an_address_opens_what_it_points_into(open_page: Open, pair_file: Path) -> None:
    page = open_page(pair_file, "#infilling-depth", **DESKTOP)
    page.locator("#plot-infilling-depth svg.main-svg").first.wait_for()
    assert page.locator("#task-ioi").is_hidden()
    assert 0 <= page.evaluate("document.getElementById('infilling-depth').offsetTop - scrollY") < 90


def test_another_task_is_opened_at_the_same_place(open_page: Open, pair_file: Path) -> None:
    page = open_page(pair_file, "#ioi-depth", **DESKTOP)
    top = "(id) => document.getElementById(id).getBoundingClientRect().top"
    before = page.evaluate(top, "ioi-depth")
    page.focus("#tab-ioi")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-infilling"
    assert page.evaluate("location.hash") == "#infilling-depth"
    assert page.evaluate(top, "infilling-depth") == pytest.approx(before, abs=2)


def test_the_state_of_the_explorer_stays_behind_the_section(
    open_page: Open, pair_file: Path
) -> None:
    page = open_page(pair_file, "#ioi-depth-topic?task=infilling&k=37", **DESKTOP)
    page.click("nav.contents a[href='#ioi-overlap-topic']")
    page.wait_for_function("location.hash === '#ioi-overlap-topic?task=infilling&k=37'")
    page.locator("#explorer").scroll_into_view_if_needed()
    page.wait_for_function("document.documentElement.dataset.explorer === 'infilling'")
    assert page.input_value("#ex-k-number") == "37"


def test_without_scripts_every_task_can_be_read(browser: Browser, pair_file: Path) -> None:
    page = browser.new_context(offline=True, java_script_enabled=False).new_page()
    page.goto(pair_file.as_uri())
    assert page.locator("#task-ioi").is_visible() and page.locator("#task-infilling").is_visible()
    page.context.close()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    open_page: Open, pair_file: Path, device: dict, scheme: str
) -> None:
    page = open_page(
        pair_file, "#ioi-depth-verdict", **device, color_scheme=scheme, reduced_motion="reduce"
    )
    page.locator("#ioi-depth-topic > summary").click()
    page.locator("#plot-ioi-depth svg.main-svg").first.wait_for()
    assert not has_sideways_scroll(page)
    serious = [
        f"{one['id']}: {node['html'][:200]}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []


def test_paper_shows_every_task_unfolded_and_the_screen_is_as_before(
    open_page: Open, pair_file: Path
) -> None:
    page = open_page(pair_file, "#ioi-depth-topic", **DESKTOP, color_scheme="dark")
    state = """() => ({
      closed: document.querySelectorAll('main details:not([open])').length,
      hidden: document.querySelectorAll('section.task[hidden]').length,
      theme: document.documentElement.dataset.theme || 'system',
    })"""
    before = page.evaluate(state)
    assert before["closed"] > 10 and before["hidden"] == 1
    page.emulate_media(media="print", color_scheme="dark")
    # What is folded is printed even where no script unfolds it.
    assert page.locator("#ioi-overlap-topic .findings").first.is_visible()
    # The events of the browser's own printing, which would take as long as all other tests here.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(state) == {"closed": 0, "hidden": 0, "theme": "light"}
    assert page.locator("#infilling-overlap-topic .findings").first.is_visible()
    for selector in ("nav.contents", ".tabs", "#theme", ".claim .more"):
        assert page.locator(selector).first.is_hidden(), selector
    main = page.locator("main").bounding_box()
    assert main is not None and main["x"] < 100  # no room is kept for the contents bar
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(state) == before


def test_on_a_phone_the_contents_are_a_menu(open_page: Open, pair_file: Path) -> None:
    page = open_page(pair_file, **PHONE)
    menu = page.locator("nav.contents > details")
    links = page.locator("nav.contents li a")
    is_open = "e => e.open"
    assert not menu.evaluate(is_open) and not links.first.is_visible()
    page.locator("nav.contents summary").tap()
    assert menu.evaluate(is_open) and links.first.is_visible()
    assert not has_sideways_scroll(page)
    page.keyboard.press("Escape")
    assert not menu.evaluate(is_open)
    assert page.evaluate("document.activeElement.closest('nav.contents') !== null")
    page.keyboard.press("Enter")
    page.locator("nav.contents a[href='#task-infilling']").tap()
    assert not menu.evaluate(is_open) and page.locator("#task-infilling").is_visible()
    page.locator("nav.contents summary").tap()
    page.locator("nav.contents a[href='#infilling-depth-topic']").tap()
    assert not menu.evaluate(is_open)
    page.wait_for_function("document.getElementById('infilling-depth-topic').open")
    top = page.locator("#infilling-depth-topic").evaluate("e => e.getBoundingClientRect().top")
    assert 0 <= top < 200  # below the bars, which stay in view
    page.wait_for_function(
        "document.querySelector('nav.contents .here').textContent.startsWith('Depth')"
    )
    page.locator("nav.contents summary").tap()
    page.touchscreen.tap(195, 800)
    assert not menu.evaluate(is_open)


def test_an_anchor_or_a_text_inside_a_hidden_task_is_shown(
    open_page: Open, pair_file: Path
) -> None:
    page = open_page(pair_file, "#task-ioi", **DESKTOP)
    hidden = page.locator("section.task[hidden]")
    for inside, other in (
        ("infilling-overlap", "task-ioi"),
        ("ioi-pool-topic", "task-infilling"),
    ):
        assert hidden.get_attribute("hidden") == "until-found"
        page.evaluate(f"location.hash = '#{inside}'")
        page.locator(f"#{inside}").wait_for()
        page.wait_for_function(
            "id => Math.abs(document.getElementById(id).getBoundingClientRect().top) < 150",
            arg=inside,
        )
        assert hidden.get_attribute("id") == other
    # What the browser's search does once it has found a text: it asks for it to be shown.
    page.evaluate(
        "document.querySelector('#task-infilling .lead')"
        ".dispatchEvent(new Event('beforematch', { bubbles: true }))"
    )
    assert page.locator("#task-infilling").is_visible()
    assert page.locator("#tab-infilling").get_attribute("aria-selected") == "true"
    assert hidden.get_attribute("id") == "task-ioi"


class Headings(HTMLParser):
    """The levels of a page's headings, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))


def test_no_heading_skips_a_level(pair_file: Path) -> None:
    found = Headings()
    found.feed(pair_file.read_text(encoding="utf-8"))
    assert found.levels[0] == 1 and len(found.levels) > 40
    pairs = zip(found.levels, found.levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in pairs)
