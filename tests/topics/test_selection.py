"""Selection: what each model solves makes equal models differ, and a sample of others undoes it."""

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import BRIEF, ComparisonSettings
from mechshift.denoising import Schedule
from mechshift.graph import Graph
from mechshift.page.formats import NOT_DECIDED
from mechshift.statistics import Estimate, Interval
from mechshift.tasks import CommonPool, Example, OtherExamples
from mechshift.testing import SelectedPair, SolvedByScore, selected_pair
from mechshift.topics import registry
from mechshift.topics.by_template import MemberOnExamples
from mechshift.topics.depth import EARLY
from mechshift.topics.flow import SHARE
from mechshift.topics.on_candidates import (
    MemberOnCandidates,
    OnCandidates,
    Selection,
    candidates_of,
    measure_on_candidates,
    on_all_of,
)
from mechshift.topics.overlap import NOISE_FREE
from mechshift.topics.report_page import RunFacts, report
from mechshift.topics.selection import (
    ALL,
    BOUNDS,
    COMMON,
    DIFFERENCE,
    NAME,
    ON_ALL,
    ON_COMMON,
    OTHERS,
    selection_topic,
)
from mechshift.topics.topic import Measured, TaskResults
from mechshift.topics.wording import ON_TASK

SETTINGS = ComparisonSettings(
    num_resamples=60, num_splits=40, num_exchanges=1, num_shuffles=1, circuit_size=25, sizes=(25,)
)
QUANTITIES = registry.quantities("members")
TOPIC = selection_topic(QUANTITIES)
SMALL = SolvedByScore(
    num_examples=200,
    accuracy={"arm": 0.95, "mdm": 0.44},
    num_others=100,
    noise=2.0,
    graph=Graph(num_layers=6, num_heads=2, num_key_value_groups=2),
)
Planted = Callable[..., TaskResults]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """A task (`StoredTask`) of which pool and scores are known, and nothing else."""

    of: CommonPool
    common: Mapping[str, EdgeScores]
    other: Mapping[str, EdgeScores]
    flows: Mapping[str, PositionFlow] = field(default_factory=dict)
    """Of the common examples."""
    other_flow: Mapping[str, PositionFlow] = field(default_factory=dict)
    task: str = "t"
    settings: ComparisonSettings = SETTINGS

    def pool(self, split: str) -> CommonPool:
        assert split == "discovery"
        return self.of

    def scores(self, member: str) -> EdgeScores:
        return self.common[member]

    def others(self) -> Mapping[str, EdgeScores]:
        return self.other

    def flow(self, member: str) -> PositionFlow | None:
        return self.flows.get(member)

    def other_flows(self) -> Mapping[str, PositionFlow]:
        return self.other_flow

    def _absent(self, *_: Any) -> None:
        return None

    comparison = semantics = token_texts = explanations = baselines = rediscovery = _absent
    circuit_metrics = ablations = alternatives = swept = _absent
    checkpoints = stage_settings = _absent


def flow_with(right_to_left: float, count: int) -> PositionFlow:
    """So many examples of one step; so much of what flows in each goes from right to left."""
    arrays = {name: np.ones((count, 1, *shape)) for name, shape in part_shapes(2, 3).items()}
    shares = np.array([right_to_left, 0.0, 1 - right_to_left])
    arrays["by_direction"] = np.broadcast_to(shares, arrays["by_direction"].shape)
    return PositionFlow(
        spans=("a", "b", "c"),
        num_steps=np.ones(count, dtype=np.int64),
        clean_metric=np.zeros((count, 1)),
        corrupted_metric=np.zeros((count, 1)),
        **arrays,
    )


def example(number: int) -> Example:
    return Example(
        id=str(number), task="t", prompt="p", target="x", distractor="y", corrupted_prompt="q"
    )


def schedule(count: int) -> Schedule:
    return Schedule(commit_step=np.zeros((count, 1 if count else 0), dtype=np.int64))


