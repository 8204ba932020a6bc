"""The circuit explorer in Chromium, worked with as a reader does: mouse, keys, files and links."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page as BrowserPage

from mechshift.circuits.formats import read_graphml_circuit, read_mib_circuit
from mechshift.graph import Graph
from mechshift.page.packed import shortened
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR, PAIR_COLOUR
from mechshift.testing.random_explorer import random_explorer
from mechshift.topics.explorer import EXPLORER
from mechshift.topics.explorer_record import Explorer
from mechshift.topics.report_page import RunFacts, report
from mechshift.topics.topic import TaskResults

Open = Callable[..., BrowserPage]

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}

OPENED = "document.documentElement.dataset.explorer !== undefined"
TWO_FRAMES = """() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"""


@pytest.fixture(scope="module")
def report_file(
    tmp_path_factory: pytest.TempPathFactory,
    ioi: TaskResults,
    infilling: TaskResults,
    facts: RunFacts,
) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "report.html"
    path.write_text(report([ioi, infilling], facts).page, encoding="utf-8")
    return path


@pytest.fixture
def opened(open_page: Open, report_file: Path) -> Open:
    """A function that opens the report at the explorer, with a part of its address."""

    def open_at(address: str = "", **options: Any) -> BrowserPage:
        page = open_page(report_file, f"#explorer?{address}", **(options or DESKTOP))
        page.wait_for_function(OPENED)
        page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        page.locator("#ex-stage").scroll_into_view_if_needed()
        return page

    return open_at


def address(**state: Any) -> str:
    """As the explorer writes it after `#explorer?`."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in state.items()}
    return urlencode(texts)


def drawn(page: BrowserPage) -> dict[str, int]:
    page.evaluate(TWO_FRAMES)
    data = page.evaluate("({...document.getElementById('ex-stage').dataset})")
    return {name: int(data[name]) for name in ("arm", "mdm", "both", "drawn")}


def circuits(record: Explorer, k: int) -> tuple[set[int], set[int]]:
    """Edges of both circuits, by the record's ranks."""
    arm, mdm = (
        {int(edge) for edge, rank in zip(record.edges, model.rank, strict=True) if 0 < rank <= k}
        for model in (record.arm, record.mdm)
    )
    return arm, mdm


def counts(arm: set[int], mdm: set[int]) -> dict[str, int]:
    return {
        "arm": len(arm - mdm),
        "mdm": len(mdm - arm),
        "both": len(arm & mdm),
        "drawn": len(arm | mdm),
    }


def set_slider(page: BrowserPage, name: str, value: int) -> None:
    page.evaluate(
        """([name, value]) => { const input = document.getElementById(name);
        input.value = value; input.dispatchEvent(new Event("input")); }""",
        [name, str(value)],
    )


def state_of(page: BrowserPage) -> str:
    """The address, once it rests."""
    page.wait_for_function(
        "document.getElementById('ex-stage').dataset.remembered === location.hash"
    )
    return str(page.evaluate("location.hash"))


def place_of(page: BrowserPage, record: Explorer, x: float, y: float) -> tuple[float, float]:
    """Where a column and a row lie on the screen, by the margins that explorer.js states."""
    box = page.locator("#ex-marks").bounding_box()
    assert box is not None
    graph = record.graph
    width, height = box["width"] - 54 - 18, box["height"] - 24 - 34
    across = 54 + (x + 0.6) / (graph.num_heads + 1.2) * width
    down = 24 + (graph.num_layers + 0.25 - y) / (graph.num_layers + 1.5) * height
    return box["x"] + across, box["y"] + down


