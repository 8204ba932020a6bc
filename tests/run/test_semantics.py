"""Semantics are stored as they were found; node scores come from the scores of edges."""

from dataclasses import asdict

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from mechshift.attribution import (
    CLEAN,
    eap,
    eap_ig,
    node_attribution,
    path_points,
    source_scores,
)
from mechshift.run import load_stored_pair
from mechshift.run.folders import KINDS
from mechshift.run.pools import pool_canvases
from mechshift.run.semantics import token_texts
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.semantics import NO_TOKEN, attention_roles, semantics_shift


@pytest.fixture(scope="module")
def pair(small_run):
    return load_stored_pair(small_run, "cpu")


@pytest.fixture(scope="module")
def canvases(small_run, pair):
    return pool_canvases(read_pool(small_run, "ioi", "discovery"), pair.mdm)


@pytest.mark.parametrize(
    ("method", "options", "points"),
    [
        (eap_ig, {"ig_steps": 2, "rule": "midpoint"}, path_points("midpoint", 2)),
        (eap, {}, (CLEAN,)),
    ],
)
def test_the_edges_out_of_a_node_sum_to_its_own_attribution(
    method, options, points, pair, canvases
):
    edges = method(pair.mdm, canvases[:3], metric="logit_diff", **options)
    nodes = node_attribution(pair.mdm, canvases[:3], metric="logit_diff", points=points)
    expected = nodes.values.sum(axis=1)
    found = source_scores(edges)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert found.dtype == np.float32


def test_what_is_read_back_was_made_from_the_runs_own_scores(small_run, small, pair, canvases):
    semantics = RunTask(run=small_run, task="ioi").semantics("mdm")
    scores = RunTask(run=small_run, task="ioi").scores("mdm")
    np.testing.assert_array_equal(semantics.node_scores, source_scores(scores))
    assert (semantics.settings, semantics.kind) == (small.semantics, "mdm")
    roles = attention_roles(pair.mdm, canvases, small.semantics)
    np.testing.assert_allclose(semantics.roles.excess.value, roles.excess.value, atol=1e-6)
    np.testing.assert_array_equal(semantics.roles.holds, roles.holds)


def test_both_models_can_be_compared_as_they_were_stored(small_run):
    for task in ("ioi", "infilling"):
        arm, mdm = (RunTask(run=small_run, task=task).semantics(kind) for kind in KINDS)
        found = semantics_shift(arm, mdm)
        assert asdict(found.concentration.mdm) == asdict(mdm.concentration)
        assert asdict(found.alignment.arm) == asdict(arm.alignment)


def test_every_token_that_is_named_by_id_has_its_text_beside_it(small_run, pair):
    semantics = RunTask(run=small_run, task="infilling").semantics("mdm")
    texts = RunTask(run=small_run, task="infilling").token_texts("mdm")
    neurons = semantics.neurons
    for ids in (neurons.promoted_ids, neurons.contexts.token_ids, semantics.lens.levels.top_ids):
        assert set(ids.ravel().tolist()) - {NO_TOKEN} <= texts.keys()
    token = int(semantics.lens.readouts.target_id[0])
    assert texts[token] == pair.mdm.tokenizer.decode([token])
    assert NO_TOKEN not in texts


def test_a_token_that_begins_a_word_keeps_the_space_that_its_decoder_drops():
    """As in SentencePiece: Llama's tokenizer, for one."""
    words = Tokenizer(models.WordLevel({"the": 0, "\u2581cat": 1, "<unk>": 2}, unk_token="<unk>"))
    words.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, clean_up_tokenization_spaces=False)
    assert tokenizer.decode([1]) == "cat"
    assert list(token_texts(tokenizer, [1, 0, 1]).items()) == [(0, "the"), (1, " cat")]


def test_the_text_of_a_token_keeps_its_space_where_a_tokenizer_joins_marks_to_words():
    words = Tokenizer(models.WordLevel({" ?": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, clean_up_tokenization_spaces=True)
    assert tokenizer.decode([0]) == "?"
    assert token_texts(tokenizer, [0]) == {0: " ?"}
