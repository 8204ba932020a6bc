"""Floors of overlap: a case solved by hand, and what is said where there is one and where not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import AlternativeRuns, CircuitMetrics
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, UNDEFINED, Cell
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.statistics import Estimate, Interval
from mechshift.topics.alternatives import (
    ALTERNATIVES,
    Alternatives,
    alternatives_figure,
    alternatives_table,
    concluded_alternatives,
    table_of_floors,
)
from mechshift.topics.registry import findings, headline, not_done, terms, verdicts
from mechshift.topics.topic import StoredTask, TaskResults

Planted = Callable[..., TaskResults]

FULL = np.linspace(1.0, 2.0, 12)[:, None]
FACTORS = np.array([1.0, 0.5, 0.1, 0.0])
EDGES = np.array([0, 2, 5, 10])[:, None] + np.arange(10)
"""Of ten edges each; they share 10, 8, 5 and none with the first: overlaps 1, 2/3, 1/3 and 0."""

GOOD = (0.9, 0.89, 0.88, 0.0)
"""Two alternatives are as faithful, so that the floor is 1/3."""
ALONE = (0.9, 0.7, 0.6, 0.0)
"""None is."""
IDLE = (0.01, 0.01, 0.0, 0.0)
"""The circuit itself keeps nothing."""


def metrics_keeping(*shares: float) -> CircuitMetrics:
    return CircuitMetrics(
        sizes=np.full(len(shares), 10),
        live_sizes=10 - np.arange(len(shares)),
        num_edges=40,
        metric=np.array(shares)[:, None, None] * FULL,
        full=FULL,
        empty=0 * FULL,
        num_steps=np.ones(12, dtype=np.int64),
    )


def runs_keeping(*shares: float) -> AlternativeRuns:
    metrics = metrics_keeping(*shares)
    return AlternativeRuns(
        factors=FACTORS,
        num_penalised=np.full(4, 10),
        edges=EDGES,
        discovery=metrics,
        held_out=metrics,
    )


@dataclass
class ByHand(StoredTask):
    """A task on which these are the shares that both models' candidates keep."""

    arm: tuple[float, ...] | None = GOOD
    mdm: tuple[float, ...] | None = ALONE
    task: str = "by hand"
    settings: ComparisonSettings = field(default=ComparisonSettings(num_resamples=50))

    def alternatives(self, kind):
        shares = {"arm": self.arm, "mdm": self.mdm}[kind]
        return None if shares is None else runs_keeping(*shares)


def concluded(**shares) -> Alternatives:
    record = concluded_alternatives(ByHand(**shares))
    assert record is not None
    return record


def with_record(task: TaskResults, record: Alternatives) -> TaskResults:
    """With enough clusters for a verdict."""
    pool = replace(task.records["pool"], num_held_out_clusters=30)
    return replace(task, records={**task.records, "pool": pool, "alternatives": record})


def with_overlap(task: TaskResults, low: float, high: float, ceiling: float = 0.8) -> TaskResults:
    interval = Interval(low=low, high=high, level=0.95)
    overlap = Estimate(value=(low + high) / 2, interval=interval)
    ceilings = np.full_like(task.comparison.noise_free.ceiling_arm, ceiling)
    found = replace(
        task.comparison.noise_free, overlap=overlap, ceiling_arm=ceilings, ceiling_mdm=ceilings
    )
    return replace(task, comparison=replace(task.comparison, noise_free=found))


def test_a_case_solved_by_hand() -> None:
    record = concluded()
    assert (record.circuit_size, record.num_held_out) == (10, 12)
    arm, mdm = record.floors["arm"], record.floors["mdm"]
    assert (arm.value, arm.num_confirmed) == (pytest.approx(1 / 3), 2)
    assert (mdm.value, mdm.num_confirmed) == (1.0, 0)
    np.testing.assert_allclose(arm.held_out_loss.value, [0, 0.01, 0.02, 0.9], atol=1e-12)
    assert concluded_alternatives(ByHand(mdm=None)) is None