def pool_of(
    both: np.ndarray, places: tuple[np.ndarray, np.ndarray], clusters: list[str]
) -> CommonPool:
    """A pool of the common and the other candidates at these places; the ARM solves all."""
    common, others = places
    return CommonPool(
        task="t",
        split="discovery",
        examples=tuple(example(number) for number in common),
        schedule=schedule(len(common)),
        candidate_ids=tuple(map(str, range(len(both)))),
        candidate_clusters=tuple(clusters),
        arm_completions=("",) * len(both),
        mdm_completions=("",) * len(both),
        arm_correct=np.ones(len(both), dtype=bool),
        mdm_correct=both,
        others=OtherExamples(
            examples=tuple(example(number) for number in others),
            places=others,
            schedule=schedule(len(others)),
        ),
    )


def stored(settings: SolvedByScore = SMALL, seed: int = 0) -> Stored:
    """A simulated pool as a run would have stored it."""
    pair = selected_pair(settings, seed)
    both, clusters = pair.candidates.both_correct, pair.candidates.clusters
    common = np.flatnonzero(both)[: settings.num_examples]
    # The sample's own places are not kept; of each cluster as many candidates are taken.
    free = {one: list(np.flatnonzero(~both & (clusters == one))) for one in set(clusters.tolist())}
    others = np.array([free[int(one)].pop() for one in pair.candidates.others], dtype=np.int64)
    order = np.argsort(others)
    names = [str(one) for one in clusters]
    return Stored(
        of=pool_of(both, (common, others[order]), names),
        common=pair.common,
        other={kind: one.of_examples(order) for kind, one in pair.others.items()},
    )


@pytest.fixture(scope="module")
def one() -> Stored:
    return stored()


@pytest.fixture(scope="module")
def found(one: Stored) -> Selection:
    record = measure_on_candidates(one, QUANTITIES)
    assert record is not None
    return record


def quantity(found: Selection, name: str) -> OnCandidates:
    (one,) = (one for one in found.members["mdm"].quantities if one.name == name)
    return one


def early_on_common(pair: Mapping[str, EdgeScores], settings: ComparisonSettings) -> Measured:
    """As a run measures it on its pool."""
    (early,) = (one for one in QUANTITIES if one.name == EARLY)
    member = MemberOnExamples(
        task="t",
        settings=settings,
        scored=(pair["arm"], pair["mdm"]),
        flows=None,
        effort=BRIEF,
    )
    return early.measure(member)


def test_the_record_says_who_solved_what_and_of_whom_there_are_scores(
    one: Stored, found: Selection
) -> None:
    both = one.of.both_correct
    assert found.num_candidates == len(both) > 240  # the MDM solves 0.44
    assert found.solved == {
        "neither": 0,
        "only the MDM": 0,
        "only the ARM": int((~both).sum()),
        "both": int(both.sum()),
    }
    assert found.share.value == both.mean() and found.num_others == (~both).sum()
    assert found.sampled["only the ARM"] == found.num_sampled == 100
    assert list(found.members) == ["mdm"]
    names = [one.name for one in found.members["mdm"].quantities]
    assert names == [one.name for one in QUANTITIES if one.name != "core kept"]
    assert quantity(found, SHARE).on_all.reason == "flow between positions was not traced"


def test_selection_is_undone_in_a_pool_where_it_makes_a_shift(
    one: Stored, found: Selection
) -> None:
    common = early_on_common(one.common, SETTINGS)
    early = quantity(found, EARLY)
    assert common.estimate is not None and common.estimate.excludes(0.0)
    assert common.estimate.value > 0.04
    on_all = on_all_of(common, early, (-1.0, 1.0)).estimate
    assert on_all is not None and not on_all.excludes(0.0)
    assert abs(on_all.value) < common.estimate.value / 2
    assert early.others.estimate is not None and early.others.estimate.value < 0
    # What blocks say of the common examples is what single examples say, and so is the width.
    by_blocks = early.common.estimate
    assert by_blocks is not None
    assert by_blocks.value == pytest.approx(common.estimate.value, abs=0.01)
    assert early.difference.estimate is not None
    assert on_all.value == pytest.approx(common.estimate.value + early.difference.estimate.value)


