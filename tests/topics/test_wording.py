"""Wording: numbers of templates that were planted, words for what they let a verdict speak of."""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import BRIEF, ComparisonSettings, circuit_shift
from mechshift.evaluation import CircuitMetrics
from mechshift.page.formats import NOT_DECIDED
from mechshift.statistics import Estimate, Interval
from mechshift.tasks import Example
from mechshift.testing import Noise, planted_pair
from mechshift.topics import registry
from mechshift.topics.by_template import (
    DIFFERENCE,
    KEPT,
    TemplateExamples,
    WordedQuantity,
    Wording,
    measure_by_template,
)
from mechshift.topics.depth import CENTRE, EARLY
from mechshift.topics.flow import SHARE
from mechshift.topics.overlap import NOISE_FREE
from mechshift.topics.report_page import RunFacts, report
from mechshift.topics.selection import ON_COMMON
from mechshift.topics.topic import Measured, Scatter, TaskResults
from mechshift.topics.wording import (
    ALL,
    ANEW,
    NAME,
    ON_ONE_TEMPLATE,
    ON_TASK,
    ON_TEMPLATES,
    p_over_templates,
    split_of,
    split_rows,
    wording_rows,
    wording_topic,
)

SETTINGS = ComparisonSettings(
    num_resamples=100, num_splits=20, num_splits_per_resample=2, circuit_size=10, sizes=(10,)
)
TEMPLATES = ("a", "b", "c", "d", "e")
QUANTITIES = registry.quantities("members")
TOPIC = wording_topic(QUANTITIES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Examples of which the templates are known."""

    examples: tuple[Example, ...]

    @property
    def clusters(self) -> np.ndarray:
        return np.arange(len(self.examples))


def pool_of(names: list[str]) -> Pool:
    return Pool(
        examples=tuple(
            Example(
                id=str(number),
                task="t",
                prompt="p",
                target="x",
                distractor="y",
                corrupted_prompt="q",
                template=name,
            )
            for number, name in enumerate(names)
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """A task (`StoredTask`) of which pools, scores and faithfulness are known, and nothing else."""

    names: list[str]
    pair: tuple[EdgeScores, EdgeScores]
    metrics: dict[str, CircuitMetrics]
    task: str = "t"
    settings: ComparisonSettings = SETTINGS

    def pool(self, split: str) -> Pool:
        return pool_of(self.names)

    def scores(self, member: str) -> EdgeScores:
        return self.pair[member == "mdm"]

    def others(self) -> dict[str, EdgeScores]:
        return {}

    def circuit_metrics(self, kind: str) -> dict[str, CircuitMetrics]:
        return self.metrics

    def other_flows(self) -> Mapping[str, PositionFlow]:
        return {}

    def _absent(self, *_: Any) -> None:
        return None

    comparison = flow = semantics = token_texts = explanations = baselines = rediscovery = _absent
    ablations = alternatives = swept = checkpoints = stage_settings = _absent


def metrics_of(kept: np.ndarray) -> CircuitMetrics:
    """One circuit, on which each example keeps this of a metric that is 1 in full, 0 ablated."""
    count = len(kept)
    return CircuitMetrics(
        sizes=np.array([10]),
        live_sizes=np.array([10]),
        num_edges=100,
        metric=kept[None, :, None],
        full=np.ones((count, 1)),
        empty=np.zeros((count, 1)),
        num_steps=np.ones(count, dtype=int),
    )


def stored(plants: dict[str, str], num_each: int = 12) -> Stored:
    """So many examples of each template, whose MDM differs from the ARM by its own plant."""
    pairs = [
        planted_pair(plant, num_examples=num_each, noise=Noise(own=0.5), seed=seed)
        for seed, plant in enumerate(plants.values())
    ]
    names = [name for name in plants for _ in range(num_each)]
    kept = np.repeat(np.linspace(0.9, 0.5, len(plants)), num_each)

    def joined(side: str) -> EdgeScores:
        parts = [getattr(pair, side) for pair in pairs]
        tables = ("values", "num_steps", "clean_metric", "corrupted_metric", "input_score")
        return replace(
            parts[0],
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in tables},
        )

    return Stored(
        names=names,
        pair=(joined("arm"), joined("mdm")),
        metrics={"mdm": metrics_of(kept), "arm": metrics_of(kept - 0.2)},
    )


@pytest.fixture(scope="module")
def mixed() -> Stored:
    """In two of five templates the MDM's heads sit two layers earlier."""
    plants = ("identical", "moved", "identical", "moved", "identical")
    return stored(dict(zip(TEMPLATES, plants, strict=True)))


@pytest.fixture(scope="module")
def found(mixed: Stored) -> Wording:
    record = measure_by_template(mixed, QUANTITIES)
    assert record is not None
    return record


def quantity(found: Wording, name: str) -> WordedQuantity:
    (one,) = (one for one in found.quantities if one.name == name)
    return one


def test_a_template_shows_what_its_examples_alone_would(mixed: Stored, found: Wording) -> None:
    assert found.templates == TEMPLATES
    assert found.discovery.num_examples.tolist() == found.discovery.num_clusters.tolist()
    assert found.discovery.num_examples.tolist() == [12] * 5
    part = np.arange(12, 24)
    alone = circuit_shift(
        "t", *(one.of_examples(part) for one in mixed.pair), SETTINGS, effort=BRIEF
    )
    for name, expected in (
        (NOISE_FREE, alone.noise_free.overlap),
        (CENTRE, alone.circuit_depth.source.cross_fitted_shift("centre_of_mass")),
    ):
        measured = quantity(found, name).by_template[1]
        assert measured.estimate == expected and measured.scatter is not None


def test_templates_that_moved_are_told_from_those_that_did_not(found: Wording) -> None:
    shifts = [one.estimate for one in quantity(found, CENTRE).by_template]
    for shift, planted in zip(shifts, (0, -2, 0, -2, 0), strict=True):
        assert shift is not None and shift.value == pytest.approx(planted, abs=0.2)
        assert shift.excludes(0.0) == (planted != 0)


def test_what_fewer_examples_make_another_number_is_not_shown_by_template(found: Wording) -> None:
    names = [one.name for one in found.quantities]
    assert names == [one.name for one in QUANTITIES if one.name != "core kept"]


def test_faithfulness_is_that_of_each_templates_held_out_examples(found: Wording) -> None:
    by_name = {one.name: one for one in found.faithfulness}
    expected = {
        KEPT["mdm"]: [0.9, 0.8, 0.7, 0.6, 0.5],
        KEPT["arm"]: [0.7, 0.6, 0.5, 0.4, 0.3],
        DIFFERENCE: [-0.2] * 5,
    }
    assert by_name.keys() == expected.keys()
    for name, values in expected.items():
        estimates = [one.estimate for one in by_name[name].by_template]
        assert [one.value for one in estimates if one] == pytest.approx(values)
        on_all = by_name[name].on_all
        assert on_all is not None and on_all.estimate is not None
        assert on_all.estimate.value == pytest.approx(np.mean(values))


def test_nothing_is_told_apart_without_names_or_with_shards(mixed: Stored) -> None:
    assert measure_by_template(replace(mixed, names=[""] * 60), QUANTITIES) is None
    arm = mixed.pair[0]
    sharded = replace(
        arm,
        values=arm.values.reshape(30, 2, 1, -1).mean(axis=1),
        examples_per_shard=2,
        by_source=np.zeros((60, arm.graph.num_sources), dtype=np.float32),
    )
    assert measure_by_template(replace(mixed, pair=(sharded, sharded)), QUANTITIES) is None


def test_a_template_of_few_clusters_is_not_measured_and_examples_without_a_name_are_one() -> None:
    names = ["a"] * 12 + ["b"] * 3 + [""] * 9
    one = stored({"a": "identical", "b": "identical"})
    record = measure_by_template(replace(one, names=names), QUANTITIES)
    assert record is not None and record.templates == ("(unnamed)", "a", "b")
    reasons = [measured.reason for measured in quantity(record, CENTRE).by_template]
    assert reasons == ["too few clusters (9)", "", "too few clusters (3)"]


def test_one_template_is_named_and_not_measured(
    planted: Callable[..., TaskResults], mixed: Stored
) -> None:
    record = measure_by_template(replace(mixed, names=["a"] * 60), QUANTITIES)
    assert record is not None and record.quantities == record.faithfulness == ()
    task = with_record(planted("moved"), record)
    (finding,) = TOPIC.findings(task)
    assert finding.verdict == "too few templates (1)" and "written in a," in finding.sentence
    depth = registry.verdicts([task])[0].of("depth")
    assert depth.population == f"{ON_ONE_TEMPLATE}, {ON_COMMON}"
    assert not tuple(TOPIC.exhibits(task)) and not tuple(TOPIC.parts(task))


def with_record(task: TaskResults, record: Wording) -> TaskResults:
    return replace(task, records={**task.records, NAME: record})


def known(values: list[float], by_chance: float, name: str = EARLY) -> Wording:
    """A record of one quantity, whose values on templates of 30 examples are known."""
    counts = np.full(len(values), 30)
    examples = TemplateExamples(
        num_examples=counts, num_clusters=counts, num_units=30 * len(values)
    )
    return Wording(
        templates=tuple(f"t{place}" for place in range(len(values))),
        discovery=examples,
        held_out=examples,
        quantities=(
            WordedQuantity(
                name=name,
                unit="",
                neutral=0.0,
                at_a_glance=True,
                on_all=None,
                by_chance=by_chance,
                by_template=tuple(
                    Measured(
                        estimate=normal(value, 0.05),
                        scatter=Scatter(value=value, error=0.05),
                    )
                    for value in values
                ),
            ),
        ),
        faithfulness=(),
    )


def normal(value: float, error: float) -> Estimate:
    reach = 1.959964 * error
    interval = Interval(low=value - reach, high=value + reach, level=0.95)
    return Estimate(value=value, interval=interval)


def with_early_shift(task: TaskResults, value: float, error: float) -> TaskResults:
    """The task with this shift of the early share."""
    measured = Measured(estimate=normal(value, error), scatter=Scatter(value=value, error=error))
    mdm = replace(task.mdm, measured={**task.mdm.measured, EARLY: measured})
    return replace(task, mdm=mdm)


def test_a_verdict_speaks_of_the_task_if_templates_agree_and_else_of_them(
    planted: Callable[..., TaskResults],
) -> None:
    """A shift of 0.5 ± 0.02; six templates scatter as random groups do, or by 1."""
    task = with_early_shift(planted("moved"), 0.5, 0.02)
    agree, differ = [0.45, 0.55, 0.5, 0.46, 0.54, 0.5], [-0.9, 1.9, 0.5, 1.5, -0.5, 0.5]
    for values, population, answer in (
        (agree, ON_TASK, "yes"),
        (differ, ON_TEMPLATES, NOT_DECIDED),
    ):
        worded = with_record(task, known(values, 0.002))
        depth = registry.verdicts([worded])[0].of("depth")
        assert depth.verdict == "front-loaded" and depth.quantity == EARLY
        assert depth.population == f"{population}, {ON_COMMON}"
        assert depth.sentence.endswith(f": front-loaded, {population}, {ON_COMMON}.")
        (finding,) = TOPIC.findings(worded)
        assert finding.verdict == answer
        rows = registry.headline([worded], registry.verdicts([worded]))[0].rows
        (cell,) = next(row.cells for row in rows if row.name == "Depth")
        assert cell.note.endswith(f", {population}, {ON_COMMON}")


def test_an_estimate_without_draws_scatters_as_its_interval_says() -> None:
    by_interval = Measured(estimate=normal(0.5, 0.1)).scattered()
    assert by_interval is not None and by_interval.error == pytest.approx(0.1)
    draws = np.array([0.0, 1.0, np.nan, 2.0])
    found = Measured(estimate=normal(0.5, 0.1), draws=draws).scattered()
    assert found == Scatter(value=0.5, error=1.0)


def test_a_verdict_without_a_number_by_template_speaks_of_these_templates(
    planted: Callable[..., TaskResults],
) -> None:
    task = with_early_shift(planted("moved"), 0.5, 0.02)
    worded = with_record(task, known([0.5] * 6, 0.002, name=SHARE))
    assert registry.verdicts([worded])[0].of("depth").population == (f"{ON_TEMPLATES}, {ON_COMMON}")
    assert registry.verdicts([task])[0].of("depth").population == ON_COMMON  # not told apart


def test_four_templates_are_too_few_to_speak_of_the_task(
    planted: Callable[..., TaskResults],
) -> None:
    task = with_early_shift(planted("moved"), 0.5, 0.02)
    record = known([0.5] * 4, 0.002)
    worded = with_record(task, record)
    assert p_over_templates(worded, EARLY, 1e-9) == 1.0
    assert split_rows(worded, record)[0].on_task.text == "too few templates (4)"
    (finding,) = TOPIC.findings(worded)
    assert finding.verdict == "too few templates (4)"
    table = next(iter(TOPIC.exhibits(worded))).table
    anew = table.filter(table["row"] == ANEW)
    assert anew["reason"].to_list() == ["too few templates (4)"]


def test_a_hand_made_split_is_shown_with_its_shares(planted: Callable[..., TaskResults]) -> None:
    """Values 0.1 apart in pairs disperse by .0025, and as many of 180 examples by .0001."""
    task = with_early_shift(planted("moved"), 0.5, 0.01 / 6**0.5)
    record = known([0.45, 0.55] * 3, 0.0001)
    worded = with_record(task, record)
    split = split_of(worded, record.quantities[0], record.discovery)
    assert split is not None
    assert split.between == pytest.approx(0.0024 / (5 / 6) / (1 - 5 / 179))
    templates, examples = split.between / 6, 1e-4 / 6
    assert split.share("templates") == pytest.approx(templates / (templates + examples))
    (row,) = split_rows(worded, record)
    assert (row.of_templates, row.of_examples) == (
        "96.7\N{NO-BREAK SPACE}%",
        "3.3\N{NO-BREAK SPACE}%",
    )
    assert row.num_templates == "6 of 6"
    rows = wording_rows(worded, record.templates, record.quantities, record.discovery)
    assert list(rows) == [ALL, ANEW, *record.templates]
    wide, plain = rows[ANEW][EARLY], rows[ALL][EARLY]
    assert wide is not None and plain is not None and wide.value == plain.value
    reach = 2.570582 * (templates + examples) ** 0.5  # Student's t of 5, a table
    assert wide.interval.high == pytest.approx(0.5 + reach)


def test_figure_and_table_show_every_template(
    planted: Callable[..., TaskResults], found: Wording
) -> None:
    task = with_record(planted("moved"), found)
    exhibits = tuple(TOPIC.exhibits(task))
    assert [one.name for one in exhibits] == ["wording", "wording-faithfulness"]
    figure = exhibits[0].figure.to_plotly()
    (points,) = (one for one in figure.data if one.name == EARLY)
    assert points.y == (ALL, *TEMPLATES) or points.y == (ALL, ANEW, *TEMPLATES)
    # Twelve clusters are too few for a filled point, whatever its interval.
    symbols = dict(zip(points.y, points.marker.symbol, strict=True))
    assert {symbols[name] for name in TEMPLATES} == {"circle-open"}
    table = exhibits[0].table
    assert len(table) == (2 + len(TEMPLATES)) * len(found.quantities)
    assert (table["reason"] != "").to_list() == table["value"].is_null().to_list()


def test_a_run_tells_templates_apart_and_says_why_nothing_follows(ioi: TaskResults) -> None:
    """Twelve examples in six templates are too few for any of them."""
    record: Wording = ioi.records[NAME]
    assert len(record.templates) > 1 and record.discovery.num_examples.sum() == 12
    reasons = {one.reason for worded in record.quantities for one in worded.by_template}
    assert all(reason.startswith("too few clusters") for reason in reasons)
    assert not tuple(TOPIC.exhibits(ioi)) and not tuple(TOPIC.parts(ioi))
    (finding,) = TOPIC.findings(ioi)
    assert finding.verdict == "too few templates (0)"
    assert not [one for one in registry.not_done([ioi]) if one.startswith("Templates")]


def test_the_page_shows_the_split_of_every_quantity(
    ioi: TaskResults, found: Wording, facts: RunFacts
) -> None:
    page = report([with_record(ioi, found)], facts).page
    (table,) = re.findall(r'id="ioi-wording-table">(.*?)</table>', page, re.DOTALL)
    rows = re.findall(r'<th scope="row">([^<]+)</th>', table)
    # Twelve examples may leave a number undefined on too many resamples; it has no row then.
    known = [name for name, one in ioi.mdm.measured.items() if one.estimate is not None]
    assert NOISE_FREE in known and CENTRE in known
    assert [html.unescape(row) for row in rows] == [
        *(one.name for one in found.quantities if one.name in known and one.name != SHARE),
        *(one.name for one in found.faithfulness),
    ]
    assert "5 of 5" in table and "ioi-wording.csv" in page
