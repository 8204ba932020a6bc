"""Overlap: what decides on set intervals, and that figure, table and headline show the record."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.comparison import Comparison
from mechshift.page.elements import Finding
from mechshift.page.formats import NOT_DECIDED, UNDEFINED, estimate_cell
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.overlap import (
    BY_WEIGHT,
    NOISE_FREE,
    OVERLAP,
    index_at_size,
    overlap_curve,
    overlap_curve_table,
)
from mechshift.topics.topic import Statement, TaskResults

Compared = Callable[..., TaskResults]


@pytest.fixture
def with_overlap(compared_anew: Compared) -> Compared:
    """The task with these intervals at every size, each value in the middle."""

    def changed(task: TaskResults, **intervals: tuple[float, float]) -> TaskResults:
        overlap = task.comparison.overlap
        ones = np.ones(len(overlap.sizes))
        given = {
            name: Estimates(
                value=ones * (low + high) / 2, low=ones * low, high=ones * high, level=0.95
            )
            for name, (low, high) in intervals.items()
        }
        comparison = replace(task.comparison, overlap=replace(overlap, **given))
        return compared_anew(task, comparison, OVERLAP)

    return changed


def with_layout_p(task: TaskResults, p: float) -> TaskResults:
    overlap = task.comparison.overlap
    overlap = replace(overlap, layout_p=np.full(len(overlap.sizes), p))
    return replace(task, comparison=replace(task.comparison, overlap=overlap))


def finding(task: TaskResults, words: str) -> Finding:
    (found,) = [one for one in OVERLAP.findings(task) if words in one.question]
    return found


def decided(task: TaskResults) -> Statement:
    (rule,) = OVERLAP.rules
    (statement,) = rule.decide(task)
    assert statement.axis == rule.axis == "structure"
    return statement


def curve(figure: go.Figure, name: str, axis: str = "x") -> go.Scatter:
    (found,) = [
        trace for trace in figure.data if trace.name == name and trace.xaxis in (axis, None)
    ]
    return found


@pytest.mark.parametrize(
    ("edges", "p", "verdict"),
    [
        ((0.5, 0.6), 0.01, "yes, beyond layout"),
        ((0.35, 0.45), 0.05, "yes, beyond layout"),
        ((0.35, 0.45), 0.06, NOT_DECIDED),
        ((0.1, 0.15), 1.0, "fewer than by layout alone"),
        ((0.2, 0.2), 1.0, NOT_DECIDED),
    ],
)
def test_overlap_counts_where_layout_alone_seldom_makes_as_much(
    planted: Compared, with_overlap: Compared, edges: tuple[float, float], p: float, verdict: str
) -> None:
    """Layout alone makes 0.2 to 0.4; a value at its lower end is no less than that."""
    task = with_layout_p(with_overlap(planted("rewired"), edges=edges, null=(0.2, 0.4)), p)
    found = finding(task, "share edges")
    assert found.verdict == verdict
    assert f"[{edges[0]:.2f}, {edges[1]:.2f}]" in found.sentence
    assert "[0.20, 0.40]" in found.sentence and f"p = {p:.3f}." in found.sentence


def with_noise_free(
    task: TaskResults,
    overlap: tuple[float, float] | None,
    *,
    one_circuit: tuple[float, float] = (0.9, 1.0),
    ceilings: tuple[float, float] = (0.7, 0.6),
    by_weight: tuple[float, float] | None = (0.3, 0.5),
) -> TaskResults:
    """The task with these intervals, each value in the middle."""
    arm, mdm = (np.full(3, ceiling) for ceiling in ceilings)
    noise_free = replace(
        task.comparison.noise_free,
        overlap=between(overlap),
        one_circuit=between(overlap and one_circuit),
        ceiling_arm=arm,
        ceiling_mdm=mdm,
        reason="" if overlap else "it cannot be measured",
    )
    weights = replace(task.comparison.by_weight, likeness=between(by_weight))
    comparison = replace(task.comparison, noise_free=noise_free, by_weight=weights)
    return replace(task, comparison=comparison)


def between(bounds: tuple[float, float] | None) -> Estimate | None:
    if bounds is None:
        return None
    low, high = bounds
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


@pytest.mark.parametrize(
    ("overlap", "structure", "differ"),
    [
        ((0.1, 0.4), "rewired", "yes"),
        ((0.5, 0.7), "modest change", "yes"),
        ((0.82, 0.9), "retained", "yes"),
        ((0.85, 1.0), "retained", NOT_DECIDED),
        ((0.4, 0.6), NOT_DECIDED, "yes"),
        (None, UNDEFINED, UNDEFINED),
    ],
)
def test_verdict_and_answer_on_structure_rest_on_one_number(
    planted: Compared, overlap: tuple[float, float] | None, structure: str, differ: str
) -> None:
    """Classes and a difference are two questions; whatever is not retained differs."""
    task = with_noise_free(planted("moved"), overlap)
    assert decided(task).verdict == structure
    assert finding(task, "sampling noise").verdict == differ


@pytest.mark.parametrize("ceilings", [(0.8, 0.45), (0.45, 0.8)])
@pytest.mark.parametrize("overlap", [(0.1, 0.4), (0.85, 1.0)])
def test_nothing_is_decided_of_a_model_that_hardly_agrees_with_itself(
    planted: Compared, ceilings: tuple[float, float], overlap: tuple[float, float]
) -> None:
    task = with_noise_free(planted("moved"), overlap, ceilings=ceilings)
    assert decided(task).verdict == NOT_DECIDED
    found = finding(task, "sampling noise")
    assert found.verdict == NOT_DECIDED
    assert f"{ceilings[0]:.2f} (ARM) and {ceilings[1]:.2f} (MDM), and 0.5 are" in found.sentence


def test_what_one_circuit_with_this_noise_would_read_is_no_change(planted: Compared) -> None:
    for lowest, structure, differ in ((0.59, "modest change", "yes"), (0.55, *2 * [NOT_DECIDED])):
        given = with_noise_free(planted("moved"), (0.5, 0.65), one_circuit=(lowest, 0.8))
        assert decided(given).verdict == structure
        assert finding(given, "sampling noise").verdict == differ
    retained = with_noise_free(planted("moved"), (0.81, 0.9), one_circuit=(0.5, 1.0))
    assert decided(retained).verdict == "retained"


def test_what_changed_by_count_and_is_kept_by_weight_is_said_in_one_verdict(
    planted: Compared,
) -> None:
    kept, open_, changed = (
        with_noise_free(planted("moved"), (0.1, 0.4), by_weight=by_weight)
        for by_weight in ((0.92, 0.99), (0.85, 0.95), (0.5, 0.6))
    )
    assert decided(kept).verdict == "rewired by count, kept by weight"
    assert decided(open_).verdict == decided(changed).verdict == "rewired"
    verdicts = [finding(task, "as strong").verdict for task in (kept, open_, changed)]
    assert verdicts == ["kept", NOT_DECIDED, "changed"]
    retained = with_noise_free(planted("moved"), (0.85, 1.0), by_weight=(0.92, 0.99))
    assert decided(retained).verdict == "retained"


def test_the_verdict_tells_its_number_and_the_size_of_the_circuits(planted: Compared) -> None:
    statement = decided(with_noise_free(planted("rewired"), (0.1, 0.4)))
    assert statement.sentence == (
        "The top 10 edges overlap by 0.25 [0.10, 0.40] without sampling noise: rewired."
    )


def test_what_has_no_number_is_undefined(planted: Compared, with_overlap: Compared) -> None:
    task = with_overlap(planted("moved"), null=(np.nan, np.nan))
    task = with_noise_free(task, None, by_weight=None)
    for words in ("share edges", "sampling noise"):
        found = finding(task, words)
        assert found.verdict == UNDEFINED
        assert "allow no such number or no interval" in found.sentence
    assert finding(task, "as strong").verdict == UNDEFINED
    assert "without noise, is undefined" in finding(task, "as strong").sentence
    cells = {row.name: row.cell(task).text for row in OVERLAP.headline}
    assert cells["Noise-free overlap"] == cells["Likeness by weight"] == UNDEFINED


def test_members_are_measured_by_what_the_verdict_reads(
    planted: Compared, compared_anew: Compared
) -> None:
    task = planted("distributed")
    measured, comparison = task.mdm.measured, task.comparison
    assert measured[NOISE_FREE].estimate == comparison.noise_free.overlap
    assert measured[BY_WEIGHT].estimate == comparison.by_weight.likeness
    assert measured[BY_WEIGHT].draws is comparison.by_weight.draws
    missing = with_noise_free(task, None, by_weight=None).comparison
    draws = np.where(np.arange(100) < 30, np.nan, 0.5)
    missing = replace(missing, by_weight=replace(missing.by_weight, draws=draws))
    anew = compared_anew(task, missing, OVERLAP).mdm.measured
    assert anew[NOISE_FREE].reason == "it cannot be measured"
    assert anew[BY_WEIGHT].reason.endswith(
        "do not carry over to the others in 30\N{NO-BREAK SPACE}% of the resamples"
    )


def test_the_headline_has_the_numbers_at_the_circuits_size(ioi: TaskResults) -> None:
    cells = {row.name: row.cell(ioi) for row in OVERLAP.headline}
    overlap = ioi.comparison.overlap
    index = overlap.sizes.tolist().index(ioi.comparison.circuit_size)
    assert index_at_size(ioi.comparison) == index
    shown = {
        "Edge overlap": overlap.edges.at(index),
        "… if only layout mattered": overlap.null.at(index),
        "… if node strengths mattered too": ioi.comparison.strength_null.overlap,
        "ARM ceiling": overlap.ceiling_arm.at(index),
        "MDM ceiling": overlap.ceiling_mdm.at(index),
        "Noise-free overlap": ioi.comparison.noise_free.overlap,
        "Likeness by weight": ioi.comparison.by_weight.likeness,
        "Node overlap": overlap.nodes.at(index),
    }
    assert list(cells) == list(shown)
    for name, estimate in shown.items():
        assert estimate is not None
        assert cells[name] == estimate_cell(estimate)


def test_every_overlap_curve_shows_its_numbers_and_interval(comparison: Comparison) -> None:
    overlap = comparison.overlap
    figure = overlap_curve(overlap).to_plotly()
    shown = {
        "edges, ARM and MDM": overlap.edges_band,
        "nodes, ARM and MDM": overlap.nodes,
        "ceiling: ARM with itself": overlap.ceiling_arm,
        "ceiling: MDM with itself": overlap.ceiling_mdm,
        "null: shuffled scores": overlap.null,
    }
    for name, estimates in shown.items():
        trace = curve(figure, name)
        np.testing.assert_array_equal(trace.x, overlap.sizes)
        np.testing.assert_array_equal(trace.y, estimates.value)
        np.testing.assert_array_equal(
            trace.customdata, np.stack([estimates.low, estimates.high], 1)
        )
        assert name in trace.hovertemplate and "%{y" in trace.hovertemplate
        assert curve(figure, f"{name} interval").fill == "toself"
    np.testing.assert_array_equal(curve(figure, "ratio to ceiling", "x2").y, overlap.ratio.value)
    assert len(figure.data) == 2 * (len(shown) + 1)
    np.testing.assert_array_equal(overlap.edges_band.value, overlap.edges.value)
    assert not (overlap.edges_band.low > overlap.edges.low).any()  # some are undefined
    assert not (overlap.ratio_band.high < overlap.ratio.high).any()


def test_the_overlap_table_has_every_curve_and_leaves_the_undefined_empty(
    comparison: Comparison,
) -> None:
    overlap = comparison.overlap
    table = overlap_curve_table(overlap)
    assert table["size"].to_list() == overlap.sizes.tolist()
    fields = ("edges", "nodes", "ceiling_arm", "bootstrap_mdm", "halves", "ratio", "null")
    for name in fields:
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            numbers = getattr(getattr(overlap, name), part)
            stored = table[name + suffix].to_list()
            assert stored == [None if np.isnan(number) else number for number in numbers]
    assert table["layout_p"].to_list() == overlap.layout_p.tolist()
    assert table["noise_p"].to_list() == overlap.noise_p.tolist()


def test_the_figure_counts_what_was_resampled(comparison: Comparison) -> None:
    overlap = comparison.overlap
    assert "n = 12 examples" in overlap_curve(overlap).to_plotly().layout.title.subtitle.text
    shards = overlap_curve(replace(overlap, unit="shard")).to_plotly().layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards
