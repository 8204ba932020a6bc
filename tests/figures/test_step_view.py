import numpy as np
import plotly.graph_objects as go
import polars as pl

from mechshift.comparison import Comparison
from mechshift.figures import step_view, step_view_table


def heat_maps(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data if trace.type == "heatmap"}


def test_a_heat_map_for_each_model_holds_the_shares_by_layer_and_step(
    comparison: Comparison,
) -> None:
    maps = heat_maps(step_view(comparison))
    assert maps.keys() == {"ARM", "MDM"}
    for name, profile in (("ARM", comparison.arm_steps), ("MDM", comparison.mdm_steps)):
        np.testing.assert_array_equal(maps[name].z, profile.share.T)
        assert [row[0] for row in maps[name].text] == ["0", "1", "2", "logits"]
        assert "layer %{text}" in maps[name].hovertemplate


def test_the_colour_scale_of_both_models_starts_at_zero(comparison: Comparison) -> None:
    scale = step_view(comparison).layout.coloraxis
    largest = max(comparison.arm_steps.share.max(), comparison.mdm_steps.share.max())
    assert (scale.cmin, scale.cmax) == (0, largest)


def test_the_metric_per_step_has_its_interval_and_its_unit(comparison: Comparison) -> None:
    figure = step_view(comparison, metric="log_prob")
    curves = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
    assert curves.keys() == {"ARM, clean", "ARM, corrupted", "MDM, clean", "MDM, corrupted"}
    shown, metric = curves["MDM, corrupted"], comparison.mdm_steps.corrupted_metric
    np.testing.assert_array_equal(shown.y, metric.value)
    np.testing.assert_allclose(shown.y + shown.error_y.array, metric.high)
    np.testing.assert_allclose(shown.y - shown.error_y.arrayminus, metric.low)
    np.testing.assert_array_equal(shown.customdata, [12, 10, 10])
    assert figure.layout.yaxis3.title.text == "log_prob [nats]"


def test_the_table_has_a_row_for_each_model_step_and_layer(comparison: Comparison) -> None:
    table = step_view_table(comparison)
    assert len(table) == 2 * 3 * 4
    row = table.filter(
        (pl.col("model") == "mdm") & (pl.col("step") == 1) & (pl.col("layer") == "logits")
    ).to_dicts()[0]
    profile = comparison.mdm_steps
    assert row["share"] == profile.share[1, -1]
    assert row["num_examples"] == 10
    assert row["clean_metric_low"] == profile.clean_metric.low[1]
