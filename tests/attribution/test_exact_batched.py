"""Edges stacked along the batch axis score what they score alone, in fewer passes."""

import numpy as np
import pytest
import torch

from mechshift.attribution import exact_edge_scores, num_forward_passes
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.graph import Graph
from mechshift.testing import random_examples, random_language_model


def canvases_of(model):
    examples = random_examples(3, kind=model.kind, suffix_length=1)
    return build_canvases(model, examples, left_to_right([2] * 3))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("architecture", "kind"), [("llama", "mdm"), ("qwen2", "arm")])
def test_how_many_edges_share_a_pass_changes_no_score(architecture, kind, grouped):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    alone, few, all_of_a_destination = (
        exact_edge_scores(model, canvases, metric="kl", grouped=grouped, edges_per_pass=n)
        for n in (1, 3, 99)
    )
    assert np.abs(alone.values).max() > 0.1
    for together in (few, all_of_a_destination):
        np.testing.assert_allclose(together.values, alone.values, atol=1e-11)
        np.testing.assert_array_equal(together.clean_metric, alone.clean_metric)


def test_passes_are_counted_by_hand():
    # Two layers of one head: q, k, v of layer 0 have 1 parent, m0 2; of layer 1 3 each, m1 4;
    # logits 5. That is 23 edges.
    graph = Graph(num_layers=2, num_heads=1, num_key_value_groups=1)
    assert num_forward_passes(graph, 1) == 2 + 23
    assert num_forward_passes(graph, 2) == 2 + (3 * 1 + 1) + (3 * 2 + 2) + 3
    assert num_forward_passes(graph, 5) == 2 + 9


@pytest.mark.parametrize("edges_per_pass", [1, 4])
def test_the_model_runs_as_often_as_is_counted(edges_per_pass, monkeypatch):
    model = random_language_model("llama", "mdm")
    runs = []
    forward = model.parts.decoder.forward
    monkeypatch.setattr(
        model.parts.decoder, "forward", lambda *a, **k: (runs.append(1), forward(*a, **k))[1]
    )
    canvases = canvases_of(model)
    exact_edge_scores(
        model, canvases, metric="logit_diff", edges_per_pass=edges_per_pass, batch_size=4
    )
    assert len(canvases) == 6
    assert len(runs) == 2 * num_forward_passes(model.graph(), edges_per_pass)


def test_progress_moves_on_within_a_batch_as_its_passes_are_done(monkeypatch):
    model = random_language_model("llama", "mdm")
    canvases = canvases_of(model)
    runs, told = [], []
    forward = model.parts.decoder.forward
    monkeypatch.setattr(
        model.parts.decoder, "forward", lambda *a, **k: (runs.append(1), forward(*a, **k))[1]
    )

    def record(more):
        told.append((len(runs) - 2, more))  # two runs come before the passes with an edge changed

    # 15 destinations (q, k, v of 2 heads and an MLP in each of 2 layers, logits) are 15 passes.
    exact_edge_scores(
        model, canvases, metric="logit_diff", edges_per_pass=99, batch_size=6, progress=record
    )
    assert len(canvases) == 6 and len(runs) == 2 + 15
    assert told == [(3, 1), (5, 1), (8, 1), (10, 1), (13, 1), (15, 1)]
    told.clear()
    exact_edge_scores(
        model, canvases, metric="logit_diff", edges_per_pass=99, batch_size=4, progress=record
    )
    assert sum(more for _, more in told) == 6


def test_a_pass_without_edges_is_refused():
    with pytest.raises(AttributionError, match="edges_per_pass is 0; it must be at least 1"):
        exact_edge_scores(random_language_model(), [], metric="logit_diff", edges_per_pass=0)


def test_a_pass_that_does_not_fit_in_memory_is_refused_with_both_remedies(monkeypatch):
    model = random_language_model()

    def fail(_hidden):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.parts.layers[1].mlp, "forward", fail)
    with pytest.raises(AttributionError, match="smaller batch size or fewer edges_per_pass"):
        exact_edge_scores(model, canvases_of(model), metric="logit_diff")