def test_a_circuit_that_keeps_nothing_has_a_reason_in_place_of_a_floor(planted: Planted) -> None:
    record = concluded(arm=IDLE)
    assert list(record.floors) == ["mdm"]
    task = with_record(planted("moved"), record)
    (found,) = [one for one in ALTERNATIVES.findings(task) if "circuit of the ARM" in one.question]
    assert found.verdict == UNDEFINED
    assert found.sentence.startswith("The circuit itself keeps 0.01 of the behaviour")
    rows = {row.name: row.cell(task) for row in ALTERNATIVES.headline}
    assert rows["Lowest overlap inside the ARM"] == Cell(text=UNDEFINED)
    both = with_record(planted("moved"), concluded(arm=IDLE, mdm=IDLE))
    assert ALTERNATIVES.exhibits(both) == ()
    assert [one.verdict for one in ALTERNATIVES.findings(both)] == [UNDEFINED] * 3


def test_findings_say_what_was_found(planted: Planted) -> None:
    task = with_record(planted("moved"), concluded())
    arm, mdm, _ = findings_of(task)
    assert (arm.verdict, mdm.verdict) == ("yes", "none was found")
    assert arm.sentence == (
        "Of 3 other choices of 10 edges 2 were asked on held-out examples, and 2 keep the ARM's"
        " behaviour within 0.05 of what its own circuit keeps, 0.90 [0.90, 0.90]. The one that"
        " shares fewest edges with it overlaps by 0.33 (Jaccard) and keeps 0.88 [0.88, 0.88], a"
        " loss of +0.02 [+0.02, +0.02]. There may be others that share fewer."
    )
    assert mdm.sentence == (
        "None of 3 other choices of 10 edges keeps the MDM's behaviour within 0.05 of what its own"
        " circuit keeps, 0.90 [0.90, 0.90]."
    )


def findings_of(task: TaskResults):
    """As the page shows them."""
    return findings(ALTERNATIVES, task)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "meaning"),
    [
        (0.4, 0.6, "no", "A choice among equals explains an overlap down to there"),
        (0.1, 0.3, "yes", "a choice among equals does not explain it."),
        (0.2, 0.5, NOT_DECIDED, ""),
    ],
)
def test_the_overlap_of_the_models_is_held_against_the_lower_floor(
    planted: Planted, low: float, high: float, verdict: str, meaning: str
) -> None:
    """Whichever model it is of."""
    for shares in ({}, {"arm": ALONE, "mdm": GOOD}):
        task = with_record(with_overlap(planted("moved"), low, high), concluded(**shares))
        found = findings_of(task)[-1]
        assert found.verdict == verdict
        assert f"[{low:.2f}, {high:.2f}]" in found.sentence
        assert meaning in found.sentence and ("equals" in found.sentence) == bool(meaning)
        floors = "1.00 (ARM) and 0.33 (MDM)" if shares else "0.33 (ARM) and 1.00 (MDM)"
        assert f"by as little as {floors}." in found.sentence


def test_the_verdict_on_structure_names_the_floor_and_is_the_same_with_it(planted: Planted) -> None:
    task = planted("moved")
    without = verdicts([task])[0].of("structure")
    assert "faithful" not in without.sentence
    named = verdicts([with_record(task, concluded())])[0].of("structure")
    assert "(equally faithful circuits of one model by as little as 0.33): " in named.sentence
    assert named.verdict == without.verdict and named.estimate == without.estimate
    for shares in (IDLE, ALONE):
        none = with_record(task, concluded(arm=shares, mdm=shares))
        assert verdicts([none])[0].of("structure").sentence == without.sentence


def test_where_a_model_hardly_agrees_with_itself_nothing_is_decided(planted: Planted) -> None:
    task = with_overlap(planted("moved"), 0.1, 0.3, ceiling=0.3)
    found = findings_of(with_record(task, concluded()))[-1]
    assert found.verdict == NOT_DECIDED and "equals" not in found.sentence
    noise_free = replace(task.comparison.noise_free, overlap=None, reason="too noisy")
    task = replace(task, comparison=replace(task.comparison, noise_free=noise_free))
    assert ALTERNATIVES.findings(with_record(task, concluded()))[-1].verdict == UNDEFINED


def test_on_few_clusters_nothing_is_decided(planted: Planted) -> None:
    task = planted("moved")
    few = replace(task, records={**task.records, "alternatives": concluded()})
    shown = [one for one in findings_of(few) if "circuit of the ARM do as well" in one.question]
    assert [one.verdict for one in shown] == ["too few clusters (7)"]


