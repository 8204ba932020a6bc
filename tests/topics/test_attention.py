"""Attention roles: the figure and the table show the record's numbers."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.errors import ReportError
from mechshift.flat_records import from_flat, to_flat
from mechshift.models import Kind
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR, translucent
from mechshift.semantics import ROLES, AttentionRoles, Semantics
from mechshift.topics.attention import (
    ATTENTION,
    RolesOfPair,
    attention_roles,
    attention_roles_table,
)
from mechshift.topics.topic import StoredTask, TaskResults

COLOURS = {"arm": ARM_COLOUR, "mdm": MDM_COLOUR}
NUM_HEADS = 6 * 4


class NotAnalysed(StoredTask):
    """A task whose components were not analysed."""

    task = "ioi"
    settings = ComparisonSettings()

    def semantics(self, kind: Kind) -> Semantics | None:
        return None


@pytest.fixture
def found(results: dict[str, TaskResults]) -> RolesOfPair:
    """The ARM lacks samples of the last role, because it has no masks."""
    record = ATTENTION.of(results["ioi"])
    assert record is not None and record.arm.num_samples[-1] == 0
    return record


@pytest.fixture
def roles(found: RolesOfPair) -> dict[str, AttentionRoles]:
    """In both models a1.h0 holds the fourth role and no other head any."""
    holds = np.zeros_like(found.arm.holds)
    holds[3, 1, 0] = True
    return {"arm": replace(found.arm, holds=holds), "mdm": replace(found.mdm, holds=holds)}


def named(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data}


def test_heads_that_hold_a_role_are_filled_and_named(roles) -> None:
    figure = attention_roles(**roles).to_plotly()
    traces = named(figure)
    assert traces.keys() == {"ARM", "ARM, no role", "MDM", "MDM, no role"}
    for model, colour in COLOURS.items():
        held = traces[model.upper()]
        assert list(held.text) == ["a1.h0"]
        assert list(held.y) == [roles[model].excess.value[3, 1, 0]]
        assert held.marker.color == colour
        assert traces[f"{model.upper()}, no role"].marker.color == translucent(colour, 0.35)
    # All heads of all seven roles but the one that holds one; none of a role without samples.
    assert [len(traces[f"{model}, no role"].y) for model in ("ARM", "MDM")] == [
        6 * NUM_HEADS - 1,
        7 * NUM_HEADS - 1,
    ]
    assert figure.layout.xaxis.ticktext[3] == "induction"
    assert figure.layout.xaxis.ticktext[6] == "mask<br>to<br>clue<br>(no ARM)"
    assert "n = 10 to 12 sequences or examples" in figure.layout.title.subtitle.text
    assert figure.layout.shapes[0].y0 == 0.3


def test_of_many_heads_without_a_role_the_highest_are_drawn(roles, monkeypatch) -> None:
    monkeypatch.setattr("mechshift.topics.attention.MAX_FAINT", 5)
    traces = named(attention_roles(**roles).to_plotly())
    excess = roles["mdm"].excess.value.reshape(len(ROLES), -1).copy()
    excess[3, 4] = -np.inf  # a1.h0 holds the fourth role
    expected = np.concatenate([row[np.sort(np.argsort(-row)[:5])] for row in excess])
    np.testing.assert_array_equal(traces["MDM, no role"].y, expected)
    assert list(traces["MDM"].text) == ["a1.h0"]


def test_points_of_a_role_stay_beside_its_label(roles) -> None:
    for trace in attention_roles(**roles).to_plotly().data:
        assert np.abs(np.array(trace.x) - np.round(trace.x)).max() < 0.4


def test_the_role_table_has_a_row_for_each_head_and_leaves_the_undefined_empty(roles) -> None:
    table = attention_roles_table(**roles)
    assert len(table) == 2 * len(ROLES) * NUM_HEADS
    undefined = table.filter((pl.col("model") == "arm") & (pl.col("role") == "mask_to_clue"))
    assert undefined["excess"].to_list() == [None] * NUM_HEADS
    row = table.filter((pl.col("model") == "mdm") & (pl.col("head") == "a2.h1")).to_dicts()[6]
    assert row["role"] == "mask_to_clue"
    assert row["share"] == roles["mdm"].share.value[6, 2, 1]


def test_models_measured_for_other_roles_are_refused(roles) -> None:
    other = replace(roles["mdm"], threshold=0.5)
    with pytest.raises(
        ReportError, match=r"above 0.3 and the MDM .*name_mover, mask_to_clue above 0.5"
    ):
        attention_roles(roles["arm"], other)


def test_the_record_comes_back_from_its_parts(found: RolesOfPair) -> None:
    again = from_flat(RolesOfPair, to_flat(found))
    assert again.arm.roles == found.arm.roles == ROLES
    np.testing.assert_array_equal(again.mdm.holds, found.mdm.holds)


def test_nothing_is_shown_of_what_was_not_computed(results: dict[str, TaskResults]) -> None:
    assert not ATTENTION.exhibits(replace(results["ioi"], records={}))
    assert ATTENTION.conclude is not None
    assert ATTENTION.conclude(NotAnalysed()) is None


def test_the_definition_is_that_of_the_run() -> None:
    (definition,) = ATTENTION.method({"semantics": {"role_threshold": 0.25}})
    assert "whole interval lies above 0.25;" in definition.meaning
    assert ATTENTION.method({"flow": {}}) == ()
