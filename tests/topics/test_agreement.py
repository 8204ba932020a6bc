"""Agreement: every panel shows its measure, beside ceilings and null."""

from dataclasses import replace

import numpy as np
import polars as pl

from mechshift.comparison import Comparison
from mechshift.topics.agreement import AGREEMENT, agreement_points, agreement_table
from mechshift.topics.topic import TaskResults

MEASURES = ("nodes", "weighted", "rank", "sign")


def test_each_panel_shows_one_measure_with_ceilings_and_null(comparison: Comparison) -> None:
    record = comparison.agreement
    figure = agreement_points(record).to_plotly()
    assert len(figure.data) == 4 * len(MEASURES)
    for panel, measure in enumerate(MEASURES):
        axis = "x" if panel == 0 else f"x{panel + 1}"
        shown = {trace.name: trace for trace in figure.data if trace.xaxis == axis}
        curve = getattr(record, measure)
        for name, field in (
            ("ARM and MDM", "value"),
            ("ceiling: ARM with itself", "ceiling_arm"),
            ("ceiling: MDM with itself", "ceiling_mdm"),
            ("null: shuffled scores", "null"),
        ):
            estimates = getattr(curve, field)
            np.testing.assert_array_equal(shown[name].y, estimates.value)
            np.testing.assert_array_equal(
                shown[name].error_y.array, estimates.high - estimates.value
            )
    assert sum(trace.showlegend for trace in figure.data) == 4
    assert figure.layout.xaxis.ticktext[-1] == f"all {record.num_edges:,}"


def test_the_points_of_a_size_stand_beside_each_other(comparison: Comparison) -> None:
    first = [trace.x[0] for trace in agreement_points(comparison.agreement).to_plotly().data[:4]]
    assert len(set(first)) == 4 and max(np.abs(first)) < 0.5


def test_the_agreement_table_holds_estimates_and_p_values(comparison: Comparison) -> None:
    record = comparison.agreement
    table = agreement_table(record)
    assert len(table) == len(MEASURES) * len(record.sizes)
    rank = table.filter(pl.col("measure") == "rank")
    assert rank["size"].to_list() == record.sizes.tolist()
    assert rank["ratio_low"].to_list() == [
        None if np.isnan(low) else low for low in record.rank.ratio.low
    ]
    assert rank["noise_p"].to_list() == record.rank.noise_p.tolist()


def test_the_figure_counts_what_was_resampled(comparison: Comparison) -> None:
    record = comparison.agreement
    assert "n = 12 examples" in agreement_points(record).to_plotly().layout.title.subtitle.text
    shards = agreement_points(replace(record, unit="shard")).to_plotly().layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards


def test_a_task_shows_its_agreement_and_what_the_record_says_of_itself(ioi: TaskResults) -> None:
    record = replace(ioi.comparison.agreement, notes=("rank: undefined",))
    task = replace(ioi, comparison=replace(ioi.comparison, agreement=record))
    (shown,) = AGREEMENT.exhibits(task)
    assert shown.name == "agreement"
    assert shown.table.equals(agreement_table(record))
    assert AGREEMENT.notes(task) == ("rank: undefined",)