def test_the_floors_stand_in_the_headline_beside_the_ceilings(planted: Planted) -> None:
    task = with_record(planted("moved"), concluded())
    (group,) = [one for one in headline([task], verdicts([task])) if one.name == "Shared structure"]
    cells = {row.name: row.cells for row in group.rows}
    assert "ARM ceiling" in cells
    assert cells["Lowest overlap inside the ARM"] == (Cell(text="0.33", note="upper bound"),)
    assert cells["Lowest overlap inside the MDM"] == (Cell(text="1.00", note="no other was found"),)


def test_without_the_stage_nothing_is_said_but_how_to_do_it(planted: Planted) -> None:
    task = planted("moved")
    assert ALTERNATIVES.findings(task) == ALTERNATIVES.exhibits(task) == ()
    assert {row.cell(task).text for row in ALTERNATIVES.headline} == {NOT_MEASURED}
    sentence = (
        "Whether other circuits of one model are as faithful as its own was not measured on moved:"
        " `mechshift alternatives RUN` does it."
    )
    assert sentence in not_done([task])
    assert sentence not in not_done([with_record(task, concluded())])
    assert "Floor" not in [one.term for one in terms([task])]
    assert ALTERNATIVES.method({"evaluation": {"ablation": "mean"}}) == ()
    (defined,) = ALTERNATIVES.method({"alternatives": {"factors": [0.5, 0.0], "shares": [0.2]}})
    assert "times 0.5, 0; or none of the weakest sides of components" in defined.meaning


def test_the_figure_shows_every_candidate_and_fills_those_that_are_as_faithful() -> None:
    record = concluded()
    interval = Interval(low=0.4, high=0.6, level=0.95)
    figure = alternatives_figure(record, Estimate(value=0.5, interval=interval)).to_plotly()
    assert [trace.name[:3] for trace in figure.data] == ["ARM", "MDM"]
    assert [trace.marker.color for trace in figure.data] == [ARM_COLOUR, MDM_COLOUR]
    for trace, shares in zip(figure.data, (GOOD, ALONE), strict=True):
        np.testing.assert_allclose(trace.x, [0, 1 / 3, 2 / 3, 1])
        np.testing.assert_allclose(trace.y, shares[::-1])
    filled, alone = (list(trace.marker.symbol) for trace in figure.data)
    assert filled == ["circle-open", "circle", "circle", "circle"]
    assert alone == ["circle-open"] * 3 + ["circle"]
    lines = [(shape.y0, shape.x0) for shape in figure.layout.shapes]
    assert lines == [(pytest.approx(0.85), 0)] * 2 + [(0, 0.5)]
    assert len(alternatives_figure(record, None).to_plotly().layout.shapes) == 2
    assert {axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes())} == {
        "Jaccard overlap with own circuit",
        "faithfulness (1 = full model)",
    }


def test_the_tables_have_a_row_for_every_candidate_and_for_every_floor() -> None:
    record = concluded()
    table = alternatives_table(record)
    assert table["model"].to_list() == ["arm"] * 4 + ["mdm"] * 4
    assert table["factor"].to_list() == [*FACTORS, *FACTORS]
    assert table["live_size"].to_list() == [10, 9, 8, 7] * 2
    assert table["tried_on_held_out"].to_list() == [False, True, True, False] + [False] * 4
    assert table["as_faithful"].to_list() == [True] * 3 + [False] + [True] + [False] * 3
    np.testing.assert_allclose(table["held_out_loss"][:4], [0, 0.01, 0.02, 0.9], atol=1e-12)
    floors = table_of_floors({"a": record, "b": concluded(arm=IDLE)})
    assert floors["floor"].to_list() == [pytest.approx(1 / 3), 1.0, None, 1.0]
    assert floors["as faithful"].to_list() == [2, 0, None, 0]
    assert floors["candidates"].to_list() == [3, 3, None, 3]
    np.testing.assert_allclose(floors["faithful"].drop_nulls(), [0.88, 0.9, 0.9])
    assert len(table_of_floors({})) == 0