@pytest.mark.unchecked  # a simulation
def test_flow_on_all_candidates_is_that_of_common_examples_and_others(one: Stored) -> None:
    common, others = len(one.of.examples), len(one.other["mdm"].values)
    traced = replace(
        one,
        flows={"arm": flow_with(0.0, common), "mdm": flow_with(0.2, common)},
        other_flow={"arm": flow_with(0.0, others), "mdm": flow_with(0.6, others)},
    )
    shares = tuple(one for one in QUANTITIES if one.name == SHARE)
    record = measure_on_candidates(traced, shares)
    assert record is not None
    found, p = quantity(record, SHARE), one.of.both_correct.mean()
    assert found.common.estimate is not None and found.others.estimate is not None
    assert found.common.estimate.value == pytest.approx(0.2)
    assert found.others.estimate.value == pytest.approx(0.6)
    assert found.on_all.estimate is not None
    assert found.on_all.estimate.value == pytest.approx(0.2 * p + 0.6 * (1 - p))
    # Every example flows alike, so p alone varies: by a standard error of about .03.
    assert found.common.estimate.interval.high == pytest.approx(0.2)
    assert 0 < found.on_all.estimate.error < 0.4 * 0.05
    # Of the ARM's flow on the others nothing was kept.
    half = replace(traced, other_flow={"mdm": flow_with(0.6, others)})
    record = measure_on_candidates(half, shares)
    assert record is not None
    assert quantity(record, SHARE).on_all.reason == "flow between positions was not traced"


@pytest.mark.unchecked  # a simulation
def test_equal_models_are_called_shifted_on_common_examples_and_not_on_all_candidates() -> None:
    """docs/validity.md in short, on one quantity."""
    early = tuple(one for one in QUANTITIES if one.name == EARLY)
    on_common, on_all, held = 0, 0, 0
    num_pools = 5
    for seed in range(num_pools):
        pool = stored(seed=seed)
        record = measure_on_candidates(pool, early)
        assert record is not None
        common = early_on_common(pool.common, SETTINGS)
        everywhere = on_all_of(common, quantity(record, EARLY), (-1.0, 1.0)).estimate
        assert common.estimate is not None and everywhere is not None
        on_common += common.estimate.excludes(0.0)
        on_all += everywhere.excludes(0.0)
        held += not everywhere.excludes(0.0)
    assert on_common > binom.ppf(0.999, num_pools, 0.05)
    assert on_all <= binom.ppf(0.99, num_pools, 0.05)
    assert held >= binom.ppf(0.01, num_pools, 0.95)


def test_nothing_is_measured_without_a_sample_or_its_scores(one: Stored) -> None:
    assert measure_on_candidates(replace(one, of=replace(one.of, others=None)), QUANTITIES) is None
    assert measure_on_candidates(replace(one, other={}), QUANTITIES) is None
    arm = {"arm": one.other["arm"]}  # scoring was stopped
    assert measure_on_candidates(replace(one, other=arm), QUANTITIES) is None


def test_few_others_leave_bounds_alone_unless_they_are_all(one: Stored) -> None:
    assert one.of.others is not None
    few = replace(
        one,
        of=replace(
            one.of,
            others=OtherExamples(
                examples=one.of.others.examples[:8],
                places=one.of.others.places[:8],
                schedule=schedule(8),
            ),
        ),
        other={kind: scores.of_examples(np.arange(8)) for kind, scores in one.other.items()},
    )
    early = tuple(one for one in QUANTITIES if one.name == EARLY)
    record = measure_on_candidates(few, early)
    assert record is not None and record.num_clusters <= 8
    too_few = f"too few clusters ({record.num_clusters})"
    assert quantity(record, EARLY).on_all.reason == too_few
    # The same eight, where no others were asked.
    assert few.of.others is not None
    kept = np.concatenate([np.flatnonzero(one.of.both_correct), few.of.others.places])
    kept.sort()
    number = {int(old): new for new, old in enumerate(kept)}
    places = [
        np.array([number[int(old)] for old in of])
        for of in ([e.id for e in one.of.examples], few.of.others.places)
    ]
    names = [one.of.candidate_clusters[int(old)] for old in kept]
    census = replace(few, of=pool_of(one.of.both_correct[kept], (places[0], places[1]), names))
    record = measure_on_candidates(census, early)
    assert record is not None and record.num_others == record.num_sampled == 8
    assert quantity(record, EARLY).on_all.estimate is not None
    assert quantity(record, EARLY).others.reason == too_few


