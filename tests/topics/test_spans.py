"""Flow between spans: the figures and tables show the record's numbers."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import DirectionOfFlow
from mechshift.topics.flow import FLOW
from mechshift.topics.spans import (
    SPANS,
    span_flow,
    span_flow_table,
    step_spans,
    step_spans_table,
)
from mechshift.topics.topic import TaskResults

NAMES = ["use-clue", "colour-clue", "committed", "scored", "later", "rest"]


@pytest.fixture
def direction(results: dict[str, TaskResults]) -> DirectionOfFlow:
    """Two steps, of which nine of the twelve examples have the second."""
    found = FLOW.of(results["infilling"])
    assert found is not None
    return replace(found, step_num_examples=np.array([12, 9]))


def heat_maps(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data if trace.type == "heatmap"}


def test_a_heat_map_for_each_model_holds_the_share_of_reader_and_source(
    direction: DirectionOfFlow,
) -> None:
    figure = span_flow(direction).to_plotly()
    maps = heat_maps(figure)
    assert maps.keys() == {"ARM", "MDM"} and len(figure.data) == 2
    for name, spans in (("ARM", direction.arm_spans), ("MDM", direction.mdm_spans)):
        np.testing.assert_array_equal(maps[name].z, spans.share.value)
        np.testing.assert_array_equal(maps[name].customdata[..., 0], spans.share.low)
        np.testing.assert_array_equal(maps[name].customdata[..., 2], spans.net)
        assert list(maps[name].y) == list(maps[name].text[0]) == NAMES
        assert "%{y} reads from %{text}: %{z" in maps[name].hovertemplate
    assert list(figure.layout.xaxis2.ticktext) == NAMES
    # The first span is at the top, as in a text.
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"
    largest = max(spans.share.value.max() for spans in (direction.arm_spans, direction.mdm_spans))
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, largest)


def test_the_span_table_has_a_row_for_each_model_reader_and_source(
    direction: DirectionOfFlow,
) -> None:
    table = span_flow_table(direction)
    assert len(table) == 2 * 6 * 6
    (row,) = table.filter(
        (pl.col("model") == "mdm")
        & (pl.col("read_by") == "scored")
        & (pl.col("read_from") == "colour-clue")
    ).to_dicts()
    spans = direction.mdm_spans
    assert (row["share"], row["low"], row["high"], row["net"]) == (
        *(spans.share.value[3, 1], spans.share.low[3, 1], spans.share.high[3, 1]),
        spans.net[3, 1],
    )
    sums = table.group_by("model").agg(pl.col("share").sum())
    np.testing.assert_allclose(sums["share"], 1)


@pytest.mark.parametrize("into_readers", [False, True])
def test_each_step_has_a_column_of_spans_that_it_reads_from(
    direction: DirectionOfFlow, into_readers: bool
) -> None:
    figure = step_spans(direction, into_readers=into_readers).to_plotly()
    for name, spans in (("ARM", direction.arm_spans), ("MDM", direction.mdm_spans)):
        trace = heat_maps(figure)[name]
        shown = spans.into_readers if into_readers else spans.by_step
        np.testing.assert_array_equal(trace.z, shown.T)
        np.testing.assert_allclose(trace.z.sum(axis=0), 1)
        assert list(trace.y) == NAMES and list(trace.x) == [0, 1]
        np.testing.assert_array_equal(trace.customdata[0], [12, 9])
    said = "into the scored positions" if into_readers else "into all positions"
    assert said in figure.layout.title.subtitle.text


def test_the_step_table_holds_both_shares(direction: DirectionOfFlow) -> None:
    table = step_spans_table(direction)
    assert len(table) == 2 * 2 * 6
    (row,) = table.filter(
        (pl.col("model") == "arm") & (pl.col("step") == 1) & (pl.col("read_from") == "rest")
    ).to_dicts()
    assert row["num_examples"] == 9
    assert row["share"] == direction.arm_spans.by_step[1, 5]
    assert row["share_into_readers"] == direction.arm_spans.into_readers[1, 5]


def test_steps_are_shown_where_there_is_more_than_one(results: dict[str, TaskResults]) -> None:
    shown = {name: [one.name for one in SPANS.exhibits(task)] for name, task in results.items()}
    assert shown == {"ioi": ["span-flow"], "infilling": ["span-flow", "step-spans"]}
    assert not SPANS.exhibits(replace(results["ioi"], records={}))
