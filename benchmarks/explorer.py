"""How large is a report with the circuit explorer of a 7B graph, and how fast does it answer?

The edges are random, as many as a run keeps, in circuits that share next to nothing, which makes
the largest page. Chromium opens it without network and moves the sliders; what counts is the time
from an event to the frame that shows it. Of more than 4,000 edges that frame shows the strongest;
the others follow when the slider rests.

    python benchmarks/explorer.py --help
"""

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import tyro
from measuring import show
from playwright.sync_api import Page, sync_playwright

from mechshift.attribution import EdgeScores
from mechshift.comparison import Comparison, ComparisonSettings, compare
from mechshift.graph import Graph
from mechshift.statistics import share_correct
from mechshift.testing import planted_pair
from mechshift.testing.random_explorer import random_explorer
from mechshift.topics.pool import PoolSummary
from mechshift.topics.registry import quantities
from mechshift.topics.report_page import RunFacts, report
from mechshift.topics.topic import MemberResults, TaskResults

SETTINGS = ComparisonSettings(
    num_resamples=20,
    num_splits=4,
    num_splits_per_resample=2,
    num_shuffles=4,
    num_exchanges=20,
    circuit_size=10,
    sizes=(10,),
)
TO_NEXT_FRAME = """change => new Promise((resolve) => {
    const start = performance.now();
    const input = document.getElementById(change.id);
    input.value = change.value;
    input.dispatchEvent(new Event("input"));
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)));
})"""
ALL_DRAWN = """() => document.getElementById("ex-stage").dataset.painted === "all" """


@dataclass(frozen=True)
class Options:
    layers: int = 28
    heads: int = 28
    tasks: int = 4
    examples: int = 500
    steps: int = 8
    checkpoints: int = 12
    circuit_size: int = 1000
    sizes: tuple[int, ...] = (1000, 5000, 10_000)
    """K at which the sliders are moved."""
    rounds: int = 15
    keep: Path | None = None
    """Where the page is left; by default nowhere."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """The planted MDM, of which scores and shift are known, and nothing else."""

    name: str
    settings: ComparisonSettings
    compared: Comparison
    scored: tuple[EdgeScores, EdgeScores]

    def shift(self) -> Comparison:
        return self.compared

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        return self.scored

    def flow(self) -> None:
        return None

    def crossed(self) -> None:
        return None

    def accuracy(self) -> None:
        return None


def main(options: Options) -> None:
    graph = Graph(
        num_layers=options.layers,
        num_heads=options.heads,
        num_key_value_groups=options.heads,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "report.html"
        path.write_text(page_of(options, graph), encoding="utf-8")
        megabytes = path.stat().st_size / 1e6
        name = f"{graph.num_edges:,} edges, {options.tasks} tasks, {options.examples} examples"
        show("Report", ("", "MB"), [(name, f"{megabytes:.1f}")])
        show("Chromium, milliseconds", ("", "median", "slowest"), measured(path, options))


def page_of(options: Options, graph: Graph) -> str:
    """A report of planted pairs, in which every task has a random record of the explorer."""
    pair = planted_pair("rewired")
    compared = compare("task", pair.arm, pair.mdm, SETTINGS)
    member = Member(name="mdm", settings=SETTINGS, compared=compared, scored=(pair.arm, pair.mdm))
    measured = {one.name: one.measure(member) for one in quantities("members")}
    solved = share_correct(np.arange(600) < 550, 600)
    pool = PoolSummary(
        num_candidates=600,
        num_arm_correct=550,
        num_mdm_correct=550,
        num_both_correct=options.examples,
        pool_size=options.examples,
        num_clusters=options.examples,
        held_out_size=100,
        num_held_out_clusters=100,
        arm_accuracy=solved,
        mdm_accuracy=solved,
        dropped={},
    )
    first = TaskResults(
        task="",
        metric="logit_diff",
        description="Random scores.",
        example="",
        comparison=compared,
        mdm=MemberResults(name="mdm", measured=measured),
        controls=(),
        records={},
    )
    tasks = [
        replace(
            first,
            task=f"task-{index}",
            comparison=replace(compared, task=f"task-{index}"),
            records={
                "pool": pool,
                "explorer": random_explorer(
                    graph,
                    num_examples=options.examples,
                    num_steps=options.steps,
                    num_checkpoints=options.checkpoints,
                    circuit_size=options.circuit_size,
                    seed=index,
                ),
            },
        )
        for index in range(options.tasks)
    ]
    facts = RunFacts(
        arm_name="random-arm",
        mdm_name="random-mdm",
        seed=0,
        settings={
            "attribution": {
                "method": "eap-ig",
                "ig_steps": 5,
                "rule": "left",
                "gim": False,
                "examples_per_shard": 1,
            },
            "pool": {"num_examples": options.examples, "num_held_out": 100},
            "evaluation": {"ablation": "resample"},
            "comparison": {"circuit_size": None},
        },
        analysis="",
        versions={},
        model_hashes={},
    )
    return report(tasks, facts).page


def measured(path: Path, options: Options) -> list[tuple[str, str, str]]:
    """Rows of milliseconds."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
        context.set_default_timeout(300_000)  # milliseconds: of a busy machine
        page = context.new_page()
        thread = context.new_cdp_session(page)
        # Of the page's own thread, so that a busy machine says what an idle one takes.
        thread.send("Performance.enable", {"timeDomain": "threadTicks"})
        start = time.perf_counter()
        page.goto(path.as_uri() + "#explorer?task=task-0")
        page.wait_for_function("document.documentElement.dataset.explorer !== undefined")
        opened = 1000 * (time.perf_counter() - start)
        metrics = thread.send("Performance.getMetrics")["metrics"]
        busy = next(1000 * one["value"] for one in metrics if one["name"] == "TaskDuration")
        page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        rows = [
            ("open the page, explorer drawn", f"{opened:.0f}", ""),
            ("of these, the page's thread computes", f"{busy:.0f}", ""),
        ]
        for size in options.sizes:
            times = [slider_step(page, size, back) for back in range(options.rounds)]
            drawn = page.get_attribute("#ex-stage", "data-drawn")
            rows.append(row(f"step of the K slider at {size:,}, {drawn} edges drawn", times))
        if options.steps > 1:
            times = [moved(page, "ex-step", 1 + index % options.steps) for index in range(8)]
            rows.append(row("step of the slider over denoising steps, first time each", times))
        if options.checkpoints:
            order = range(1, options.checkpoints + 1)
            times = [moved(page, "ex-checkpoint", place) for place in order]
            rows.append(row("step of the slider over checkpoints, first time each", times))
        browser.close()
    return rows


def slider_step(page: Page, size: int, back: int) -> float:
    """One place of the slider to the right or back again, near a size."""
    place = int(1000 * np.log(size) / np.log(int(page.get_attribute("#ex-k-number", "max") or 1)))
    return moved(page, "ex-k", place - back % 2)


def moved(page: Page, name: str, value: int) -> float:
    """One step, after the one before it is drawn whole."""
    page.wait_for_function(ALL_DRAWN)
    page.wait_for_timeout(100)
    return float(page.evaluate(TO_NEXT_FRAME, {"id": name, "value": str(value)}))


def row(name: str, times: list[float]) -> tuple[str, str, str]:
    return name, f"{median(times):.0f}", f"{max(times):.0f}"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
