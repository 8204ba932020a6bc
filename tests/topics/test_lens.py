"""Lenses: what decides, and that figures and tables show the record's numbers."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.errors import ReportError
from mechshift.flat_records import from_flat, to_flat
from mechshift.models import Kind
from mechshift.page.formats import Cell, estimate_cell
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.semantics import LensProfile, Semantics
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.lens import (
    LENS,
    Lenses,
    component_lens,
    lens_heatmap,
    lens_heatmap_table,
)
from mechshift.topics.topic import StoredTask, TaskResults

NUM_STEPS = {"arm": 2, "mdm": 1}
LEVELS = ["0", "1", "2", "3", "4", "5", "output"]


class NotAnalysed(StoredTask):
    """A task whose components were not analysed."""

    task = "ioi"
    settings = ComparisonSettings()

    def semantics(self, kind: Kind) -> Semantics | None:
        return None


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def first_steps(estimates: Estimates, num_steps: int) -> Estimates:
    value, low, high = (
        array[:num_steps] for array in (estimates.value, estimates.low, estimates.high)
    )
    return replace(estimates, value=value, low=low, high=high)


def named(figure: go.Figure) -> dict[str, go.Heatmap]:
    return {trace.name: trace for trace in figure.data}


@pytest.fixture
def lenses(results: dict[str, TaskResults]) -> Lenses:
    found = LENS.of(results["infilling"])
    assert found is not None
    return found


@pytest.fixture
def profiles(lenses: Lenses) -> dict[str, LensProfile]:
    """Probabilities; the ARM has a step more than the MDM, on fewer examples."""
    return {
        model: replace(
            profile,
            levels=first_steps(profile.levels, NUM_STEPS[model]),
            components=first_steps(profile.components, NUM_STEPS[model]),
            num_examples=np.array([12, 4])[: NUM_STEPS[model]],
        )
        for model, profile in (("arm", lenses.arm), ("mdm", lenses.mdm))
    }


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "yes, less"), (-0.1, 0.3, "not decided"), (-0.3, -0.1, "no, more")],
)
def test_a_shift_decides_only_where_its_interval_leaves_out_zero(
    results: dict[str, TaskResults], lenses: Lenses, low: float, high: float, verdict: str
) -> None:
    alignment, shift = lenses.alignment, estimate(low, high)
    weighted = replace(alignment.shift.weighted, log10_rank=shift)
    moved = replace(alignment, shift=replace(alignment.shift, weighted=weighted))
    task = results["infilling"]
    task = replace(task, records={**task.records, LENS.name: replace(lenses, alignment=moved)})
    (finding,) = LENS.findings(task)
    assert finding.verdict == verdict
    # The rank itself is told, and not its logarithm.
    rank = 10**alignment.mdm.weighted.log10_rank.value
    assert f"at rank {rank:.1f} in the MDM" in finding.sentence
    note = "not decided" if verdict == "not decided" else ""
    assert LENS.headline[2].cell(task) == estimate_cell(shift, signed=True, note=note)


def test_the_headline_has_the_ranks_of_both_models(
    results: dict[str, TaskResults], lenses: Lenses
) -> None:
    cells = {row.name: row.cell(results["infilling"]) for row in LENS.headline}
    alignment = lenses.alignment
    assert cells["Answer's rank, ARM"] == estimate_cell(alignment.arm.weighted.log10_rank)
    assert cells["Answer's rank, MDM"] == estimate_cell(alignment.mdm.weighted.log10_rank)


def test_nothing_is_said_of_what_was_not_computed(results: dict[str, TaskResults]) -> None:
    task = replace(results["ioi"], records={})
    assert not LENS.findings(task) and not LENS.exhibits(task)
    assert {row.cell(task) for row in LENS.headline} == {Cell(text="not measured")}
    assert LENS.conclude is not None
    assert LENS.conclude(NotAnalysed()) is None
    assert LENS.method({"flow": {}}) == ()


def test_the_record_comes_back_from_its_parts(lenses: Lenses) -> None:
    again = from_flat(Lenses, to_flat(lenses))
    np.testing.assert_array_equal(again.mdm.levels.value, lenses.mdm.levels.value)
    rank = lenses.alignment.shift.weighted.log10_rank
    assert again.alignment.shift.weighted.log10_rank == rank


def test_the_lens_of_the_stream_is_drawn_by_level_and_step(profiles) -> None:
    figure = lens_heatmap(**profiles).to_plotly()
    maps = named(figure)
    assert maps.keys() == {"ARM", "MDM"}
    for model, profile in profiles.items():
        trace = maps[model.upper()]
        np.testing.assert_array_equal(trace.z, profile.levels.value.T)
        np.testing.assert_array_equal(trace.customdata[..., 0], profile.levels.low.T)
        assert [row[0] for row in trace.text] == LEVELS
    largest = max(profile.levels.value.max() for profile in profiles.values())
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, largest)
    assert figure.layout.coloraxis.colorbar.title.text == "probability<br>of target"
    assert "n = 12 examples" in figure.layout.title.subtitle.text
    assert [annotation.font.color for annotation in figure.layout.annotations] == [
        ARM_COLOUR,
        MDM_COLOUR,
    ]


def test_the_lens_of_each_component_names_it_on_hover(lenses: Lenses) -> None:
    figure = component_lens(lenses.arm, lenses.mdm, step=1).to_plotly()
    trace = named(figure)["MDM"]
    np.testing.assert_array_equal(trace.z.ravel(), lenses.mdm.components.value[1, 1:])
    assert trace.text[:2].tolist() == [
        ["a0.h0", "a0.h1", "a0.h2", "a0.h3", "m0"],
        ["a1.h0", "a1.h1", "a1.h2", "a1.h3", "m1"],
    ]
    assert trace.text.shape == (6, 5) and trace.text[5, 4] == "m5"
    np.testing.assert_array_equal(
        trace.customdata[..., 1].ravel(), lenses.mdm.components.high[1, 1:]
    )
    assert figure.layout.xaxis.ticktext[-1] == "MLP"
    assert "at step 1" in figure.layout.title.subtitle.text


def test_the_lens_table_has_every_place_of_every_step(profiles) -> None:
    table = lens_heatmap_table(**profiles)
    graph = profiles["arm"].graph
    places = graph.num_layers + 1 + graph.num_sources
    assert len(table) == sum(NUM_STEPS.values()) * places
    row = table.filter(
        (pl.col("model") == "arm") & (pl.col("step") == 1) & (pl.col("place") == "m1")
    ).to_dicts()[0]
    assert row["value"] == profiles["arm"].components.value[1, graph.mlp_source(1)]
    assert row["num_examples"] == 4
    assert row["kind"] == "component"


def test_profiles_that_do_not_belong_together_are_refused(profiles) -> None:
    other = replace(profiles["mdm"], reading="entropy")
    with pytest.raises(ReportError, match="'probability' of 31 components and the MDM's 'entropy'"):
        lens_heatmap(profiles["arm"], other)
    with pytest.raises(ReportError, match="the MDM has 1 denoising steps and no step 1"):
        component_lens(**profiles, step=1)