def test_common_examples_of_few_clusters_are_not_measured(one: Stored) -> None:
    """As on a template: all candidates of nine groups are one cluster each."""
    names = tuple(str(int(name) % 9) for name in one.of.candidate_clusters)
    early = tuple(one for one in QUANTITIES if one.name == EARLY)
    record = measure_on_candidates(
        replace(one, of=replace(one.of, candidate_clusters=names)), early
    )
    assert record is not None
    found = quantity(record, EARLY)
    reasons = {one.reason for one in (found.common, found.others, found.on_all, found.difference)}
    assert reasons == {"too few clusters (9)"}


def test_shards_of_common_examples_give_the_means_of_their_examples(one: Stored) -> None:
    """A hundred shards of two, each of one cluster's pair or of parts of two clusters."""
    sharded = {
        kind: replace(
            scores,
            values=scores.values.reshape(100, 2, 1, -1).mean(axis=1),
            examples_per_shard=2,
            by_source=np.zeros((200, scores.graph.num_sources), dtype=np.float32),
        )
        for kind, scores in one.common.items()
    }
    joined = candidates_of(one.of, 2)
    assert len(joined.common) == 100 and len(joined.clusters) == len(one.of.candidate_ids)
    single = candidates_of(one.of)
    for place, row in enumerate(joined.common):  # both examples of a shard move with it
        for member in (2 * place, 2 * place + 1):
            same = joined.clusters[single.clusters == single.common[member]]
            assert (same == row).all()
    likeness = tuple(one for one in QUANTITIES if one.name == "likeness by weight")
    whole, cut = (
        measure_on_candidates(replace(one, common=scores), likeness)
        for scores in (one.common, sharded)
    )
    assert whole is not None and cut is not None
    (by_example,), (by_shard,) = (r.members["mdm"].quantities for r in (whole, cut))
    assert by_example.on_all.estimate is not None and by_shard.on_all.estimate is not None
    assert by_shard.on_all.estimate.value == pytest.approx(by_example.on_all.estimate.value, 0.02)


def normal(value: float, error: float) -> Estimate:
    reach = 1.959964 * error
    interval = Interval(low=value - reach, high=value + reach, level=0.95)
    return Estimate(value=value, interval=interval)


def with_early_shift(task: TaskResults, value: float, error: float) -> TaskResults:
    """The task with this shift of the early share on its pool."""
    mdm = replace(
        task.mdm, measured={**task.mdm.measured, EARLY: Measured(estimate=normal(value, error))}
    )
    return replace(task, mdm=mdm)


def known(on_all: Measured, *, common: float = 0.5, name: str = EARLY) -> Selection:
    """A record of one quantity; 80 of 100 candidates are solved by both."""
    if on_all.estimate is None:
        difference = Measured(reason=on_all.reason)
    else:
        difference = Measured(estimate=normal(on_all.estimate.value - common, 0.01))
    return Selection(
        num_candidates=100,
        solved={"neither": 5, "only the MDM": 5, "only the ARM": 10, "both": 80},
        share=normal(0.8, 0.04),
        sampled={"neither": 5, "only the MDM": 5, "only the ARM": 10, "both": 0},
        num_clusters=20,
        members={
            "mdm": MemberOnCandidates(
                quantities=(
                    OnCandidates(
                        name=name,
                        unit="of |score|",
                        neutral=0.0,
                        at_a_glance=True,
                        common=Measured(estimate=normal(common, 0.02)),
                        others=Measured(reason="too few clusters (3)"),
                        on_all=on_all,
                        difference=difference,
                    ),
                )
            )
        },
    )


def with_record(task: TaskResults, record: Selection) -> TaskResults:
    return replace(task, records={**task.records, NAME: record})


