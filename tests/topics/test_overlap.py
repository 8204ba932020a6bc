"""Overlap: what decides on set intervals, and that figure, table and headline show the record."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.comparison import Comparison
from mechshift.page.elements import Finding
from mechshift.page.formats import NOT_DECIDED, UNDEFINED, estimate_cell
from mechshift.statistics import Estimates
from mechshift.topics.overlap import (
    OVERLAP,
    RATIO,
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


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [((0.4, 0.9), "yes"), ((0.8, 1.1), NOT_DECIDED), ((1.01, 1.2), "no: alike")],
)
def test_models_differ_where_the_ratio_lies_below_one(
    planted: Compared, with_overlap: Compared, ratio: tuple[float, float], verdict: str
) -> None:
    task = with_overlap(planted("rewired"), ratio=ratio)
    assert finding(task, "sampling noise").verdict == verdict


@pytest.mark.parametrize(
    ("ratio", "structure", "differ"),
    [
        ((0.1, 0.4), "rewired", "yes"),
        ((0.5, 0.7), "modest change", "yes"),
        ((0.85, 1.1), "retained", NOT_DECIDED),
        ((np.nan, np.nan), UNDEFINED, UNDEFINED),
    ],
)
def test_verdict_and_answer_on_structure_rest_on_one_number(
    planted: Compared,
    with_overlap: Compared,
    ratio: tuple[float, float],
    structure: str,
    differ: str,
) -> None:
    """Classes and a difference are two questions; whatever is not retained differs."""
    task = with_overlap(planted("moved"), ratio=ratio)
    assert decided(task).verdict == structure
    assert finding(task, "sampling noise").verdict == differ


def test_the_verdict_tells_its_number_and_the_size_of_the_circuits(
    planted: Compared, with_overlap: Compared
) -> None:
    statement = decided(with_overlap(planted("moved"), ratio=(0.1, 0.4)))
    assert statement.sentence == (
        "The top 12 edges agree to 0.25 [0.10, 0.40] of what sampling noise allows: rewired."
    )


def test_an_overlap_that_is_undefined_is_called_so(
    planted: Compared, compared_anew: Compared
) -> None:
    task = planted("identical")
    overlap = task.comparison.overlap
    undefined = replace(overlap.ratio, value=overlap.ratio.value * float("nan"))
    comparison = replace(task.comparison, overlap=replace(overlap, ratio=undefined))
    assert decided(compared_anew(task, comparison, OVERLAP)).verdict == "undefined"


def test_what_has_no_number_is_undefined(planted: Compared, with_overlap: Compared) -> None:
    task = with_overlap(planted("moved"), ratio=(np.nan, np.nan), null=(np.nan, np.nan))
    for words in ("share edges", "sampling noise"):
        found = finding(task, words)
        assert found.verdict == UNDEFINED
        assert "allow no such number or no interval" in found.sentence


def test_the_ratio_is_stored_with_the_draws_of_its_interval(planted: Compared) -> None:
    """And is that of the circuits' own size."""
    task = planted("distributed")
    measured, overlap = task.mdm.measured[RATIO], task.comparison.overlap
    draws, found = measured.draws, measured.estimate
    assert draws is not None and found == overlap.ratio.at(overlap.sizes.tolist().index(12))
    low, high = np.percentile(draws - draws.mean() + found.value, [2.5, 97.5])
    # A ratio below 0 is cut off.
    assert (found.interval.low, found.interval.high) == pytest.approx((max(0.0, low), high))


def test_a_ratio_that_is_undefined_is_stored_with_its_reason(
    planted: Compared, with_overlap: Compared
) -> None:
    task = with_overlap(planted("moved"), ratio=(np.nan, np.nan))
    assert task.mdm.measured[RATIO].reason == "a ceiling is 0"
    overlap = replace(task.comparison.overlap, notes=("12 edges: no ceiling",))
    noted = replace(task, comparison=replace(task.comparison, overlap=overlap))
    assert with_overlap(noted).mdm.measured[RATIO].reason == "12 edges: no ceiling"


def test_the_headline_has_the_numbers_at_the_circuits_size(ioi: TaskResults) -> None:
    cells = {row.name: row.cell(ioi) for row in OVERLAP.headline}
    overlap = ioi.comparison.overlap
    index = overlap.sizes.tolist().index(ioi.comparison.circuit_size)
    assert index_at_size(ioi.comparison) == index
    shown = {
        "Edge overlap": overlap.edges.at(index),
        "… if only layout mattered": overlap.null.at(index),
        "ARM ceiling": overlap.ceiling_arm.at(index),
        "MDM ceiling": overlap.ceiling_mdm.at(index),
        "Ratio to ceiling": overlap.ratio.at(index),
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
        "edges, ARM and MDM": overlap.edges,
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
