"""What was concluded from a small real run of the embedded pair: every topic's records at once.

Made once for all workers of a test run, by the functions that a user's run calls.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as BrowserPage

from mechshift.ablation import AblationSettings
from mechshift.attribution import EdgeScores
from mechshift.comparison import (
    CircuitShift,
    Comparison,
    ComparisonSettings,
    circuit_shift,
    compare,
)
from mechshift.graph import Graph
from mechshift.semantics import SemanticsSettings
from mechshift.statistics import Estimate, Estimates, Interval, share_correct
from mechshift.testing import Noise, planted_pair
from mechshift.topics.pool import PoolSummary
from mechshift.topics.registry import Verdict, quantities, tracked_quantities
from mechshift.topics.report_page import RunFacts
from mechshift.topics.run_list import ListedRun, ListedTask, RunList
from mechshift.topics.topic import Measured, MemberResults, Statement, TaskResults, Topic
from mechshift.topics.trajectory import Trajectory, TrajectoryPoint


@pytest.fixture(scope="session")
def results(small_run) -> dict[str, TaskResults]:
    """Task -> its results: `ioi` has one denoising step, `infilling` several."""
    from mechshift.run.conclusions import conclude_run
    from mechshift.run.stored import RunTask

    conclude_run(small_run, quiet=True)
    return {task: RunTask(run=small_run, task=task).results() for task in ("ioi", "infilling")}


@pytest.fixture(scope="session")
def ioi(results) -> TaskResults:
    return results["ioi"]


@pytest.fixture(scope="session")
def infilling(results) -> TaskResults:
    return results["infilling"]


GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)


def _random_scores(seed: int) -> EdgeScores:
    """Twelve examples of three steps; two of them have only the first."""
    generator = np.random.default_rng(seed)
    num_steps = np.repeat([3, 1], [10, 2])
    present = np.arange(3) < num_steps[:, None]
    values = generator.normal(size=(12, 3, GRAPH.num_edges)) * present[..., None]
    clean, corrupted, input_score = generator.normal(size=(3, 12, 3)) * present
    return EdgeScores(
        graph=GRAPH,
        values=values,
        num_steps=num_steps,
        clean_metric=clean,
        corrupted_metric=corrupted,
        input_score=input_score,
    )


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """Of random scores, which makes its numbers all different."""
    settings = ComparisonSettings(
        circuit_size=30,
        num_resamples=40,
        num_splits=20,
        num_splits_per_resample=2,
        num_shuffles=10,
        num_exchanges=20,
    )
    return compare("ioi", _random_scores(0), _random_scores(1), settings)


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A member of a run (`StoredMember`) of which scores and shift are known, and nothing else."""

    name: str
    settings: ComparisonSettings
    compared: CircuitShift
    scored: tuple[EdgeScores, EdgeScores] | None = None

    def shift(self) -> CircuitShift:
        return self.compared

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        assert self.scored is not None
        return self.scored

    def flow(self) -> None:
        return None

    def crossed(self) -> None:
        return None

    def accuracy(self) -> None:
        return None


PLANTED = ComparisonSettings(
    num_resamples=100,
    num_splits=20,
    num_splits_per_resample=2,
    num_shuffles=20,
    num_exchanges=60,
    circuit_size=10,
    sizes=(10,),
)


def _measured(member: Member, accuracy: Estimate | None = None) -> MemberResults:
    """Every quantity of a member, by the functions that the stage `conclude` calls."""
    return MemberResults(
        name=member.name,
        measured={one.name: one.measure(member) for one in quantities("members")},
        accuracy=accuracy,
    )


@pytest.fixture(scope="session")
def pool() -> PoolSummary:
    return PoolSummary(
        num_candidates=20,
        num_arm_correct=18,
        num_mdm_correct=15,
        num_both_correct=14,
        pool_size=12,
        num_clusters=9,
        held_out_size=8,
        num_held_out_clusters=7,
        arm_accuracy=share_correct(np.arange(20) < 18, 20),
        mdm_accuracy=share_correct(np.arange(20) < 15, 20),
        dropped={"right but not needed": 2},
    )


@pytest.fixture(scope="session")
def planted(pool: PoolSummary) -> Callable[..., TaskResults]:
    """A function that measures a planted pair; given controls stand beside it.

    No stage ran that needs a model, so there is no record but the pool's.
    """
    found: dict[str, TaskResults] = {}

    def results_of(plant: str, *controls: MemberResults) -> TaskResults:
        if plant not in found:
            pair = planted_pair(plant, noise=Noise(own=0.35))
            compared = compare(plant, pair.arm, pair.mdm, PLANTED)
            scored = (pair.arm, pair.mdm)
            found[plant] = TaskResults(
                task=plant,
                metric="logit_diff",
                description="",
                example="",
                comparison=compared,
                mdm=_measured(
                    Member(name="mdm", settings=PLANTED, compared=compared, scored=scored)
                ),
                controls=(),
                records={"pool": pool},
            )
        return replace(found[plant], controls=controls)

    return results_of


@pytest.fixture(scope="session")
def control_of() -> Callable[[str, str], MemberResults]:
    """A function that makes a control which differs from the ARM as a planted pair's MDM does."""

    def measure(name: str, plant: str) -> MemberResults:
        pair = planted_pair(plant, noise=Noise(own=0.35), seed=1)
        member = Member(
            name=name,
            settings=PLANTED,
            compared=circuit_shift(plant, pair.arm, pair.mdm, PLANTED),
            scored=(pair.arm, pair.mdm),
        )
        able = Estimate(value=1.0, interval=Interval(low=0.9, high=1.0, level=0.95))
        return _measured(member, accuracy=able)

    return measure


@pytest.fixture(scope="session")
def compared_anew() -> Callable[..., TaskResults]:
    """A function that gives a task another comparison, of which topics measure the MDM anew."""

    def replaced(task: TaskResults, comparison: Comparison, *topics: Topic[Any]) -> TaskResults:
        member = Member(name="mdm", settings=comparison.settings, compared=comparison)
        anew = {one.name: one.measure(member) for topic in topics for one in topic.quantities}
        mdm = replace(task.mdm, measured={**task.mdm.measured, **anew})
        return replace(task, comparison=comparison, mdm=mdm)

    return replaced


@pytest.fixture(scope="session")
def facts() -> RunFacts:
    return RunFacts(
        analysis="All of it was stored before any edge was scored.",
        arm_name="tiny-arm",
        mdm_name="tiny-mdm",
        seed=7,
        settings={
            "pool": {"num_examples": 12, "num_held_out": 10},
            "attribution": {
                "method": "eap-ig",
                "ig_steps": 5,
                "rule": "left",
                "gim": False,
                "examples_per_shard": 1,
            },
            "evaluation": {"ablation": "resample"},
            "comparison": {"circuit_size": None},
            "flow": {"metric": "log_prob", "ig_steps": 9, "rule": "right"},
            "semantics": asdict(SemanticsSettings(num_resamples=40, role_threshold=0.25)),
            "ablation": asdict(AblationSettings()),
        },
        versions={"python": "3.11.9", "numpy": "2.4.6"},
        model_hashes={"tiny-arm": "9f" * 32, "tiny-mdm": "3c" * 32},
    )


ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


@pytest.fixture(scope="session")
def tame(infilling: TaskResults) -> TaskResults:
    """A task with a figure of every kind, beside which the hostile one stands."""
    dropped = {"right but not needed": 2}
    pool = replace(infilling.records["pool"], dropped=dropped)
    return replace(infilling, records={**infilling.records, "pool": pool})


@pytest.fixture(scope="session")
def hostile(tame: TaskResults) -> TaskResults:
    """Every text that a run can bring along tries to leave its place."""
    pool, flow, neurons = (tame.records[name] for name in ("pool", "flow", "neurons"))
    attacked = {
        "pool": replace(pool, dropped={ATTACK: 2}),
        "flow": replace(flow, spans=(ATTACK, *flow.spans[1:])),
        "neurons": replace(neurons, token_texts=(ATTACK,) * len(neurons.token_texts)),
    }
    return replace(
        tame,
        task=ATTACK,
        metric=ATTACK,
        description=ATTACK,
        example=ATTACK,
        comparison=replace(tame.comparison, task=ATTACK),
        records={**tame.records, **attacked},
    )


@pytest.fixture(scope="session")
def hostile_facts(facts: RunFacts) -> RunFacts:
    return replace(
        facts,
        arm_name=ATTACK,
        mdm_name=ATTACK,
        settings={**facts.settings, ATTACK: ATTACK},
        versions={ATTACK: ATTACK, "numpy": ATTACK},
        model_hashes={ATTACK: ATTACK, "tiny-mdm": ATTACK},
    )


@pytest.fixture(scope="session")
def make_trajectory():
    """A trajectory of a task by its name; after 32 steps its MDM's own circuit is undefined.

    By hand, because nothing of a real one is needed but its shape: checkpoints would have to be
    scored for minutes.
    """

    def make(task: str) -> Trajectory:
        points = [_trajectory_point("diffusion", 0)]
        points.append(_trajectory_point("diffusion", 32, missing=("own circuit",)))
        points += [_trajectory_point("diffusion", step) for step in (64, 1000)]
        points += [_trajectory_point("control", step) for step in (0, 32, 500)]
        return Trajectory(
            task=task,
            graph=GRAPH,
            circuit_size=20,
            parent_scores=np.random.default_rng(1).normal(size=GRAPH.num_edges),
            points=tuple(points),
            num_examples=12,
            num_held_out=10,
            num_asked=14,
            level=0.95,
        )

    return make


