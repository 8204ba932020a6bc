"""Shares of experts: by hand, from the scores of a model, in the whole analysis, and stored."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.attribution import ExpertScores, expert_attribution, node_attribution, path_points
from mechshift.errors import AttributionError
from mechshift.flat_records import FlatRecord, from_flat, to_flat
from mechshift.graph import Graph
from mechshift.semantics import Semantics, SemanticsSettings, analyse_semantics, expert_shares
from mechshift.testing import random_language_model

SETTINGS = SemanticsSettings(
    batch_size=8,
    num_sequences=4,
    sequence_length=8,
    num_neurons=3,
    num_contexts=2,
    ig_steps=2,
    num_resamples=200,
)
NUM_EXAMPLES = 12


def scores_of(values):
    """Two layers of three experts, one step."""
    values = np.asarray(values, dtype=np.float64)[:, None]
    metric = np.zeros((len(values), 1))
    return ExpertScores(
        graph=Graph(num_layers=2, num_heads=1, num_key_value_groups=1),
        values=values,
        num_steps=np.ones(len(values), dtype=np.int64),
        clean_metric=metric,
        corrupted_metric=metric,
    )


def test_shares_are_of_the_magnitudes_of_mean_scores_in_each_layer():
    found = expert_shares(
        scores_of([[[4.0, -1.0, 0.0], [0, 0, 0]], [[2.0, -3.0, 0.0], [0, 0, 0]]]), SETTINGS
    )
    np.testing.assert_allclose(found.score.value, [[3.0, -2.0, 0.0], [0, 0, 0]])
    np.testing.assert_allclose(found.share.value[0], [0.6, 0.4, 0.0])
    assert np.isnan(found.share.value[1]).all()  # nothing is shared among them
    assert (found.num_layers, found.num_experts, found.num_examples) == (2, 3, 2)


def test_scores_of_either_sign_cancel_over_examples_and_equal_examples_leave_no_doubt():
    rows = [[[1.0, 1.0, 2.0], [1.0, 0.0, 0.0]], [[-1.0, 1.0, 2.0], [1.0, 0.0, 0.0]]] * 20
    found = expert_shares(scores_of(rows), SETTINGS)
    assert found.share.value[0, 0] == 0 < found.share.high[0, 0]
    np.testing.assert_allclose(found.share.value[1], [1, 0, 0])
    np.testing.assert_allclose(found.share.low[1], [1, 0, 0])
    np.testing.assert_allclose(found.share.high[1], [1, 0, 0])


def test_an_interval_holds_the_share_of_the_population_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    truth = np.array([[6.0, 3.0, 1.0], [1.0, 1.0, 2.0]])
    shares = truth / truth.sum(axis=1, keepdims=True)
    held = []
    for _ in range(100):
        rows = truth + generator.normal(scale=1.0, size=(60, 2, 3))
        found = expert_shares(scores_of(rows), SETTINGS).share
        held.append((found.low <= shares) & (shares <= found.high))
    assert 0.9 < np.mean(held) < 0.99


def test_the_analysis_holds_the_experts_where_they_are_asked_for(canvases_of):
    model = random_language_model("qwen3_moe", "mdm", dtype=torch.float64)
    canvases = canvases_of(model, num_examples=NUM_EXAMPLES)
    nodes = node_attribution(
        model, canvases, metric="logit_diff", points=path_points("left", 2)
    ).values.sum(axis=1)
    told = []
    found, without = (
        analyse_semantics(
            model,
            canvases,
            nodes,
            SETTINGS,
            metric="logit_diff",
            experts=experts,
            progress=told.append,
        )
        for experts in (True, False)
    )
    assert sum(told) == (3 + 2) * len(canvases)
    assert without.experts is None
    scores = expert_attribution(
        model,
        canvases,
        metric="logit_diff",
        points=path_points("left", SETTINGS.ig_steps),
        batch_size=SETTINGS.batch_size,
    )
    alone = expert_shares(scores, SETTINGS)
    np.testing.assert_array_equal(found.experts.share.value, alone.share.value)
    np.testing.assert_allclose(found.experts.share.value.sum(axis=1), 1)
    graph = model.graph()
    of_mixtures = nodes.mean(axis=0)[[graph.mlp_source(layer) for layer in range(2)]]
    np.testing.assert_allclose(found.experts.score.value.sum(axis=1), of_mixtures, rtol=1e-9)
    again = from_flat(Semantics, to_flat(found))
    np.testing.assert_array_equal(again.experts.score.low, found.experts.score.low)
    assert from_flat(Semantics, to_flat(without)).experts is None
    # A record of before there were any can be read.
    old = to_flat(without)
    scalars = {name: value for name, value in old.scalars.items() if name != "experts"}
    assert len(scalars) == len(old.scalars) - 1
    assert from_flat(Semantics, FlatRecord(arrays=old.arrays, scalars=scalars)).experts is None


def test_experts_of_a_model_without_any_are_refused(canvases_of):
    model = replace(random_language_model("llama", "mdm"), name="dense")
    canvases = canvases_of(model, num_examples=NUM_EXAMPLES)
    nodes = np.ones((NUM_EXAMPLES, model.graph().num_sources))
    with pytest.raises(AttributionError, match="'dense' has no experts to score"):
        analyse_semantics(model, canvases, nodes, SETTINGS, metric="logit_diff", experts=True)
