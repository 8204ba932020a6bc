"""Steps of denoising: the figure shows the comparison's numbers, where there are several steps."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl

from mechshift.comparison import Comparison
from mechshift.topics.steps import STEPS, step_view, step_view_table
from mechshift.topics.topic import TaskResults


def heat_maps(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data if trace.type == "heatmap"}


def with_few_at_the_second_step(comparison: Comparison) -> Comparison:
    """Two of the twelve examples have only the first step."""
    steps = replace(comparison.mdm_steps, num_examples=np.array([12, 10]))
    return replace(comparison, mdm_steps=steps)


def test_a_heat_map_for_each_model_holds_the_shares_by_layer_and_step(
    infilling: TaskResults,
) -> None:
    comparison = infilling.comparison
    maps = heat_maps(step_view(comparison).to_plotly())
    assert maps.keys() == {"ARM", "MDM"}
    layers = [str(layer) for layer in range(comparison.graph.num_layers)]
    for name, profile in (("ARM", comparison.arm_steps), ("MDM", comparison.mdm_steps)):
        np.testing.assert_array_equal(maps[name].z, profile.share.T)
        assert [row[0] for row in maps[name].text] == [*layers, "logits"]
        assert "layer %{text}" in maps[name].hovertemplate


def test_the_colour_scale_of_both_models_starts_at_zero(infilling: TaskResults) -> None:
    comparison = infilling.comparison
    scale = step_view(comparison).to_plotly().layout.coloraxis
    largest = max(comparison.arm_steps.share.max(), comparison.mdm_steps.share.max())
    assert (scale.cmin, scale.cmax) == (0, largest)


def test_the_metric_per_step_has_its_interval_and_its_unit(infilling: TaskResults) -> None:
    comparison = with_few_at_the_second_step(infilling.comparison)
    figure = step_view(comparison, metric="log_prob").to_plotly()
    curves = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
    assert curves.keys() == {"ARM, clean", "ARM, corrupted", "MDM, clean", "MDM, corrupted"}
    shown, metric = curves["MDM, corrupted"], comparison.mdm_steps.corrupted_metric
    np.testing.assert_array_equal(shown.y, metric.value)
    np.testing.assert_allclose(shown.y + shown.error_y.array, metric.high)
    np.testing.assert_allclose(shown.y - shown.error_y.arrayminus, metric.low)
    np.testing.assert_array_equal(shown.customdata, [12, 10])
    assert figure.layout.yaxis3.title.text == "log_prob [nats]"


def test_the_table_has_a_row_for_each_model_step_and_layer(infilling: TaskResults) -> None:
    comparison = with_few_at_the_second_step(infilling.comparison)
    table = step_view_table(comparison)
    assert len(table) == 2 * 2 * (comparison.graph.num_layers + 1)
    row = table.filter(
        (pl.col("model") == "mdm") & (pl.col("step") == 1) & (pl.col("layer") == "logits")
    ).to_dicts()[0]
    profile = comparison.mdm_steps
    assert row["share"] == profile.share[1, -1]
    assert row["num_examples"] == 10
    assert row["clean_metric_low"] == profile.clean_metric.low[1]


def test_the_figure_counts_what_was_resampled(infilling: TaskResults) -> None:
    comparison = infilling.comparison
    assert "n = 12 examples" in step_view(comparison).to_plotly().layout.title.subtitle.text
    shards = step_view(replace(comparison, unit="shard")).to_plotly().layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards


def test_one_step_is_no_figure(ioi: TaskResults, infilling: TaskResults) -> None:
    assert STEPS.exhibits(ioi) == ()
    (shown,) = STEPS.exhibits(infilling)
    assert shown.name == "steps"
    unit = {"log_prob": "nats", "logit_diff": "logits"}[infilling.metric]
    assert shown.figure.to_plotly().layout.yaxis3.title.text == f"{infilling.metric} [{unit}]"
