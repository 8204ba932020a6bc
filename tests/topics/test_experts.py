"""Experts: the figure and the table show the record's numbers, and nothing where there are none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.flat_records import from_flat, to_flat
from mechshift.semantics import ExpertShares
from mechshift.statistics import Estimates
from mechshift.topics.experts import EXPERTS, ExpertsOfPair, expert_table, expert_view
from mechshift.topics.topic import StoredTask, TaskResults

LAYERS, NUM_EXPERTS = 3, 4


class Analysed(StoredTask):
    """A task of whose components nothing but the experts is known."""

    task = "ioi"
    settings = ComparisonSettings()

    def __init__(self, arm, mdm):
        self.readings = {"arm": arm, "mdm": mdm}

    def semantics(self, kind):
        return self.readings[kind]


def shares_of(seed):
    generator = np.random.default_rng(seed)
    score = generator.normal(size=(LAYERS, NUM_EXPERTS))
    share = np.abs(score) / np.abs(score).sum(axis=1, keepdims=True)
    share[2] = np.nan
    return ExpertShares(
        score=Estimates(value=score, low=score - 1, high=score + 1, level=0.95),
        share=Estimates(value=share, low=share / 2, high=np.minimum(2 * share, 1), level=0.95),
        num_examples=40,
    )


@pytest.fixture
def found():
    return ExpertsOfPair(arm=shares_of(0), mdm=shares_of(1))


@pytest.fixture
def task(results: dict[str, TaskResults], found):
    return replace(results["ioi"], records={EXPERTS.name: found})


def test_the_figure_has_a_cell_for_each_expert_of_each_layer_of_both_models(found):
    figure = expert_view(found).to_plotly()
    for trace, shares in zip(figure.data, (found.arm, found.mdm), strict=True):
        np.testing.assert_array_equal(np.array(trace.z, dtype=float), shares.share.value)
        np.testing.assert_array_equal(
            np.array(trace.customdata, dtype=float)[..., 2], shares.score.value
        )
    assert [trace.name for trace in figure.data] == ["ARM", "MDM"]
    largest = max(np.nanmax(one.share.value) for one in (found.arm, found.mdm))
    assert figure.layout.coloraxis.cmax == largest
    assert "n = 40 examples" in figure.layout.title.subtitle.text


def test_a_model_without_any_attribution_is_drawn_too(found):
    nothing = np.full((LAYERS, NUM_EXPERTS), np.nan)
    share = Estimates(value=nothing, low=nothing, high=nothing, level=0.95)
    empty = replace(found.arm, share=share)
    assert expert_view(ExpertsOfPair(arm=empty, mdm=empty)).to_plotly().layout.coloraxis.cmax == 1


def test_the_table_has_a_row_for_each_and_leaves_the_undefined_empty(found):
    table = expert_table(found)
    assert len(table) == 2 * LAYERS * NUM_EXPERTS
    row = table.filter((pl.col("model") == "mdm") & (pl.col("expert") == "m1.e3")).to_dicts()
    assert len(row) == 1 and row[0]["share"] == found.mdm.share.value[1, 3]
    assert row[0]["score_low"] == found.mdm.score.low[1, 3]
    assert table.filter(pl.col("layer") == 2)["share"].to_list() == [None] * 2 * NUM_EXPERTS


def test_the_page_shows_them_and_the_record_comes_back(task, found):
    (exhibit,) = EXPERTS.exhibits(task)
    assert exhibit.name == "experts" and len(exhibit.table) == 2 * LAYERS * NUM_EXPERTS
    again = from_flat(ExpertsOfPair, to_flat(found))
    np.testing.assert_array_equal(again.mdm.share.value, found.mdm.share.value)


def test_nothing_is_shown_where_experts_were_not_asked_for(task, found):
    assert EXPERTS.exhibits(replace(task, records={})) == ()
    assert EXPERTS.conclude is not None

    def concluded(arm, mdm):
        return EXPERTS.conclude(Analysed(arm, mdm))

    of = {kind: SimpleNamespace(experts=getattr(found, kind)) for kind in ("arm", "mdm")}
    assert concluded(of["arm"], of["mdm"]).mdm is found.mdm
    assert concluded(SimpleNamespace(experts=None), of["mdm"]) is None
    assert concluded(None, None) is None


def test_the_definition_stands_where_experts_were_asked_for():
    (definition,) = EXPERTS.method({"semantics": {"ig_steps": 7, "experts": True}})
    assert "integrated over 7 points" in definition.meaning
    assert EXPERTS.method({"semantics": {"ig_steps": 7}}) == ()
    assert EXPERTS.method({"flow": {}}) == ()
