"""Single ablations against the known circuit, sweeps of one node, and a count of passes."""

import numpy as np
import pytest
import torch

from mechshift.ablation import (
    AblationSettings,
    ablate_single_components,
    num_forward_passes,
    sweep_ablations,
)
from mechshift.errors import AblationError
from mechshift.graph import Graph
from mechshift.testing import known_circuit, random_language_model

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_resampling_one_component_of_the_known_circuit_costs_its_score_by_hand(kind):
    known = known_circuit(kind, dtype=torch.float64)
    single = ablate_single_components(
        known.model, known.canvases, metric="logit_diff", replacement="resample"
    )
    expected = np.zeros_like(single.drop)
    for edge, score in zip(known.edges, known.scores.T, strict=True):
        source = single.graph.edge_source[single.graph.edge_index(edge)]
        if source > 0:
            expected[:, source - 1] += score
    assert single.names() == ["a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1"]
    np.testing.assert_array_equal(np.abs(expected).max(axis=0) > 0, [0, 1, 1, 1, 0, 1])
    np.testing.assert_allclose(single.drop, expected, rtol=6e-6, atol=1e-5)


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
@pytest.mark.parametrize(("architecture", "kind"), [("gpt2", "arm"), ("qwen2", "mdm")])
def test_each_component_is_a_sweep_of_a_plan_of_its_own(
    architecture, kind, replacement, canvases_of, plan_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases, held_out = canvases_of(model), canvases_of(model, 7, seed=3)
    single = ablate_single_components(
        model,
        canvases,
        metric="kl",
        replacement=replacement,
        mean_canvases=held_out,
        components_per_pass=4,
        batch_size=3,
    )
    table = sweep_ablations(
        model,
        canvases,
        [plan_of(model, name, plan_name=name) for name in single.names()],
        AblationSettings(replacements=(replacement,)),
        metric="kl",
        mean_canvases=held_out,
    )
    np.testing.assert_allclose(single.metric, table.metric[:, 0].T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(single.clean_metric, table.clean_metric, atol=1e-12)
    assert np.abs(single.drop).max() > 0.01


def test_how_many_components_share_a_pass_changes_no_drop(canvases_of):
    model = random_language_model("llama", "mdm", dtype=torch.float64)
    alone, few, together = (
        ablate_single_components(
            model, canvases_of(model), metric="log_prob", components_per_pass=number
        )
        for number in (1, 4, 99)
    )
    np.testing.assert_allclose(few.metric, alone.metric, rtol=0, atol=1e-11)
    np.testing.assert_allclose(together.metric, alone.metric, rtol=0, atol=1e-11)


def test_passes_are_counted_by_hand():
    # Two layers of two heads and an MLP: six components.
    assert num_forward_passes(GRAPH, 1, "zero") == 1 + 6
    assert num_forward_passes(GRAPH, 4, "mean") == 1 + 2
    assert num_forward_passes(GRAPH, 99, "resample") == 2 + 1


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
@pytest.mark.parametrize("metric", ["log_prob", "kl"])
def test_the_model_runs_as_often_as_is_counted(replacement, metric, canvases_of, monkeypatch):
    model = random_language_model("llama", "mdm")
    runs, forward = [], model.parts.decoder.forward
    monkeypatch.setattr(
        model.parts.decoder, "forward", lambda *a, **k: (runs.append(1), forward(*a, **k))[1]
    )
    canvases = canvases_of(model)
    ablate_single_components(
        model,
        canvases,
        metric=metric,
        replacement=replacement,
        mean_canvases=canvases[:5],
        components_per_pass=4,
        batch_size=3,
    )
    assert len(canvases) == 8
    batches, mean_batches = 3, 2 if replacement == "mean" else 0
    assert len(runs) == batches * num_forward_passes(GRAPH, 4, replacement) + mean_batches


def test_what_cannot_be_ablated_is_refused(canvases_of):
    model = random_language_model("llama")
    with pytest.raises(AblationError, match="components_per_pass is 0; it must be at least 1"):
        ablate_single_components(
            model, canvases_of(model), metric="log_prob", components_per_pass=0
        )
    with pytest.raises(AblationError, match="nothing to ablate on"):
        ablate_single_components(model, [], metric="log_prob")
    with pytest.raises(AblationError, match="'mean' needs held-out canvases"):
        ablate_single_components(model, canvases_of(model), metric="log_prob", replacement="mean")
