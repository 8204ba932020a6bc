"""Single components: points show the record's numbers, and the rule with intervals set by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from mechshift.ablation import (
    AblationSettings,
    SingleAblations,
    SingleEffects,
    compare_single_ablations,
)
from mechshift.graph import Graph
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, estimate_cell
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.run.stored import RunTask
from mechshift.statistics import Estimate, Interval
from mechshift.topics.single_ablations import (
    SINGLE_ABLATIONS,
    ComponentAblations,
    single_ablations_figure,
    single_ablations_table,
)
from mechshift.topics.topic import TaskResults

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)
SETTINGS = AblationSettings(num_resamples=50)


@pytest.fixture
def effects() -> SingleEffects:
    def single(seed: int) -> SingleAblations:
        return SingleAblations(
            graph=GRAPH,
            replacement="zero",
            metric_name="log_prob",
            metric=np.random.default_rng(seed).normal(size=(15, 9)),
            clean_metric=np.zeros(15),
            clusters=np.arange(15),
        )

    return compare_single_ablations(single(0), single(1), SETTINGS)


def test_every_component_is_a_point_of_its_model(effects: SingleEffects) -> None:
    figure = single_ablations_figure(effects).to_plotly()
    assert [trace.name for trace in figure.data] == ["ARM", "MDM", "ARM", "MDM"]
    heads, mlps = figure.data[1], figure.data[3]
    assert list(heads.text) == ["a0.h0", "a0.h1", "a1.h0", "a1.h1", "a2.h0", "a2.h1"]
    assert list(mlps.text) == ["m0", "m1", "m2"]
    np.testing.assert_array_equal(mlps.y, effects.mdm.value[[2, 5, 8]])
    np.testing.assert_array_equal(mlps.customdata[:, 0], effects.mdm.low[[2, 5, 8]])
    assert (heads.marker.color, figure.data[0].marker.color) == (MDM_COLOUR, ARM_COLOUR)
    assert heads.boxpoints == "all"
    assert figure.layout.xaxis.title.text == "n = 6 heads"
    assert figure.layout.xaxis2.title.text == "n = 3 MLPs"
    assert figure.layout.yaxis.title.text == "mean drop in log_prob [nats]"


def test_the_table_of_single_ablations_names_every_component(effects: SingleEffects) -> None:
    rows = single_ablations_table(effects)
    assert len(rows) == 18
    arm = rows.filter(pl.col("model") == "arm")
    assert arm["component"].to_list() == effects.names()
    assert arm["kind"].to_list() == ["head", "head", "MLP"] * 3
    np.testing.assert_array_equal(arm["drop"], effects.arm.value)
    np.testing.assert_array_equal(arm["high"], effects.arm.high)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def with_agreement(task: TaskResults, arm: Estimate, mdm: Estimate) -> TaskResults:
    record = SINGLE_ABLATIONS.of(task)
    assert record is not None
    record = replace(record, arm_agreement=arm, mdm_agreement=mdm)
    return replace(task, records={**task.records, "single-ablations": record})


@pytest.mark.parametrize(
    ("arm", "mdm", "verdict"),
    [
        ((0.2, 0.6), (0.1, 0.5), "yes"),
        ((0.2, 0.6), (-0.1, 0.5), "only in the ARM"),
        ((-0.1, 0.6), (0.1, 0.5), "only in the MDM"),
        ((-0.6, -0.2), (-0.1, 0.5), NOT_DECIDED),
    ],
)
def test_attribution_ranks_as_ablation_where_the_correlation_is_above_zero(
    ioi: TaskResults, arm, mdm, verdict
) -> None:
    task = with_agreement(ioi, estimate(*arm), estimate(*mdm))
    (found,) = SINGLE_ABLATIONS.findings(task)
    assert found.verdict == verdict
    assert f"Over {ioi.comparison.graph.num_sources - 1} heads and MLPs" in found.sentence


def test_the_figure_is_read_with_the_rank_correlations(ioi: TaskResults) -> None:
    task = with_agreement(ioi, estimate(0.5, 0.75), estimate(0.125, 0.5))
    (shown,) = SINGLE_ABLATIONS.exhibits(task)
    assert shown.name == "single-ablations"
    assert len(shown.table) == 2 * (ioi.comparison.graph.num_sources - 1)
    assert "0.62 [0.50, 0.75], MDM 0.31 [0.12, 0.50]" in shown.reading
    cells = {row.name: row.cell(task) for row in SINGLE_ABLATIONS.headline}
    assert cells == {
        "Rank agreement, ARM": estimate_cell(estimate(0.5, 0.75)),
        "Rank agreement, MDM": estimate_cell(estimate(0.125, 0.5)),
    }


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        ("zero", "that writes nothing."),
        ("mean", "that writes its mean output."),
        ("resample", "that writes what it writes on the corrupted prompt."),
    ],
)
def test_a_single_component_is_spoken_of_in_the_singular(
    ioi: TaskResults, replacement: str, words: str
) -> None:
    record = SINGLE_ABLATIONS.of(ioi)
    assert record is not None
    record = replace(record, single=replace(record.single, replacement=replacement))
    task = replace(ioi, records={**ioi.records, "single-ablations": record})
    (shown,) = SINGLE_ABLATIONS.exhibits(task)
    assert words in shown.reading


@pytest.mark.parametrize("model", ["arm", "mdm"])
def test_agreement_is_between_held_out_drops_and_the_edges_out_of_each_component(
    small_run, ioi: TaskResults, model
) -> None:
    record, stored = SINGLE_ABLATIONS.of(ioi), RunTask(run=small_run, task="ioi")
    assert isinstance(record, ComponentAblations)
    scores, ablated = stored.scores(model), stored.ablations(model)
    assert ablated is not None
    graph, mean = scores.graph, scores.values.sum(axis=1).mean(axis=0)
    outgoing = [mean[graph.edge_source == node].sum() for node in range(1, graph.num_sources)]
    expected = spearmanr(ablated.single.drop.mean(axis=0), outgoing).statistic
    found = getattr(record, f"{model}_agreement")
    assert found.value == pytest.approx(expected, abs=1e-3)


def test_without_ablations_nothing_is_said(ioi: TaskResults) -> None:
    task = replace(ioi, records={})
    assert SINGLE_ABLATIONS.findings(task) == SINGLE_ABLATIONS.exhibits(task) == ()
    assert {row.cell(task) for row in SINGLE_ABLATIONS.headline} == {Cell(text=NOT_MEASURED)}
    assert SINGLE_ABLATIONS.method({}) == ()


def test_the_method_says_what_a_component_writes_instead() -> None:
    settings = replace(SETTINGS, single_replacement="resample").manifest_config()
    (said,) = SINGLE_ABLATIONS.method({"ablation": settings})
    assert "replaced by what it writes on the corrupted prompt." in said.meaning
