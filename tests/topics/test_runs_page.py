"""The page of several runs, in Chromium too: what it shows, and what a reader chooses of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from playwright.sync_api import Page as BrowserPage

from mechshift.topics.run_list import ListedRun, RunList
from mechshift.topics.runs_page import runs_page

Open = Callable[..., BrowserPage]

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}


def link(run: ListedRun) -> str:
    assert run.page is not None
    return run.page.relative_to("runs").as_posix()


@pytest.fixture(scope="module")
def runs_file(tmp_path_factory: pytest.TempPathFactory, run_list: RunList) -> Path:
    path = tmp_path_factory.mktemp("runs") / "index.html"
    path.write_text(runs_page(run_list, link), encoding="utf-8")
    return path


def seen(page: BrowserPage, selector: str) -> list[str]:
    """The texts of what is on the screen."""
    return [one.inner_text() for one in page.locator(selector).all() if one.is_visible()]


def test_every_run_is_listed_and_leads_to_its_page(run_list: RunList) -> None:
    page = runs_page(run_list, link)
    for run in run_list.runs:
        assert f">{run.name}<" in page
    assert 'href="far/three/report/report.html#ioi-structure-verdict"' in page
    assert 'href="training/trajectory/trajectory.html"' in page
    assert "<strong>begun</strong>: not finished" in page
    assert "circuits of 111 and 1,000 edges" in page
    assert page == runs_page(run_list, link)


def test_two_mdms_of_one_parent_stand_beside_each_other(open_page: Open, runs_file: Path) -> None:
    page = open_page(runs_file, **DESKTOP)
    assert page.locator("[data-family]").count() == 2
    rows = page.locator("#number-noise-free-overlap tbody[data-task-of=ioi] tr[data-run]")
    assert [row.get_attribute("data-run") for row in rows.all()] == ["one", "two", "far/three"]
    assert rows.nth(1).locator(".value").inner_text() == "0.70"
    # Twelve clusters decide nothing, so the mark stays hollow.
    marks = [row.locator("svg").get_attribute("class") for row in rows.all()]
    assert marks == ["forest decided", "forest", "forest decided"]
    centres = [
        row.locator("circle").evaluate("e => e.getBoundingClientRect().x") for row in rows.all()
    ]
    assert centres[2] < centres[0] < centres[1]


def test_a_reader_chooses_runs_and_can_send_the_choice(open_page: Open, runs_file: Path) -> None:
    page = open_page(runs_file, **DESKTOP)
    assert seen(page, ".verdicts thead th") == ["Run", "ioi", "infilling"]
    page.get_by_role("button", name="Compare these alone").last.click()
    assert page.locator("#chosen").inner_text() == "1 of 3 runs"
    assert page.evaluate("location.hash") == "#runs=far%2Fthree"
    named = {one.split()[0] for one in seen(page, ".verdicts tr[data-run] th")}
    assert named == {"llada"}
    assert seen(page, ".verdicts thead th") == ["Run", "ioi"]
    assert page.locator("tbody[data-task-of=infilling]:visible").count() == 0
    page.get_by_role("checkbox", name="wedlm").focus()
    page.keyboard.press("Space")
    assert page.evaluate("location.hash") == "#runs=two,far%2Fthree"
    page.get_by_role("button", name="Compare all").click()
    assert page.evaluate("location.hash") == ""
    assert page.locator("tbody[data-task-of=infilling]:visible").count() == 2


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_address_opens_with_its_choice(open_page: Open, runs_file: Path, device: dict) -> None:
    page = open_page(runs_file, "#runs=two", **device)
    shown = page.locator("[data-run]:visible")
    assert {one.get_attribute("data-run") for one in shown.all()} == {"two"}
    checked = page.locator(".run-list input:checked")
    assert [one.get_attribute("value") for one in checked.all()] == ["two"]
    page.evaluate("location.hash = '#runs=%E0,one'")  # a part that is no text is no run
    page.wait_for_function("document.getElementById('chosen').textContent === '1 of 3 runs'")
    assert [one.get_attribute("value") for one in checked.all()] == ["one"]


def test_hostile_names_run_nothing(open_page: Open, run_list: RunList, tmp_path: Path) -> None:
    task = run_list.runs[0].tasks[0]
    hostile = replace(
        run_list.runs[0],
        name=ATTACK,
        arm_name=ATTACK,
        mdm_name=ATTACK,
        parent=ATTACK,
        note=ATTACK,
        tasks=(replace(task, verdict=replace(task.verdict, task=ATTACK), metric=ATTACK),),
    )
    problem = ListedRun(name=ATTACK, path=Path("runs"), problem=ATTACK)
    path = tmp_path / "index.html"
    listed = RunList(runs=(hostile, *run_list.runs[1:], problem))
    path.write_text(runs_page(listed, lambda run: "x"), encoding="utf-8")
    page = open_page(path, **DESKTOP)
    assert page.locator("img").count() == 0
    page.locator(".run-list input").first.uncheck()
    assert page.locator("#chosen").inner_text() == "2 of 3 runs"


def test_without_scripts_everything_can_be_read(browser: Browser, runs_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False, **DESKTOP)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(runs_file.as_uri())
    assert page.locator("[data-run]:visible").count() == page.locator("[data-run]").count() - 4
    assert page.locator(".choose:visible, .only:visible, .run-list input:visible").count() == 0
    context.close()


def test_paper_shows_what_was_chosen_in_black_on_white(open_page: Open, runs_file: Path) -> None:
    page = open_page(runs_file, "#runs=two", **DESKTOP, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(251, 251, 250)"
    assert page.locator(".verdicts [data-run=two]:visible").count() > 0
    assert page.locator(".verdicts [data-run=one]:visible, button:visible").count() == 0
    assert page.locator("#number-inheritance:visible").count() == 1  # folded on the screen
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 between its margins
    table = ".verdicts"
    assert page.locator(table).evaluate("e => e.scrollWidth <= e.parentElement.clientWidth")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_window(
    open_page: Open, runs_file: Path, device: dict, scheme: str
) -> None:
    page = open_page(runs_file, color_scheme=scheme, **device)
    page.evaluate("document.querySelectorAll('main details').forEach((e) => { e.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