def _trajectory_point(training, step, *, missing=()) -> TrajectoryPoint:
    """Random numbers; those that are missing have a reason with markup in it."""
    generator = np.random.default_rng(step + len(training))
    tracked = tracked_quantities()
    values = generator.uniform(0.2, 0.8, size=len(tracked)).tolist()
    measured = {
        one.name: Measured(
            estimate=Estimate(value=v, interval=Interval(low=v - 0.1, high=v + 0.2, level=0.95))
        )
        for one, v in zip(tracked, values, strict=True)
    }
    reason = Measured(reason="full and empty score alike <b>here</b>")
    share = generator.dirichlet(np.ones(4))
    return TrajectoryPoint(
        training=training,
        step=step,
        measured=measured | dict.fromkeys(missing, reason),
        share=Estimates(value=share, low=share - 0.01, high=share + 0.01, level=0.95),
        scores=generator.normal(size=GRAPH.num_edges),
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, for tests that open a page; skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip(f"no {', '.join(names[:-1])} or {names[-1]} on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., BrowserPage]]:
    """Open a file and wait until it is drawn; in the end nothing may have gone wrong."""
    complaints: list[str] = []
    contexts = []

    def open_file(path: Path, fragment: str = "", **options: Any) -> BrowserPage:
        context = browser.new_context(offline=True, **options)
        context.set_default_timeout(120_000)  # milliseconds: the other cores' tests take theirs
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: (
                complaints.append(f"console {message.type}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.partition("#")[0] == path.as_uri()
                or request.url.startswith(("data:", "blob:"))
                else complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(path.as_uri() + fragment)
        page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []


def _statement(axis: str, verdict: str, estimate: Estimate | None, **more: Any) -> Statement:
    return Statement(
        axis=axis,
        verdict=verdict,
        by_itself=verdict,
        estimate=estimate,
        sentence=f"{axis}: {verdict}.",
        **more,
    )


@pytest.fixture(scope="session")
def listed_task() -> Callable[..., ListedTask]:
    """A function that makes a task of a finished run; `overlap` is its noise-free overlap."""

    def make(task: str, overlap: float, *, num_clusters: int = 40, size: int = 111) -> ListedTask:
        def around(value: float) -> Estimate:
            interval = Interval(low=value - 0.05, high=value + 0.05, level=0.95)
            return Estimate(value=value, interval=interval)

        measured = {
            "noise-free overlap": around(overlap),
            "early share shift": around(-0.2),
            "centre of mass shift": None,
        }
        said = (
            _statement(
                "structure",
                "modest change",
                measured["noise-free overlap"],
                quantity="noise-free overlap",
                p=0.0001,
                corrected_p=0.002,
                population="on this task",
            ),
            _statement("depth", "not decided", measured["early share shift"], p=1.0),
            _statement("inheritance", "suffices", around(-0.01), p=0.01, corrected_p=0.04),
            _statement("cause", "not decided", None),
        )
        return ListedTask(
            verdict=Verdict(task=task, statements=said),
            measured=measured,
            metric="logit_diff",
            num_examples=200,
            num_clusters=num_clusters,
            circuit_size=size,
        )

    return make


@pytest.fixture(scope="session")
def run_list(listed_task: Callable[..., ListedTask]) -> RunList:
    """Two MDMs of one parent, a pair of another, a post-training, and one that is not finished."""

    def finished(name: str, mdm: str, parent: str, *tasks: ListedTask) -> ListedRun:
        return ListedRun(
            name=name,
            path=Path("runs") / name,
            written=date(2026, 11, 30),
            arm_name=f"arm-{parent[0]}",
            mdm_name=mdm,
            parent=parent * 32,
            tasks=tasks,
            page=Path("runs") / name / "report" / "report.html",
        )

    return RunList(
        runs=(
            finished("one", "dream", "a1", listed_task("ioi", 0.6), listed_task("infilling", 0.9)),
            finished("two", "wedlm", "a1", listed_task("ioi", 0.7, num_clusters=12)),
            finished("far/three", "llada", "b2", listed_task("ioi", 0.3, size=1000)),
            ListedRun(
                name="training",
                path=Path("runs/training"),
                page=Path("runs/training/trajectory/trajectory.html"),
                problem="a post-training, checkpoint by checkpoint",
            ),
            ListedRun(name="begun", path=Path("runs/begun"), problem="not finished"),
        )
    )
