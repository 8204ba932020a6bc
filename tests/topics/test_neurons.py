"""Neurons: when they fire and what they say, in text that stays text."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.flat_records import from_flat, to_flat
from mechshift.models import Kind
from mechshift.page.html import render_part
from mechshift.semantics import NO_TOKEN, Contexts, Explanations, Neurons, Semantics
from mechshift.statistics import Estimates
from mechshift.topics.neurons import (
    NEURONS,
    ExplainedNeurons,
    NeuronsOfPair,
    neurons_table,
    neurons_views,
)
from mechshift.topics.topic import StoredTask, TaskResults

TEXTS = ("When", " Mary", "\n")


class NotAnalysed(StoredTask):
    """A task whose components were not analysed."""

    task = "ioi"
    settings = ComparisonSettings()

    def semantics(self, kind: Kind) -> Semantics | None:
        return None


def two_neurons(neurons: Neurons, indices: list[int]) -> Neurons:
    """Two that fire on token 1 between 0 and 2; the second in its first context only."""
    return replace(
        neurons,
        layer=np.array([0, 0]),
        index=np.array(indices),
        direction=np.array([1, -1]),
        score=Estimates(value=np.ones(2), low=np.zeros(2), high=np.full(2, 2.0), level=0.95),
        share=np.array([0.25, 0.125]),
        selectivity=Estimates(
            value=np.array([0.5, np.nan]),
            low=np.array([0.4, np.nan]),
            high=np.array([0.6, np.nan]),
            level=0.95,
        ),
        contexts=Contexts(
            example=np.array([[0, 1], [2, 3]]),
            token_ids=np.array([[[0, 1, 2], [NO_TOKEN, 1, 2]], [[0, 1, NO_TOKEN], [0, 1, 2]]]),
            rates=np.array([[[0, 2, 1], [0, 1, 0]], [[0, 3, 0], [0, 0, 0]]], dtype=float),
        ),
        promoted_ids=np.array([[1, 2], [2, 0]]),
        suppressed_ids=np.array([[0, 2], [1, 0]]),
        num_scored=1234,
    )


@pytest.fixture
def stored(results: dict[str, TaskResults]) -> NeuronsOfPair:
    found = NEURONS.of(results["ioi"])
    assert found is not None
    return found


@pytest.fixture
def found(stored: NeuronsOfPair) -> NeuronsOfPair:
    """Two neurons of each model, without sentences."""
    sides = {
        side: ExplainedNeurons(
            neurons=two_neurons(getattr(stored, side).neurons, indices), explanations=None
        )
        for side, indices in (("arm", [5, 3]), ("mdm", [5, 4]))
    }
    return NeuronsOfPair(token_ids=np.arange(3), token_texts=TEXTS, **sides)


@pytest.fixture
def explained(found: NeuronsOfPair) -> NeuronsOfPair:
    """A sentence, with markup in it, on the ARM's second neuron alone; it has no score."""
    sentences = Explanations(
        explainer="<b>bold</b>",
        neurons=("m0.n3",),
        text=("fires on <i>names</i>",),
        score=np.array([np.nan]),
        notes=("no reply could be read",),
        num_tokens=np.array([0]),
    )
    return replace(found, arm=replace(found.arm, explanations=sentences))


def part_of(task: TaskResults, found: NeuronsOfPair) -> str:
    (part,) = NEURONS.parts(replace(task, records={NEURONS.name: found}))
    words = ("not decided", "undefined")
    return str(render_part(part.template, part=part.content, anchor="ioi", open_words=words))


def test_neurons_are_shown_where_they_fire_and_what_they_promote(found: NeuronsOfPair) -> None:
    """The second neuron's weaker context, in which it does not fire, is left out."""
    arm, mdm = neurons_views(found)
    assert (arm.model, mdm.model, arm.num_scored) == ("ARM", "MDM", 1234)
    first, second = arm.rows
    assert [context.text for context in first.contexts] == ["When⟨ Mary⟩⏎", "⟨ Mary⟩⏎"]
    assert [context.text for context in second.contexts] == ["When⟨ Mary⟩"]
    assert (first.promoted, first.suppressed) == ((" Mary", "⏎"), ("When", "⏎"))
    assert (first.share, first.selectivity, second.selectivity) == (
        "25.0\N{NO-BREAK SPACE}%",
        "0.50",
        "undefined",
    )
    assert [row.name for row in mdm.rows] == ["m0.n5", "m0.n4"]


