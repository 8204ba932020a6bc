"""The figure of ablations: bars show the record's numbers, and so does the table."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.ablation import (
    AblationComparison,
    AblationSettings,
    AblationTable,
    PlanLabels,
    RemovedOutputs,
    compare_ablations,
)
from mechshift.errors import ReportError
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR, translucent
from mechshift.topics.ablation_figure import ablation_bars, ablation_bars_table

SETTINGS = AblationSettings(num_resamples=50)
PLANS = (
    "early heads",
    "early heads, same number, draw 1",
    "early heads, same number, draw 2",
    "circuit",
    "circuit, same norm, draw 1",
)
GROUPS = ("early heads", "early heads, same number", "circuit", "circuit, same norm")


def table(seed: int) -> AblationTable:
    """Two plans, with two draws of a control by number and one of one by norm; 15 examples."""
    generator = np.random.default_rng(seed)
    return AblationTable(
        labels=PlanLabels(
            names=PLANS,
            roles=("structure", "same number", "same number", "structure", "same norm"),
            of=("early heads",) * 3 + ("circuit",) * 2,
            draws=np.array([0, 1, 2, 0, 1]),
            notes=("all heads", "as many", "just as many", "of 9 edges", "as much"),
            num_heads=np.array([2, 2, 2, 3, 4]),
            num_mlps=np.array([0, 0, 0, 1, 0]),
            num_neurons=np.zeros(5, dtype=np.int64),
        ),
        replacements=("zero", "resample"),
        metric_name="logit_diff",
        metric=generator.normal(2.0, 1.0, size=(5, 2, 15)),
        correct=generator.random((5, 2, 15)) < 0.6,
        clean_metric=generator.normal(4.0, 0.5, size=15),
        clean_correct=np.ones(15, dtype=bool),
        corrupted_metric=generator.normal(-4.0, 0.5, size=15),
        clusters=np.arange(15),
        removed=RemovedOutputs(
            norm=np.array([1.0, 2.0, 6.0, 3.0, 5.0]),
            share=np.array([0.1, 0.2, 0.4, 0.3, 0.4]),
            largest_coordinate_share=np.array([0.5, 0.6, 0.8, 0.7, np.nan]),
        ),
    )


@pytest.fixture
def comparison() -> AblationComparison:
    return compare_ablations(table(0), table(1), SETTINGS)


def test_every_bar_shows_its_drop_with_its_interval(comparison: AblationComparison) -> None:
    figure = ablation_bars(comparison, "resample").to_plotly()
    assert len(figure.data) == 2 * 2 * 3  # panels, models, roles
    for model, effects in (("ARM", comparison.arm), ("MDM", comparison.mdm)):
        for axis, estimates in (("x", effects.metric_drop), ("x2", effects.accuracy_drop)):
            for name, rows, plans in (
                (model, [0, 2], ["early heads", "circuit"]),
                (f"{model}, random, same number", [1], ["early heads"]),
                (f"{model}, random, same norm", [3], ["circuit"]),
            ):
                (bar,) = [t for t in figure.data if t.name == name and t.xaxis == axis]
                value = estimates.value[rows, 1]
                assert list(bar.y) == plans
                np.testing.assert_array_equal(bar.x, value)
                np.testing.assert_allclose(value + bar.error_x.array, estimates.high[rows, 1])
                np.testing.assert_allclose(value - bar.error_x.arrayminus, estimates.low[rows, 1])
                np.testing.assert_array_equal(bar.customdata[:, 2], effects.removed.norm[rows])
                assert "norm removed" in bar.hovertemplate and name in bar.hovertemplate
    assert len({bar.offsetgroup for bar in figure.data}) == 6


def test_controls_are_lighter_shades_of_their_models_colour(comparison: AblationComparison) -> None:
    colours = {bar.name: bar.marker.color for bar in ablation_bars(comparison).to_plotly().data}
    assert colours["ARM"] == translucent(ARM_COLOUR, 1.0)
    assert colours["MDM"] == translucent(MDM_COLOUR, 1.0)
    assert colours["ARM, random, same number"] == translucent(ARM_COLOUR, 0.5)
    assert colours["MDM, random, same norm"] == translucent(MDM_COLOUR, 0.25)


def test_axes_name_plans_in_order_and_units(comparison: AblationComparison) -> None:
    figure = ablation_bars(comparison).to_plotly()
    assert list(figure.layout.yaxis.categoryarray) == ["early heads", "circuit"]
    assert figure.layout.xaxis.title.text == "drop in logit_diff [logits]"
    assert figure.layout.xaxis2.title.text == "drop in accuracy"
    assert "n = 15 examples" in figure.layout.title.subtitle.text
    assert figure.layout.title.subtitle.text.endswith(
        " intervals over examples, and over random draws where a control has 20 or more"
    )
    assert "zero" in figure.layout.title.text


def test_intervals_cover_random_draws_where_every_control_has_enough() -> None:
    rows = [0, *[1, 2] * 10]
    drawn = table(0).take(rows)
    labels = replace(drawn.labels, draws=np.arange(21))
    enough = replace(drawn, labels=labels)
    figure = ablation_bars(compare_ablations(enough, enough, SETTINGS)).to_plotly()
    assert figure.layout.title.subtitle.text.endswith(
        " intervals over examples and over random draws"
    )
    (bar, _) = [bar for bar in figure.data if bar.name == "ARM, random, same number"]
    assert np.isfinite(bar.error_x.array).all()


def test_without_controls_no_draws_are_spoken_of() -> None:
    structures = table(0).take([0, 3])
    comparison = compare_ablations(structures, structures, SETTINGS)
    subtitle = ablation_bars(comparison).to_plotly().layout.title.subtitle.text
    assert subtitle.endswith(" bootstrap intervals over examples")
    rows = ablation_bars_table(comparison)
    assert rows["draw"].null_count() == rows["metric_excess"].null_count() == len(rows) == 12


def test_a_pooled_control_says_how_many_draws_it_is(comparison: AblationComparison) -> None:
    notes = {bar.name: list(bar.text) for bar in ablation_bars(comparison).to_plotly().data}
    assert notes["ARM, random, same number"] == ["random draws: 2<br>as many<br>just as many"]
    assert notes["ARM"] == ["all heads", "of 9 edges"]


def test_a_replacement_that_was_not_run_is_refused(comparison: AblationComparison) -> None:
    with pytest.raises(ReportError, match="not ablated by 'mean'; there are zero, resample"):
        ablation_bars(comparison, "mean")


def test_the_table_holds_both_models_and_their_difference(comparison: AblationComparison) -> None:
    rows = ablation_bars_table(comparison).filter(pl.col("draw").is_null())
    assert len(rows) == 3 * len(GROUPS) * 2
    assert rows["plan"].to_list()[:8] == [name for name in GROUPS for _ in range(2)]
    mdm = rows.filter((pl.col("model") == "mdm") & (pl.col("replacement") == "resample"))
    np.testing.assert_array_equal(mdm["accuracy_high"], comparison.mdm.accuracy.high[:, 1])
    assert mdm["num_draws"].to_list() == [1, 2, 1, 1]
    assert mdm["largest_coordinate_share"].to_list() == [0.5, 0.7, 0.7, None]
    assert mdm["removed_norm"].to_list() == [1.0, 4.0, 3.0, 5.0]
    assert mdm["num_heads"].to_list() == [2, 2, 3, 4]
    excess = comparison.mdm.metric_excess
    assert mdm["metric_excess"].to_list() == [None, excess.value[1, 1], None, excess.value[3, 1]]
    # Two draws and one are too few for an interval.
    assert mdm["metric_excess_low"].null_count() == len(mdm)
    assert mdm["metric_drop_low"].is_null().to_list() == [False, True, False, True]
    difference = rows.filter(pl.col("model") == "mdm - arm")
    expected = comparison.metric_drop_difference
    np.testing.assert_array_equal(difference["metric_drop_low"], expected.low.ravel())
    assert difference["accuracy"].null_count() == len(difference)


def test_the_table_names_every_draw_of_a_control(comparison: AblationComparison) -> None:
    rows = ablation_bars_table(comparison).filter(pl.col("draw").is_not_null())
    arm = rows.filter((pl.col("model") == "arm") & (pl.col("replacement") == "zero"))
    assert len(rows) == 2 * 3 * 2
    assert arm["plan"].to_list() == [PLANS[1], PLANS[2], PLANS[4]]
    assert arm["draw"].to_list() == [1, 2, 1]
    assert arm["note"].to_list() == ["as many", "just as many", "as much"]
    np.testing.assert_array_equal(
        arm["metric_drop"], comparison.arm.plans.metric_drop[[1, 2, 4], 0]
    )
    pooled = comparison.arm.metric_drop.value[1, 0]
    assert arm["metric_drop"][:2].mean() == pytest.approx(pooled)
    assert arm["metric_drop_low"].null_count() == len(arm)