@pytest.mark.parametrize(
    ("value", "error", "population", "answer"),
    [
        (0.4, 0.02, ON_ALL, "yes"),
        (0.04, 0.05, ON_COMMON, NOT_DECIDED),  # may be 0
        (-0.4, 0.02, ON_COMMON, NOT_DECIDED),  # the other way
    ],
)
def test_a_verdict_speaks_of_all_candidates_where_its_rule_says_the_same_of_them(
    planted: Planted, value: float, error: float, population: str, answer: str
) -> None:
    task = with_early_shift(planted("identical"), 0.5, 0.02)
    task = with_record(task, known(Measured(estimate=normal(value, error))))
    (verdict,) = registry.verdicts([task])
    depth = verdict.of("depth")
    assert (depth.verdict, depth.population) == ("front-loaded", population)
    assert depth.sentence.endswith(f": front-loaded, {population}.")
    assert depth.on_all is not None and depth.on_all.value == pytest.approx(value)
    assert depth.bounds_on_all is None
    (finding,) = [
        one for one in TOPIC.findings(task) if one.question == "Would all candidates show the same?"
    ]
    assert finding.verdict == answer
    assert "of the other 20 a sample of 20 was scored" in finding.sentence
    rows = registry.headline([task], [verdict])[0].rows
    (cell,) = next(row.cells for row in rows if row.name == "Depth")
    assert f"{ON_ALL}: {depth.on_all.value:.2f} [".replace("-", "−") in cell.note
    stored = json.loads(registry.verdicts_json([verdict], registry.tests_over([task])))
    statements = stored["tasks"]["identical"]["statements"]
    (one,) = [one for one in statements if one["axis"] == "depth"]
    assert one["population"] == population and one["on_all"]["value"] == pytest.approx(value)


def test_a_verdict_that_only_just_decides_on_all_candidates_does_not_survive_the_run(
    planted: Planted,
) -> None:
    """p is .03 on all candidates, and there are four verdicts: Holm's first step asks for .0125."""
    task = with_early_shift(planted("moved"), 0.5, 0.02)
    task = with_record(task, known(Measured(estimate=normal(0.5, 0.5 / 2.17))))
    assert registry.verdicts([task])[0].of("depth").population == ON_COMMON


def test_a_caution_decides_nothing_on_all_candidates(planted: Planted) -> None:
    from mechshift.topics.spread import SHIFT

    task = planted("identical")
    shift = Measured(estimate=normal(2.0, 0.1))
    mdm = replace(task.mdm, measured={**task.mdm.measured, SHIFT: shift})
    for caution, population in (("", ON_ALL), ("relative noise is apart", ON_COMMON)):
        record = known(Measured(estimate=normal(1.9, 0.1), caution=caution), common=2.0, name=SHIFT)
        (verdict,) = registry.verdicts([with_record(replace(task, mdm=mdm), record)])
        assert verdict.of("specialisation").verdict == "more distributed"
        assert verdict.of("specialisation").population == population


def test_without_a_number_on_all_candidates_a_share_has_bounds(planted: Planted) -> None:
    """0.5 ± .04 on at least .72 of the candidates, and anything from -1 to 1 on the others."""
    task = with_early_shift(planted("identical"), 0.5, 0.02)
    task = with_record(task, known(Measured(reason="too few clusters (3)")))
    depth = registry.verdicts([task])[0].of("depth")
    assert depth.population == ON_COMMON and depth.on_all is None
    share, low, high = 0.8 - 1.959964 * 0.04, 0.5 - 1.959964 * 0.02, 0.5 + 1.959964 * 0.02
    assert depth.bounds_on_all is not None
    assert depth.bounds_on_all.low == pytest.approx(share * low - (1 - share))
    assert depth.bounds_on_all.high == pytest.approx(share * high + (1 - share))
    rows = registry.headline([task], registry.verdicts([task]))[0].rows
    (cell,) = next(row.cells for row in rows if row.name == "Depth")
    assert cell.note.endswith(f"{ON_ALL}: 0.05 to 0.67 at worst")
    # An overlap is no share of score, and has none.
    assert registry.verdicts([task])[0].of("structure").bounds_on_all is None
    # The table has them too, and why there is no number.
    (exhibit,) = TOPIC.exhibits(task)
    of_row = {row["row"]: row for row in exhibit.table.to_dicts() if row["quantity"] == EARLY}
    assert of_row[BOUNDS]["low"] == depth.bounds_on_all.low
    assert of_row[COMMON]["value"] == 0.5 and of_row[ALL]["value"] is None and of_row[ALL]["reason"]
    (points,) = (one for one in exhibit.figure.to_plotly().data if one.name == EARLY)
    assert points.y == (COMMON,)


