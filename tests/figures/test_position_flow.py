"""Flow between spans, and from right to left: the figures and tables show the record's numbers."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import DirectionOfFlow
from mechshift.figures import (
    right_to_left,
    right_to_left_table,
    span_flow,
    span_flow_table,
    step_spans,
    step_spans_table,
)

SPANS = ["IO", "committed", "scored", "later", "rest"]


def heat_maps(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data if trace.type == "heatmap"}


def test_a_heat_map_for_each_model_holds_the_share_of_reader_and_source(
    direction: DirectionOfFlow,
) -> None:
    figure = span_flow(direction)
    maps = heat_maps(figure)
    assert maps.keys() == {"ARM", "MDM"} and len(figure.data) == 2
    for name, spans in (("ARM", direction.arm_spans), ("MDM", direction.mdm_spans)):
        np.testing.assert_array_equal(maps[name].z, spans.share.value)
        np.testing.assert_array_equal(maps[name].customdata[..., 0], spans.share.low)
        np.testing.assert_array_equal(maps[name].customdata[..., 2], spans.net)
        assert list(maps[name].y) == list(maps[name].text[0]) == SPANS
        assert "%{y} reads from %{text}: %{z" in maps[name].hovertemplate
    assert list(figure.layout.xaxis2.ticktext) == SPANS
    # The first span is at the top, as in a text.
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"
    largest = max(spans.share.value.max() for spans in (direction.arm_spans, direction.mdm_spans))
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, largest)


def test_the_span_table_has_a_row_for_each_model_reader_and_source(
    direction: DirectionOfFlow,
) -> None:
    table = span_flow_table(direction)
    assert len(table) == 2 * 5 * 5
    (row,) = table.filter(
        (pl.col("model") == "mdm") & (pl.col("read_by") == "scored") & (pl.col("read_from") == "IO")
    ).to_dicts()
    spans = direction.mdm_spans
    assert (row["share"], row["low"], row["high"], row["net"]) == (
        *(spans.share.value[2, 0], spans.share.low[2, 0], spans.share.high[2, 0]),
        spans.net[2, 0],
    )
    sums = table.group_by("model").agg(pl.col("share").sum())
    np.testing.assert_allclose(sums["share"], 1)


@pytest.mark.parametrize("into_readers", [False, True])
def test_each_step_has_a_column_of_spans_that_it_reads_from(
    direction: DirectionOfFlow, into_readers: bool
) -> None:
    figure = step_spans(direction, into_readers=into_readers)
    for name, spans in (("ARM", direction.arm_spans), ("MDM", direction.mdm_spans)):
        trace = heat_maps(figure)[name]
        shown = spans.into_readers if into_readers else spans.by_step
        np.testing.assert_array_equal(trace.z, shown.T)
        np.testing.assert_allclose(trace.z.sum(axis=0), 1)
        assert list(trace.y) == SPANS and list(trace.x) == [0, 1]
        np.testing.assert_array_equal(trace.customdata[0], [12, 9])
    said = "into the scored positions" if into_readers else "into all positions"
    assert said in figure.layout.title.subtitle.text


def test_the_step_table_holds_both_shares(direction: DirectionOfFlow) -> None:
    table = step_spans_table(direction)
    assert len(table) == 2 * 2 * 5
    (row,) = table.filter(
        (pl.col("model") == "arm") & (pl.col("step") == 1) & (pl.col("read_from") == "rest")
    ).to_dicts()
    assert row["num_examples"] == 9
    assert row["share"] == direction.arm_spans.by_step[1, 4]
    assert row["share_into_readers"] == direction.arm_spans.into_readers[1, 4]


def test_shares_from_right_to_left_have_curves_by_layer_and_by_step(
    direction: DirectionOfFlow,
) -> None:
    figure = right_to_left(direction)
    for name, shares in (("ARM", direction.arm), ("MDM", direction.mdm)):
        layers, steps = (
            next(t for t in figure.data if t.name == name and t.xaxis == axis)
            for axis in ("x", "x2")
        )
        np.testing.assert_array_equal(layers.y, shares.by_layer.value)
        np.testing.assert_array_equal(steps.y, shares.by_step.value)
        np.testing.assert_allclose(steps.y[:1] + steps.error_y.array[:1], shares.by_step.high[:1])
        # Nine examples have the second step, too few for an interval.
        assert np.isnan(steps.error_y.array[1])
        assert [t.name for t in figure.data].count(f"{name} interval") == 1
    assert not any(next(t for t in figure.data if t.name == "ARM").y)
    assert "ARM 0.0%, MDM" in figure.layout.title.subtitle.text


def test_the_direction_table_holds_both_models_and_their_difference(
    direction: DirectionOfFlow,
) -> None:
    table = right_to_left_table(direction)
    assert len(table) == 3 * (3 + 2 + 3 + 2)
    mdm = table.filter(pl.col("model") == "mdm")
    whole = mdm.filter(pl.col("of") == "overall")
    assert whole["entry"].to_list() == ["right-to-left", "same-position", "left-to-right"]
    assert whole["share"].to_list() == direction.mdm.overall.value.tolist()
    shift = table.filter((pl.col("model") == "mdm - arm") & (pl.col("of") == "layer"))
    assert shift["high"].to_list() == direction.shift.by_layer.high.tolist()
    assert mdm.filter((pl.col("of") == "step") & (pl.col("entry") == "1"))["low"].to_list() == [
        None
    ]