def test_the_k_slider_draws_the_edges_that_the_record_ranks(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling")
    assert drawn(page) == counts(*circuits(record, record.circuit_size))
    for place in (0, 300, 700, 1000):
        set_slider(page, "ex-k", place)
        found = drawn(page)
        k = int(page.input_value("#ex-k-number"))
        assert k == round(np.exp(place / 1000 * np.log(record.size)))
        assert found == counts(*circuits(record, k))
    page.fill("#ex-k-number", "37")
    page.press("#ex-k-number", "Tab")
    assert drawn(page) == counts(*circuits(record, 37))
    assert page.inner_text("#ex-count-both") == str(drawn(page)["both"])
    assert "K = 37" in page.inner_text("#ex-status")


def test_the_slider_answers_to_keys(opened: Open, infilling: TaskResults) -> None:
    page = opened("task=infilling&k=100")
    page.focus("#ex-k")
    page.keyboard.press("Home")
    assert drawn(page) == counts(*circuits(EXPLORER.of(infilling), 1))


def test_a_denoising_step_draws_its_own_strongest_edges(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling&k=20")
    set_slider(page, "ex-step", 2)
    tops = []
    for model in (record.arm, record.mdm):
        strength = np.abs(model.steps.scores()[:, 1])
        order = np.argsort(-strength, kind="stable")[:20]
        tops.append({int(record.edges[record.stepped[p]]) for p in order if strength[p] > 0})
    assert drawn(page) == counts(*tops)
    assert f"in {record.step_examples[1]} examples" in page.inner_text("#ex-step-text")


def test_a_task_of_one_step_has_nothing_to_slide(opened: Open) -> None:
    page = opened("task=ioi")
    assert page.locator("#ex-step").is_disabled()


@pytest.fixture(scope="module")
def followed_file(
    tmp_path_factory: pytest.TempPathFactory, ioi: TaskResults, facts: RunFacts
) -> tuple[Path, Explorer]:
    """A report of a run whose post-training was followed at four checkpoints, in three steps."""
    graph = Graph(num_layers=3, num_heads=4, num_key_value_groups=4)
    record = random_explorer(graph, num_examples=20, num_steps=3, num_checkpoints=4)
    task = replace(ioi, records={"pool": ioi.records["pool"], "explorer": record})
    path = tmp_path_factory.mktemp("followed") / "report.html"
    path.write_text(report([task], facts).page, encoding="utf-8")
    return path, record


def test_a_checkpoint_stands_in_the_place_of_the_mdm(
    open_page: Open, followed_file: tuple[Path, Explorer]
) -> None:
    path, record = followed_file
    page = open_page(path, "#explorer?k=25&step=2&node=m1", **DESKTOP)
    page.wait_for_function(OPENED)
    arm, _ = circuits(record, 25)
    page.focus("#ex-checkpoint")
    for number in (1, 2, 3, 4):
        page.keyboard.press("ArrowRight")
        scores = np.abs(shortened(record.followed.scores[number - 1], 7))  # as the page has them
        top = np.argsort(-scores, kind="stable")[:25]
        then = {int(record.edges[record.followed.places[place]]) for place in top}
        assert drawn(page) == counts(arm, then)
        assert page.inner_text("#ex-checkpoint-text") == f"after {number}00 steps of diffusion"
    assert page.input_value("#ex-step") == "0"  # of a checkpoint there is the sum over steps
    assert page.inner_text("#ex-name-mdm") == "checkpoint only"
    assert "checkpoint" in page.inner_text("#ex-list-out thead")
    row = page.locator("#ex-list-out tbody tr").first
    name = row.locator("button").get_attribute("data-edge")
    place = record.edges.tolist().index(record.graph.edge_index(name))
    shown = float(row.locator("td").nth(1).locator("span").inner_text().replace("−", "-"))
    found = record.followed.scores[3, record.followed.places.tolist().index(place)]
    assert shown == pytest.approx(found, rel=0.01)
    assert "[" not in row.locator("td").nth(1).inner_text()  # nothing was resampled of it
    page.select_option("#ex-export-model", "mdm")
    with page.expect_download() as download:
        page.click("[data-export=graphml]")
    assert download.value.suggested_filename == "ioi-explorer-diffusion-step-400.graphml"
    circuit = read_graphml_circuit(download.value.path())
    mine = record.edges[record.followed.places].tolist()
    expected = [record.followed.scores[3, mine.index(edge)] for edge in circuit.edges.tolist()]
    np.testing.assert_allclose(circuit.scores, expected, rtol=1 / 256)
    assert "checkpoint=4" in state_of(page)
    again = open_page(path, state_of(page), **DESKTOP)
    again.wait_for_function(OPENED)
    assert drawn(again) == counts(arm, then)
    set_slider(again, "ex-step", 1)
    again.evaluate(TWO_FRAMES)
    assert again.inner_text("#ex-checkpoint-text") == "the MDM"


def test_without_a_trajectory_there_is_no_slider_over_checkpoints(opened: Open) -> None:
    assert not opened("task=ioi").locator("#ex-checkpoint").is_visible()


def test_filters_leave_the_edges_that_pass_them(opened: Open, infilling: TaskResults) -> None:
    record = EXPLORER.of(infilling)
    graph, k = record.graph, 60
    arm, mdm = circuits(record, k)
    scores = [
        dict(zip(record.edges.tolist(), m.score.value, strict=True))
        for m in (record.arm, record.mdm)
    ]
    page = opened(f"task=infilling&k={k}")
    page.click("#ex-filters > summary")

    def expect(keep: Callable[[int, float, float], bool]) -> None:
        kept = {e for e in arm | mdm if keep(e, scores[0][e], scores[1][e])}
        assert drawn(page) == counts(arm & kept, mdm & kept)
        assert "set" in page.inner_text("#ex-filters-set")
        page.click("#ex-reset")
        assert drawn(page)["drawn"] == len(arm | mdm)

    page.select_option("#ex-sign", "negative")
    expect(lambda e, a, m: (e in arm and a < 0) or (e in mdm and m < 0))
    page.select_option("#ex-sign", "differ")
    expect(lambda e, a, m: a * m < 0)
    page.fill("#ex-layer-from", "1")
    page.press("#ex-layer-from", "Tab")
    expect(lambda e, a, m: graph.source_layer[graph.edge_source[e]] >= 1)
    page.uncheck("#ex-kinds input[value=mlp]")
    expect(lambda e, a, m: graph.destination_kind[graph.edge_destination[e]] != 3)
    least = float(np.median(np.abs(list(scores[0].values()))[:200])) + 0.01
    page.fill("#ex-least", str(least))
    page.press("#ex-least", "Tab")
    expect(lambda e, a, m: (e in arm and abs(a) >= least) or (e in mdm and abs(m) >= least))
    page.uncheck("#ex-show-both")
    expect(lambda e, a, m: not (e in arm and e in mdm))


def test_the_filter_by_resamples_is_that_of_the_topic_on_stability(
    opened: Open, infilling: TaskResults
) -> None:
    found = infilling.records["stability"]
    shares = [dict(zip(found.edges.tolist(), s, strict=True)) for s in (found.arm, found.mdm)]
    arm, mdm = circuits(EXPLORER.of(infilling), found.circuit_size)
    page = opened("task=infilling&stable=90")
    kept = {
        e
        for e in arm | mdm
        if (e in arm and shares[0].get(e, 0) >= 0.9) or (e in mdm and shares[1].get(e, 0) >= 0.9)
    }
    assert drawn(page) == counts(arm & kept, mdm & kept)


def test_a_search_selects_a_node_and_says_what_it_knows_not(
    opened: Open, infilling: TaskResults
) -> None:
    page = opened("task=infilling")
    page.fill("#ex-search", "A0.H3")
    page.press("#ex-search", "Enter")
    page.wait_for_selector("#ex-node h3")
    assert page.inner_text("#ex-node h3") == "a0.h3"
    assert "node=a0.h3" in state_of(page)
    page.fill("#ex-search", "a99.h9")
    page.press("#ex-search", "Enter")
    assert "No node “a99.h9”" in page.inner_text("#ex-message")


def test_a_node_tells_its_edges_in_both_models_with_intervals(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    graph = record.graph
    page = opened("task=infilling&node=m0")
    source = graph.mlp_source(0)
    into = [e for e in record.edges.tolist() if graph.edge_name(e).endswith("->m0")]
    out = [e for e in record.edges.tolist() if graph.edge_source[e] == source]
    assert f"Edges in: {len(into)}" in page.inner_text("#ex-list-into")
    assert f"Edges out: {len(out)}" in page.inner_text("#ex-list-out")
    place = {e: p for p, e in enumerate(record.edges.tolist())}
    best = min(
        out,
        key=lambda e: min(
            r for r in (record.arm.rank[place[e]] or 10**9, record.mdm.rank[place[e]] or 10**9)
        ),
    )
    row = page.locator("#ex-list-out tbody tr").first
    assert row.locator("button").get_attribute("data-edge") == graph.edge_name(best)
    text = row.inner_text().replace("−", "-")
    assert f"rank {record.arm.rank[place[best]]}" in text
    value = record.arm.score.value[place[best]]
    shown = float(row.locator("td span").first.inner_text().replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.01)
    for fact in ("Ablated alone", "Lens"):
        assert fact in page.inner_text("#ex-node")
    page.fill("#ex-search", "a1.h0")
    page.press("#ex-search", "Enter")
    page.wait_for_function("document.querySelector('#ex-node h3').textContent === 'a1.h0'")
    assert "Attention beyond uniform" in page.inner_text("#ex-node")


def test_clicking_the_drawing_selects_a_node_and_keys_go_on_from_it(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling&k=30")
    page.mouse.click(*place_of(page, record, 2, 3))
    page.wait_for_selector("#ex-node h3")
    assert page.inner_text("#ex-node h3") == "a3.h2"
    for key, name in (
        ("ArrowUp", "a4.h2"),
        ("ArrowRight", "a4.h3"),
        ("ArrowRight", "m4"),
        ("ArrowDown", "m3"),
    ):
        page.keyboard.press(key)
        page.evaluate(TWO_FRAMES)
        assert page.inner_text("#ex-node h3") == name
    page.keyboard.press("Enter")
    page.evaluate(TWO_FRAMES)
    assert page.inner_text("#ex-pin") == "Unpin"
    assert "m3" in page.inner_text("#ex-kept")
    page.keyboard.press("Escape")
    page.evaluate(TWO_FRAMES)
    assert page.locator("#ex-node").count() == 0
    assert "pinned=%5B%22m3%22%5D" in state_of(page)


def test_an_edge_in_the_list_and_in_the_drawing_shows_every_example(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling&node=m0")
    button = page.locator("#ex-list-out button[data-edge]").first
    name = button.get_attribute("data-edge")
    button.click()
    page.wait_for_selector("#ex-edge h3")
    assert page.inner_text("#ex-edge h3") == name
    dots = page.locator("#ex-examples circle")
    assert dots.count() == 2 * record.num_rows
    dots.nth(3).hover(force=True)
    place = record.exemplary.tolist().index(
        record.edges.tolist().index(record.graph.edge_index(name))
    )
    line = page.inner_text("#ex-examples p >> nth=0").replace("−", "-")
    assert line.startswith("example 3: ARM")
    values = [float(part.split()[-1]) for part in line.split(":")[1].split(",")]
    expected = [m.examples.scores()[place, 3] for m in (record.arm, record.mdm)]
    assert values == pytest.approx(expected, rel=0.01, abs=0.005)
    assert page.locator("#ex-examples circle.chosen").count() == 2
    # In the drawing: alone, an edge is met half-way.
    strongest = int(record.edges[np.flatnonzero(record.arm.rank == 1)[0]])
    page = opened(address(task="infilling", k=1, show=["arm", "both"]))
    graph = record.graph
    source, target = graph.edge_source[strongest], graph.edge_destination[strongest]
    ends = [node_place(record, source), destination_place(record, target)]
    (x0, y0), (x1, y1) = (place_of(page, record, *end) for end in ends)
    for bow in range(-40, 41, 4):  # it is bowed sideways by some pixels
        page.mouse.click((x0 + x1) / 2 + bow, (y0 + y1) / 2)
        page.evaluate(TWO_FRAMES)
        if page.locator("#ex-edge").count():
            break
    assert page.inner_text("#ex-edge h3") == graph.edge_name(strongest)


def node_place(record: Explorer, source: int) -> tuple[float, float]:
    graph = record.graph
    layer, head = int(graph.source_layer[source]), int(graph.source_head[source])
    if layer < 0:
        return graph.num_heads / 2, -1.0
    return (head, layer) if head >= 0 else (graph.num_heads, layer + 0.45)


def destination_place(record: Explorer, target: int) -> tuple[float, float]:
    graph = record.graph
    layer, head = int(graph.destination_layer[target]), int(graph.destination_head[target])
    if layer == graph.num_layers:
        return graph.num_heads / 2, float(layer)
    return (head, layer) if head >= 0 else (graph.num_heads, layer + 0.45)


FULL = {
    "k": 25,
    "sign": "positive",
    "layers": [-1, 4],
    "node": "a0.h1",
    "pinned": ["a0.h1", "m2", "m3"],
    "hidden": ["a1.h1"],
    "groups": [["both & <late>", ["m2", "m3"]]],
    "labels": {"a0.h1": "copies “it” #1"},
    "note": "Zwei Zeilen:\nß, 50 % & <b>fett</b>",
}


def test_state_lives_in_the_address_and_in_files(opened: Open, tmp_path: Path) -> None:
    page = opened("task=infilling")
    saved = tmp_path / "state.json"
    content = {"format": "mechshift-explorer", "version": 1, "state": {"task": "infilling", **FULL}}
    saved.write_text(json.dumps(content), encoding="utf-8")
    page.set_input_files("#ex-file", saved)
    page.wait_for_function("document.getElementById('ex-note').value !== ''")
    assert page.input_value("#ex-note") == FULL["note"]
    hash_, count = state_of(page), drawn(page)
    assert page.locator("#ex-kept b, #ex-panel b").count() == 0
    again = opened(hash_.partition("?")[2])
    assert state_of(again) == hash_
    assert drawn(again) == count
    assert again.input_value("#ex-note") == FULL["note"]
    assert "both & <late>: m2, m3" in again.inner_text("#ex-kept")
    with again.expect_download() as download:
        again.click("#ex-save")
    written = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert written["format"] == "mechshift-explorer"
    assert {name: written["state"][name] for name in FULL} == FULL


def test_what_a_file_or_a_link_gets_wrong_is_left_out_and_said(
    opened: Open, tmp_path: Path
) -> None:
    page = opened("task=infilling&node=a77.h1&k=12&layers=nonsense&sign=up&constructor=1")
    message = page.inner_text("#ex-message")
    for name in ("node", "layers", "sign", "constructor"):
        assert name in message
    assert page.input_value("#ex-k-number") == "12"
    other = tmp_path / "other.json"
    for content in ("{", "[]", "null", '{"format": "mechshift-explorer", "version": 2}'):
        other.write_text(content)
        page.set_input_files("#ex-file", other)
        page.wait_for_function(
            "document.getElementById('ex-message').textContent.includes('other.json')"
        )
        page.evaluate("document.getElementById('ex-message').textContent = ''")
    assert drawn(page)["drawn"] > 0


def test_another_task_keeps_what_was_pinned(opened: Open, ioi: TaskResults) -> None:
    page = opened(address(task="infilling", pinned=["m1"], note="kept", k=9))
    page.select_option("#ex-task", "ioi")
    page.wait_for_function("document.documentElement.dataset.explorer === 'ioi'")
    assert "m1" in page.inner_text("#ex-kept") and page.input_value("#ex-note") == "kept"
    assert drawn(page) == counts(*circuits(EXPLORER.of(ioi), 9))


def test_pinned_nodes_can_be_grouped_labelled_and_hidden(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    graph = record.graph
    page = opened(address(task="infilling", k=60, node="m0", pinned=["m0", "m1"]))
    both = set().union(*circuits(record, 60))
    inner = [e for e in both if graph.edge_name(e) in ("m0->m1",)]
    before = drawn(page)["drawn"]
    page.fill("#ex-group-name", "early MLPs")
    page.click("#ex-group")
    assert drawn(page)["drawn"] == before - len(inner)
    assert "early MLPs: m0, m1" in page.inner_text("#ex-kept")
    page.click("[aria-label='Ungroup early MLPs']")
    assert drawn(page)["drawn"] == before
    page.fill("#ex-label", "first <i>MLP</i>")
    page.press("#ex-label", "Tab")
    page.evaluate(TWO_FRAMES)
    assert "m0 first <i>MLP</i>" in page.inner_text("#ex-kept")
    page.click("#ex-hide")
    touching = [
        e
        for e in both
        if graph.edge_name(e).startswith("m0->") or graph.edge_name(e).endswith("->m0")
    ]
    assert drawn(page)["drawn"] == before - len(touching)


@pytest.mark.parametrize("model", ["arm", "mdm"])
def test_exports_are_read_back_by_our_readers(
    opened: Open, infilling: TaskResults, tmp_path: Path, model: str
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling&k=40")
    edges = sorted(set().union(*circuits(record, 40)))
    place = {e: p for p, e in enumerate(record.edges.tolist())}
    expected = {e: getattr(record, model).score.value[place[e]] for e in edges}
    page.select_option("#ex-export-model", model)
    page.fill("#ex-width", "96")
    for kind, name, read in (
        ("graphml", "circuit.graphml", read_graphml_circuit),
        ("mib", "circuit.json", read_mib_circuit),
    ):
        path = exported(page, kind, tmp_path / name)
        circuit = read(path)
        assert circuit.graph == record.graph
        found = dict(zip(circuit.edges.tolist(), circuit.scores.tolist(), strict=True))
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=2**-15)


def exported(page: BrowserPage, kind: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.click(f"[data-export={kind}]")
    download.value.save_as(path)
    return path


def test_shared_keys_and_values_are_exported_as_our_writer_does(
    open_page: Open, ioi: TaskResults, facts: RunFacts, tmp_path: Path
) -> None:
    graph = Graph(num_layers=3, num_heads=4, num_key_value_groups=2)
    record = random_explorer(graph, num_examples=20, circuit_size=30, alike=0.5)
    task = replace(ioi, records={"pool": ioi.records["pool"], "explorer": record})
    path = tmp_path / "grouped.html"
    path.write_text(report([task], facts).page, encoding="utf-8")
    page = open_page(path, "#explorer?k=30&node=a2.h1", **DESKTOP)
    page.wait_for_function(OPENED)
    assert drawn(page) == counts(*circuits(record, 30))
    into = [graph.edge_name(e) for e in record.edges.tolist()]
    ends = ("a2.h1<q>", "a2.h0<k>", "a2.h0<v>")  # its group's key and value are also its own
    num_into = sum(name.split("->")[1] in ends for name in into)
    assert f"Edges in: {num_into}" in page.inner_text("#ex-list-into")
    circuit = read_graphml_circuit(exported(page, "graphml", tmp_path / "circuit.graphml"))
    assert circuit.graph == graph
    assert set(circuit.edges.tolist()) == set().union(*circuits(record, 30))
    page.fill("#ex-width", "96")
    page.click("[data-export=mib]")
    assert "one k and one v input" in page.inner_text("#ex-message")


def test_mib_json_asks_for_the_width_that_it_states(opened: Open) -> None:
    page = opened("task=infilling")
    page.click("[data-export=mib]")
    assert "d_model" in page.inner_text("#ex-message")


def test_the_graph_for_circuit_tracer_has_its_fields(
    opened: Open, infilling: TaskResults, tmp_path: Path
) -> None:
    """The models of circuit-tracer's frontend (`graph_models.py`), field by field."""
    record = EXPLORER.of(infilling)
    graph = record.graph
    page = opened(
        "task=infilling&k=40&pinned=%5B%22m0%22%2C%22m1%22%5D&groups=%5B%5B%22early%22%2C%5B%22m1%22%2C%22m2%22%5D%5D%5D"
    )
    with page.expect_download() as download:
        page.click("[data-export=tracer]")
    content = json.loads(download.value.path().read_text())
    # Its frontend looks for the graph of a slug in SLUG.json.
    assert download.value.suggested_filename == f"{content['metadata']['slug']}.json"
    assert content.keys() == {"metadata", "qParams", "nodes", "links"}
    metadata = content["metadata"]
    assert set(metadata) == {
        *("slug", "scan", "transcoder_list", "prompt_tokens", "prompt"),
        *("node_threshold", "schema_version"),
    }
    assert metadata["schema_version"] == 1 and len(metadata["prompt_tokens"]) == graph.num_heads + 1
    assert set(content["qParams"]) == {"pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"}
    ids = [node["node_id"] for node in content["nodes"]]
    assert len(set(ids)) == len(ids)
    for node in content["nodes"]:
        assert set(node) == {
            *("node_id", "feature", "layer", "ctx_idx", "feature_type", "token_prob"),
            *("is_target_logit", "run_idx", "reverse_ctx_idx", "jsNodeId", "clerp"),
            *("influence", "activation"),
        }
        assert isinstance(node["feature"], int) and isinstance(node["layer"], str)
        # Of a "cross layer transcoder" it would ask the network for examples of a feature.
        assert node["feature_type"] in {"embedding", "attention head", "mlp", "logit"}
        assert 0 <= node["ctx_idx"] < len(metadata["prompt_tokens"])
        assert (
            node["feature_type"] != "logit" or "(p=" in node["clerp"]
        )  # its frontend takes it apart
    heads = graph.num_heads
    column = f"{heads}_{heads}"
    assert content["qParams"]["pinnedIds"] == [f"0_{column}", f"1_{column}"]
    assert content["qParams"]["supernodes"] == [["early", f"1_{column}", f"2_{column}"]]
    assert all(link["source"] in ids and link["target"] in ids for link in content["links"])
    drawn_score = sum(link["weight"] for link in content["links"])
    place = {e: p for p, e in enumerate(record.edges.tolist())}
    edges = [e for e in set().union(*circuits(record, 40)) if graph.edge_name(e) != "m1->m2"]
    expected = sum(record.arm.score.value[place[e]] for e in edges)
    assert drawn_score == pytest.approx(expected, rel=1e-3)


def test_pictures_are_exported(opened: Open, infilling: TaskResults, tmp_path: Path) -> None:
    page = opened(address(task="infilling", k=40, labels={"m0": "<b>"}))
    drawing = ElementTree.parse(exported(page, "svg", tmp_path / "drawing.svg")).getroot()
    space = "{http://www.w3.org/2000/svg}"
    lines = [p for p in drawing.iter(f"{space}path") if "Q" in p.attrib["d"]]
    assert len(lines) == drawn(page)["drawn"]
    assert "m0 <b>" in [text.text for text in drawing.iter(f"{space}text")]
    dashed = [g for g in drawing.iter(f"{space}g") if g.attrib.get("stroke-dasharray")]
    assert {g.attrib["stroke"] for g in dashed} == {MDM_COLOUR}
    picture = exported(page, "png", tmp_path / "drawing.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and picture[16:24] == bytes.fromhex("000007d0000005f0")


def test_texts_from_models_and_readers_run_nothing(
    open_page: Open, hostile: TaskResults, hostile_facts: RunFacts, tmp_path: Path
) -> None:
    attack = hostile.task
    record = EXPLORER.of(hostile)
    evil = replace(record, token_texts=(attack,) * len(record.token_texts))
    task = replace(hostile, records={**hostile.records, "explorer": evil})
    path = tmp_path / "hostile.html"
    path.write_text(report([task], hostile_facts).page, encoding="utf-8")
    image = "<img src=x>"
    fragment = address(node="m0", note=image, labels={"m0": image}, pinned=["m0"])
    page = open_page(path, f"#explorer?{fragment}", **DESKTOP)
    page.wait_for_function(OPENED)
    assert attack in page.inner_text("#ex-panel")
    assert page.locator("#explorer img").count() == 0
    assert page.input_value("#ex-task") == attack
    assert page.input_value("#ex-label") == image and image in page.inner_text("#ex-kept")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Open, device: dict, scheme: str) -> None:
    page = opened(
        address(task="infilling", node="m0", pinned=["m0"], hidden=["m1"]),
        **device,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page.click("#ex-filters > summary")
    found = Axe().run(page, context="#explorer").response["violations"]
    serious = [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_a_finger_selects_a_node_on_a_phone(opened: Open) -> None:
    page = opened("task=infilling&k=30", **PHONE)
    box = page.locator("#ex-marks").bounding_box()
    assert box is not None
    # Of the phone's margins: 62 above, below the buttons.
    down = 62 + 0.25 / 7.5 * (box["height"] - 62 - 34)
    across = 54 + 2.6 / 5.2 * (box["width"] - 54 - 18)
    page.touchscreen.tap(box["x"] + across, box["y"] + down)
    page.wait_for_selector("#ex-node h3")
    assert page.inner_text("#ex-node h3") == "logits"


def test_zooming_keeps_what_is_clicked_under_the_pointer(
    opened: Open, infilling: TaskResults
) -> None:
    record = EXPLORER.of(infilling)
    page = opened("task=infilling&k=30")
    page.click("#ex-zoom-in")
    page.wait_for_timeout(400)
    box = page.locator("#ex-marks").bounding_box()
    assert box is not None
    x, y = place_of(page, record, 2, 3)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(middle[0] + 1.6 * (x - middle[0]), middle[1] + 1.6 * (y - middle[1]))
    page.wait_for_selector("#ex-node h3")
    assert page.inner_text("#ex-node h3") == "a3.h2"


def test_print_and_theme_draw_the_edges_anew(opened: Open) -> None:
    page = opened("task=infilling&k=60", color_scheme="light", **DESKTOP)
    count = "document.getElementById('ex-edges').toDataURL().length"
    light = page.evaluate("document.getElementById('ex-marks').toDataURL()")
    page.click("#theme")
    page.evaluate(TWO_FRAMES)
    assert page.evaluate("document.getElementById('ex-marks').toDataURL()") != light
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.getElementById('ex-marks').toDataURL()") == light
    assert page.evaluate(count) > 5000


DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)


@pytest.mark.parametrize("seen", [DEUTERANOPIA, PROTANOPIA])
def test_the_three_classes_are_told_apart_without_red_or_green(seen: tuple) -> None:
    """Distances in CIELAB, of colours as Machado, Oliveira and Fernandes (2009) simulate them."""
    found = [
        lab(np.clip(np.array(seen) @ linear(c), 0, 1))
        for c in (ARM_COLOUR, MDM_COLOUR, PAIR_COLOUR)
    ]
    for first in range(3):
        for second in range(first):
            assert np.linalg.norm(found[first] - found[second]) > 40


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ rgb / to_xyz.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
