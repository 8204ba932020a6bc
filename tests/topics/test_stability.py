"""Stability on the page: classes by hand, the table's edges, a verdict that noise leaves open."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, circuit_stability
from mechshift.page.formats import NOT_DECIDED, UNDEFINED
from mechshift.statistics import Estimate, Interval
from mechshift.testing import Noise, planted_pair
from mechshift.topics.registry import headline, verdicts
from mechshift.topics.stability import (
    CLASSES,
    KEPT,
    SMALLEST_CORE,
    STABILITY,
    core_verdict,
    edge_classes,
    stability_figure,
    stability_table,
)
from mechshift.topics.topic import Measured, TaskResults


def kept(low: float, high: float) -> Measured:
    interval = Interval(low=low, high=high, level=0.95)
    return Measured(estimate=Estimate(value=(low + high) / 2, interval=interval))


def with_kept(task: TaskResults, measured: Measured) -> TaskResults:
    return replace(task, mdm=replace(task.mdm, measured={**task.mdm.measured, KEPT: measured}))


def test_an_edge_is_classed_by_its_share_in_both_models(ioi: TaskResults) -> None:
    found = replace(
        STABILITY.of(ioi),
        edges=np.arange(7),
        arm=np.array([1.0, 0.95, 0.97, 0.5, 0.0, 0.2, 0.94]),
        mdm=np.array([0.95, 0.94, 0.0, 1.0, 0.96, 0.2, 0.94]),
    )
    assert edge_classes(found).tolist() == [
        "both",
        "arm",
        "arm only",
        "mdm",
        "mdm only",
        "contingent",
        "contingent",
    ]
    assert found.core_overlap == 1 / 5


def test_the_table_has_every_edge_and_the_figure_counts_their_classes(ioi: TaskResults) -> None:
    found = STABILITY.of(ioi)
    table = stability_table(found)
    assert sorted(table["edge"]) == sorted(map(found.graph.edge_name, found.edges.tolist()))
    assert table["arm"].is_sorted(descending=True)
    figure = stability_figure(found).to_plotly()
    bars = figure.data[-1]
    assert sum(bars.x) == len(found.edges) and len(bars.y) == len(CLASSES)
    counts = dict(zip(bars.y, bars.x, strict=True))
    assert counts["core of both"] == (table["class"] == "both").sum()
    for line, shares in zip(figure.data[:2], (found.arm, found.mdm), strict=True):
        np.testing.assert_array_equal(line.y, np.sort(shares[shares > 0])[::-1])


@pytest.mark.parametrize(
    ("measured", "decided"),
    [
        (kept(0.8, 1.0), "retained"),
        (kept(0.5, 0.7), "modest change"),
        (kept(0.1, 0.4), "rewired"),
        (kept(0.3, 1.0), NOT_DECIDED),
        (Measured(reason="no core"), UNDEFINED),
    ],
)
def test_the_core_is_judged_by_the_class_in_which_its_bounds_lie(
    ioi: TaskResults, measured: Measured, decided: str
) -> None:
    found = STABILITY.of(ioi)
    assert found is not None
    # A core large enough to be judged, whatever the examples of the small run leave of it.
    sure = replace(found, arm=np.ones_like(found.arm), mdm=np.ones_like(found.mdm))
    assert sure.smaller_core >= SMALLEST_CORE
    enough = replace(
        ioi,
        comparison=replace(ioi.comparison, num_clusters=30),
        records={**ioi.records, STABILITY.name: sure},
    )
    task = with_kept(enough, measured)
    assert verdicts([task])[0].of("core").by_itself == decided
    (finding,) = STABILITY.findings(task)
    assert finding.verdict == decided


@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0])
def test_one_circuit_in_two_models_is_not_called_rewired_for_noise_alone(factor: float) -> None:
    """Unguarded, ten times the noise in one model was decided in a quarter of such pairs."""
    settings = ComparisonSettings(circuit_size=10, sizes=(10,), num_resamples=60)
    for seed in range(6):
        noise = Noise(own=1.0, mdm_factor=factor)
        pair = planted_pair("identical", num_examples=40, noise=noise, seed=seed)
        found = circuit_stability(pair.arm, pair.mdm, settings)
        assert core_verdict(found, found.kept) in ("retained", NOT_DECIDED)


def test_a_circuit_that_lies_elsewhere_is_called_so() -> None:
    settings = ComparisonSettings(circuit_size=10, sizes=(10,), num_resamples=60)
    for seed in range(6):
        pair = planted_pair("rewired", num_examples=40, noise=Noise(own=1.0), seed=seed)
        found = circuit_stability(pair.arm, pair.mdm, settings)
        assert core_verdict(found, found.kept) == "rewired"


def test_the_headline_shows_the_core(ioi: TaskResults, infilling: TaskResults) -> None:
    tasks = (ioi, infilling)
    groups = headline(tasks, verdicts(tasks))
    rows = {row.name: row for group in groups for row in group.rows}
    assert rows["Core kept"].cells[0].text == f"{ioi.mdm.estimate(KEPT).value:.2f}"
    overlap = STABILITY.of(infilling).core_overlap
    assert rows["Overlap of cores"].cells[1].text == f"{overlap:.2f}"


def test_every_member_has_as_many_draws_as_there_are_resamples(ioi: TaskResults) -> None:
    for member in (ioi.mdm, *ioi.controls):
        assert len(member.measured[KEPT].draws) == ioi.comparison.settings.num_resamples