def test_the_table_of_neurons_lies_beside_the_page(
    results: dict[str, TaskResults], found: NeuronsOfPair
) -> None:
    task = replace(results["ioi"], records={NEURONS.name: found})
    table = NEURONS.tables(task)["neurons"]
    assert table["neuron"].to_list() == ["m0.n5", "m0.n3", "m0.n5", "m0.n4"]
    assert table["fires_on"][0] == "When⟨ Mary⟩⏎ | ⟨ Mary⟩⏎"
    assert table.filter(pl.col("selectivity").is_null())["neuron"].to_list() == ["m0.n3", "m0.n4"]
    assert "explanation" not in table.columns
    assert 'href="ioi-neurons.csv"' in part_of(task, found)


def test_sentences_stand_beside_their_neurons(explained: NeuronsOfPair) -> None:
    arm, mdm = neurons_views(explained)
    assert (arm.explainer, mdm.explainer) == ("<b>bold</b>", "")
    first, second = arm.rows
    assert first.sentence is None and second.sentence is not None
    assert (second.sentence.cell.text, second.sentence.cell.note) == (
        "undefined",
        "no reply could be read",
    )
    table = neurons_table(explained)
    assert table["explanation"].to_list() == [None, "fires on <i>names</i>", None, None]
    assert table["explanation_score"].null_count() == 4
    assert table["explained_by"][1] == "<b>bold</b>"


def test_neither_sentences_nor_tokens_are_markup(
    results: dict[str, TaskResults], explained: NeuronsOfPair
) -> None:
    attack = "<script>alert(1)</script>"
    html = part_of(results["ioi"], replace(explained, token_texts=(attack, attack, "d")))
    assert attack not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "fires on &lt;i&gt;names&lt;/i&gt;" in html and "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "ARM: 2 of 1,234 neurons" in html
    # The MDM's neurons have no sentence, and its table no column for one.
    assert html.count('<th scope="col">In a sentence</th>') == 1


def test_tokens_that_would_turn_the_text_around_are_not_printed(found: NeuronsOfPair) -> None:
    arm, _ = neurons_views(replace(found, token_texts=("a\u202eb", "c\x07", "d")))
    assert arm.rows[0].contexts[0].text == "a\ufffdb⟨c\ufffd⟩d"


def test_a_piece_of_text_begins_with_a_word(found: NeuronsOfPair) -> None:
    arm, _ = neurons_views(replace(found, token_texts=(" a", " b", " c")))
    assert arm.rows[0].contexts[0].text == "a⟨ b⟩ c"


def test_the_record_holds_the_text_of_every_token_that_it_names_and_no_other(
    stored: NeuronsOfPair,
) -> None:
    named = {NO_TOKEN}
    for side in (stored.arm, stored.mdm):
        neurons = side.neurons
        for ids in (neurons.contexts.token_ids, neurons.promoted_ids, neurons.suppressed_ids):
            named |= set(ids.ravel().tolist())
    assert stored.tokens.keys() == named - {NO_TOKEN}


def test_the_record_comes_back_from_its_parts(
    stored: NeuronsOfPair, explained: NeuronsOfPair
) -> None:
    for record in (stored, explained):
        again = from_flat(NeuronsOfPair, to_flat(record))
        assert again.tokens == record.tokens
        assert neurons_table(again).equals(neurons_table(record), null_equal=True)
    assert from_flat(NeuronsOfPair, to_flat(explained)).mdm.explanations is None


def test_nothing_is_shown_of_what_was_not_computed(results: dict[str, TaskResults]) -> None:
    task = replace(results["ioi"], records={})
    assert NEURONS.tables(task) == {} and NEURONS.parts(task) == ()
    assert NEURONS.conclude is not None
    assert NEURONS.conclude(NotAnalysed()) is None


def test_the_definition_is_that_of_the_run() -> None:
    (definition,) = NEURONS.method({"semantics": {"ig_steps": 9}})
    assert "mean over 9 points" in definition.meaning
    assert NEURONS.method({"flow": {}}) == ()