def test_where_both_models_solve_everything_the_pool_is_all_candidates(planted: Planted) -> None:
    task = with_early_shift(planted("identical"), 0.5, 0.02)
    nothing = dict.fromkeys(("neither", "only the MDM", "only the ARM"), 0)
    record = replace(
        known(Measured(reason="x")),
        solved={**nothing, "both": 100},
        sampled={**nothing, "both": 0},
        share=normal(1.0, 0.0),
        members={},
    )
    task = with_record(task, record)
    (verdict,) = registry.verdicts([task])
    assert verdict.of("depth").population == ON_ALL
    assert verdict.of("depth").on_all == normal(0.5, 0.02)
    # Also of what rests on no number of the MDM, and has no p-value there.
    no_number = replace(verdict.of("depth"), quantity="", p=None, population="")
    found = registry._with_population(no_number, task, np.nan, np.nan)
    assert found.population == ON_ALL
    (finding,) = TOPIC.findings(task)
    assert finding.verdict == "yes" and finding.sentence.endswith("which is all.")
    assert not tuple(TOPIC.exhibits(task)) and not tuple(TOPIC.parts(task))


def test_a_run_without_the_sample_speaks_of_common_examples_and_says_so(planted: Planted) -> None:
    task = with_early_shift(planted("identical"), 0.5, 0.02)
    depth = registry.verdicts([task])[0].of("depth")
    assert depth.population == ON_COMMON and depth.on_all is depth.bounds_on_all is None
    (said,) = [one for one in registry.not_done([task]) if "all candidates" in one]
    assert "not measured on identical" in said and "--pool.num-others" in said
    assert not TOPIC.findings(task) and not tuple(TOPIC.exhibits(task))


def test_figure_and_table_show_every_population(planted: Planted, found: Selection) -> None:
    task = with_record(planted("moved"), found)
    (exhibit,) = TOPIC.exhibits(task)
    figure = exhibit.figure.to_plotly()
    (points,) = (one for one in figure.data if one.name == EARLY)
    assert points.y == (COMMON, OTHERS, ALL)
    table = exhibit.table
    names = [one.name for one in found.members["mdm"].quantities]
    assert table.filter(table["row"] == ALL)["quantity"].to_list() == names
    assert set(table["row"]) == {COMMON, OTHERS, ALL, DIFFERENCE, BOUNDS}
    bounded = table.filter(table["row"] == BOUNDS)
    assert bounded["quantity"].to_list() == [EARLY, f"{EARLY}, as read"]
    assert (table["reason"] != "").to_list() == table["low"].is_null().to_list()
    overlap = table.filter((table["quantity"] == NOISE_FREE) & (table["row"] == ALL))
    assert 0 <= overlap["low"][0] <= overlap["high"][0] <= 1


def test_a_run_of_which_every_candidate_is_solved_says_so(ioi: TaskResults) -> None:
    record: Selection = ioi.records[NAME]
    assert record.num_others == record.num_sampled == 0 and not record.members
    assert record.share.value == 1.0


def test_the_page_shows_every_quantity_on_all_candidates(
    ioi: TaskResults, found: Selection, facts: RunFacts
) -> None:
    page = report([with_record(ioi, found)], facts).page
    (table,) = re.findall(r'id="ioi-selection-table">(.*?)</table>', page, re.DOTALL)
    rows = re.findall(r'<th scope="row">([^<]+)</th>', table)
    known = [one.name for one in found.members["mdm"].quantities if one.name in rows]
    assert [html.unescape(row) for row in rows] == known and EARLY in known
    assert "ioi-selection.csv" in page
    assert ON_TASK in page or ON_COMMON in page


def test_a_simulated_pool_has_the_accuracy_that_was_asked_for() -> None:
    pair: SelectedPair = selected_pair(replace(SMALL, num_examples=2000), 0)
    share = pair.candidates.both_correct.mean()
    assert share == pytest.approx(0.95 * 0.44, abs=0.03)
    mean = {kind: scores.values.mean() for kind, scores in pair.truth.items()}
    assert mean["arm"] == mean["mdm"]
