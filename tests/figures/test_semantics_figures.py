"""Lenses, concentration and roles: figures show the record's numbers, and so do the tables."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.errors import ReportError
from mechshift.figures.attention_roles import attention_roles, attention_roles_table
from mechshift.figures.concentration_bars import concentration_bars, concentration_bars_table
from mechshift.figures.lens_heatmap import component_lens, lens_heatmap, lens_heatmap_table
from mechshift.figures.theme import ARM_COLOUR, MDM_COLOUR, translucent
from mechshift.graph import Graph
from mechshift.semantics import (
    AttentionRoles,
    ConcentrationShift,
    LensProfile,
    SemanticsSettings,
    concentration_shift,
    resample_magnitudes,
)
from mechshift.statistics import Estimates

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
NUM_STEPS = {"arm": 3, "mdm": 2}
COLOURS = {"arm": ARM_COLOUR, "mdm": MDM_COLOUR}


def estimates(seed: int, *shape: int) -> Estimates:
    value = np.random.default_rng(seed).uniform(0.1, 0.9, size=shape)
    return Estimates(value=value, low=value - 0.05, high=value + 0.1, level=0.95)


@pytest.fixture
def profiles() -> dict[str, LensProfile]:
    """Probabilities; the ARM has a step more than the MDM, on fewer examples."""
    return {
        model: LensProfile(
            graph=GRAPH,
            reading="probability",
            levels=estimates(steps, steps, GRAPH.num_layers + 1),
            components=estimates(10 + steps, steps, GRAPH.num_sources),
            num_examples=np.array([12, 12, 4])[:steps],
            level=0.95,
        )
        for model, steps in NUM_STEPS.items()
    }


@pytest.fixture
def roles() -> dict[str, AttentionRoles]:
    """Two roles; the ARM lacks samples of the second, and holds the first in a1.h0."""
    made = {}
    for seed, model in enumerate(("arm", "mdm")):
        excess, share = estimates(seed, 2, 3, 2), estimates(9 + seed, 2, 3, 2)
        if model == "arm":
            for array in (excess.value, excess.low, excess.high):
                array[1] = np.nan
        holds = np.zeros((2, 3, 2), dtype=bool)
        holds[0, 1, 0] = True
        made[model] = AttentionRoles(
            graph=GRAPH,
            roles=("induction", "mask_to_clue"),
            share=share,
            uniform=np.full((2, 3), 0.05),
            excess=excess,
            holds=holds,
            threshold=0.3,
            num_samples=np.array([32, 0 if model == "arm" else 20]),
            level=0.95,
        )
    return made


@pytest.fixture
def concentrated() -> ConcentrationShift:
    settings = SemanticsSettings(num_resamples=30)
    arm, mdm = np.random.default_rng(0).normal(size=(2, 15, 12))
    return concentration_shift(
        resample_magnitudes(arm, settings), resample_magnitudes(mdm, settings)
    )


def named(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data}


def test_the_lens_of_the_stream_is_drawn_by_level_and_step(profiles) -> None:
    figure = lens_heatmap(**profiles)
    maps = named(figure)
    assert maps.keys() == {"ARM", "MDM"}
    for model, profile in profiles.items():
        trace = maps[model.upper()]
        np.testing.assert_array_equal(trace.z, profile.levels.value.T)
        np.testing.assert_array_equal(trace.customdata[..., 0], profile.levels.low.T)
        assert [row[0] for row in trace.text] == ["0", "1", "2", "output"]
    largest = max(profile.levels.value.max() for profile in profiles.values())
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, largest)
    assert figure.layout.coloraxis.colorbar.title.text == "probability<br>of target"
    assert "n = 12 examples" in figure.layout.title.subtitle.text
    assert [annotation.font.color for annotation in figure.layout.annotations] == [
        ARM_COLOUR,
        MDM_COLOUR,
    ]


def test_the_lens_of_each_component_names_it_on_hover(profiles) -> None:
    figure = component_lens(**profiles, step=1)
    trace = named(figure)["MDM"]
    np.testing.assert_array_equal(trace.z.ravel(), profiles["mdm"].components.value[1, 1:])
    assert trace.text.tolist() == [
        ["a0.h0", "a0.h1", "m0"],
        ["a1.h0", "a1.h1", "m1"],
        ["a2.h0", "a2.h1", "m2"],
    ]
    np.testing.assert_array_equal(
        trace.customdata[..., 1].ravel(), profiles["mdm"].components.high[1, 1:]
    )
    assert figure.layout.xaxis.ticktext[-1] == "MLP"
    assert "at step 1" in figure.layout.title.subtitle.text


def test_the_lens_table_has_every_place_of_every_step(profiles) -> None:
    table = lens_heatmap_table(**profiles)
    places = GRAPH.num_layers + 1 + GRAPH.num_sources
    assert len(table) == sum(NUM_STEPS.values()) * places
    row = table.filter(
        (pl.col("model") == "arm") & (pl.col("step") == 2) & (pl.col("place") == "m1")
    ).to_dicts()[0]
    assert row["value"] == profiles["arm"].components.value[2, GRAPH.mlp_source(1)]
    assert row["num_examples"] == 4
    assert row["kind"] == "component"


def test_profiles_that_do_not_belong_together_are_refused(profiles) -> None:
    other = replace(profiles["mdm"], reading="entropy")
    with pytest.raises(ReportError, match="'probability' of 10 components and the MDM's 'entropy'"):
        lens_heatmap(profiles["arm"], other)
    with pytest.raises(ReportError, match="the MDM has 2 denoising steps and no step 2"):
        component_lens(**profiles, step=2)


def test_concentration_is_drawn_for_both_models_with_intervals(concentrated) -> None:
    figure = concentration_bars(concentrated)
    assert [(trace.name, trace.marker.color) for trace in figure.data] == 2 * [
        ("ARM", ARM_COLOUR),
        ("MDM", MDM_COLOUR),
    ]
    arm = concentrated.arm
    assert list(figure.data[0].y) == [
        arm.gini.value,
        arm.top_1_share.value,
        arm.top_10_share.value,
    ]
    assert list(figure.data[2].y) == [arm.effective_number.value]
    bar = figure.data[3].error_y
    interval = concentrated.mdm.effective_number.interval
    assert bar.array[0] + bar.arrayminus[0] == pytest.approx(interval.high - interval.low)
    assert figure.layout.yaxis2.title.text == "components of 12"


def test_the_concentration_table_holds_the_paired_shift(concentrated) -> None:
    table = concentration_bars_table(concentrated)
    assert len(table) == 4 * 3
    row = table.filter((pl.col("measure") == "gini") & (pl.col("side") == "shift")).to_dicts()[0]
    assert row["value"] == concentrated.shift.gini.value
    assert row["low"] == concentrated.shift.gini.interval.low


def test_heads_that_hold_a_role_are_filled_and_named(roles) -> None:
    figure = attention_roles(**roles)
    traces = named(figure)
    assert traces.keys() == {"ARM", "ARM, no role", "MDM", "MDM, no role"}
    for model, colour in COLOURS.items():
        held = traces[model.upper()]
        assert list(held.text) == ["a1.h0"]
        assert list(held.y) == [roles[model].excess.value[0, 1, 0]]
        assert held.marker.color == colour
        assert traces[f"{model.upper()}, no role"].marker.color == translucent(colour, 0.35)
    # Five other heads of the first role; none of a role without samples.
    assert [len(traces[f"{model}, no role"].y) for model in ("ARM", "MDM")] == [5, 11]
    assert figure.layout.xaxis.ticktext == ("induction", "mask<br>to<br>clue<br>(no ARM)")
    assert "n = 20 to 32 sequences or examples" in figure.layout.title.subtitle.text
    assert figure.layout.shapes[0].y0 == 0.3


def test_points_of_a_role_stay_beside_its_label(roles) -> None:
    for trace in attention_roles(**roles).data:
        assert np.abs(np.array(trace.x) - np.round(trace.x)).max() < 0.4


def test_the_role_table_has_a_row_for_each_head_and_leaves_the_undefined_empty(roles) -> None:
    table = attention_roles_table(**roles)
    assert len(table) == 2 * 2 * 6
    undefined = table.filter((pl.col("model") == "arm") & (pl.col("role") == "mask_to_clue"))
    assert undefined["excess"].to_list() == [None] * 6
    row = table.filter((pl.col("model") == "mdm") & (pl.col("head") == "a2.h1")).to_dicts()[1]
    assert row["role"] == "mask_to_clue"
    assert row["share"] == roles["mdm"].share.value[1, 2, 1]


def test_models_measured_for_other_roles_are_refused(roles) -> None:
    other = replace(roles["mdm"], threshold=0.5)
    with pytest.raises(
        ReportError, match=r"above 0.3 and the MDM induction, mask_to_clue above 0.5"
    ):
        attention_roles(roles["arm"], other)
