"""Hidden units: scores by definition and by law, firing by hand, the known circuit's one unit."""

import numpy as np
import pytest
import torch

from mechshift.attribution import node_attribution, path_points
from mechshift.flat_records import from_flat, to_flat
from mechshift.semantics.hidden_units import (
    hidden_unit_scores,
)
from mechshift.semantics.neurons import Neurons, describe_neurons
from mechshift.semantics.settings import SemanticsSettings
from mechshift.semantics.unit_activations import (
    NO_TOKEN,
    UnitActivations,
    directions,
    lifetime_sparseness,
    selectivity,
    strongest_contexts,
    unit_activations,
)
from mechshift.testing import known_circuit, random_language_model
from mechshift.testing._known_circuit import ANN, BOB, MLP_COPY, NAME

MODELS = [(name, kind) for name in ("gpt2", "qwen2") for kind in ("arm", "mdm")]
SETTINGS = SemanticsSettings(num_resamples=100, context_radius=2, num_contexts=3, num_neurons=2)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_a_units_score_is_the_product_of_its_difference_and_its_own_gradient(
    architecture, kind, canvases_of
):
    """One canvas at a time, differentiated at the very input of the stock output projection."""
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model, num_examples=2)
    points = path_points("midpoint", 2)
    found = hidden_unit_scores(model, canvases, [1], metric="log_prob", points=points)
    module, embedding = model.module, model.parts.embedding
    projection = model.parts.layers[1].mlp_down.module
    units = []

    def keep(_module, args):
        units.append(args[0].requires_grad_())
        return (units[-1],)

    expected = np.zeros_like(found)
    handle = projection.register_forward_pre_hook(keep)
    for canvas in canvases:
        clean, corrupted = (
            embedding(torch.tensor([ids])) for ids in (canvas.clean_ids, canvas.corrupted_ids)
        )
        for end in (corrupted, clean):
            module(inputs_embeds=end)
        difference = (units[-2] - units[-1]).detach()
        for point in points:
            logits = module(inputs_embeds=corrupted + point * (clean - corrupted)).logits[0]
            log_probs = logits.log_softmax(dim=-1)
            metric = sum(log_probs[r.position, r.target_id] for r in canvas.readouts)
            (gradient,) = torch.autograd.grad(metric, units[-1])
            score = -(difference * gradient).sum(dim=(0, 1)) / len(points)
            expected[canvas.example, 0] += score.numpy()
    handle.remove()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("architecture", "kind"), [*MODELS, ("gemma3", "mdm")])
def test_the_units_of_an_mlp_sum_to_its_node_score(architecture, kind, canvases_of):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases, points = canvases_of(model), path_points("left", 3)
    found = hidden_unit_scores(
        model, canvases, [0, 1], metric="logit_diff", points=points, batch_size=3
    )
    nodes = node_attribution(model, canvases, metric="logit_diff", points=points)
    mlps = [nodes.graph.mlp_source(layer) for layer in (0, 1)]
    expected = nodes.values.sum(axis=1)[:, mlps]
    np.testing.assert_allclose(found.sum(axis=2), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_known_circuits_mlp_works_through_its_one_written_unit(kind):
    """m0's unit 0 reads the name: positive on Ann, negative on Bob, nothing on other words."""
    known = known_circuit(kind, dtype=torch.float64)
    found = describe_neurons(known.model, known.canvases, SETTINGS, metric="logit_diff")
    assert found.names == ["m0.n0", "m0.n1"]
    by_hand = known.scores[:, known.edges.index("input->m0")].mean()
    np.testing.assert_allclose(found.score.value, [by_hand, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.share, [1, 0], atol=1e-9)
    assert found.num_scored == 2
    # The circuit's three frames of Ann; the middle of each window is the name.
    np.testing.assert_array_equal(found.contexts.token_ids[0, :, 2], ANN)
    np.testing.assert_array_equal(found.contexts.rates[0, :, [0, 1, 3, 4]], 0)
    assert (found.contexts.rates[0, :, 2] > 1).all()
    assert sorted(found.contexts.example[0]) == [0, 2, 4]
    assert np.isnan(found.selectivity.value[1]), "unit 1 never fires"


def test_what_a_unit_promotes_and_suppresses_is_what_it_writes_through_the_unembedding():
    """m1's unit 0 writes ANSWER, which is +1/2 in Ann's logit and -1/2 in Bob's."""
    known = known_circuit("mdm", dtype=torch.float64)
    found = describe_neurons(known.model, known.canvases, SETTINGS, metric="logit_diff", layers=[1])
    assert found.names[0] == "m1.n0"
    assert found.direction[0] == 1
    assert (found.promoted_ids[0, 0], found.suppressed_ids[0, 0]) == (ANN, BOB)


def activations_of(*rows, example=None):
    """One unit on canvases of tokens 10, 11, ...; None marks padding."""
    values = np.array([[0.0 if r is None else r for r in row] for row in rows])
    padding = np.array([[r is None for r in row] for row in rows])
    ids = np.tile(10 + np.arange(values.shape[1]), (len(rows), 1))
    row = np.arange(len(rows)) if example is None else np.array(example)
    return UnitActivations(
        example=row,
        cluster=row,
        token_ids=np.where(padding, NO_TOKEN, ids),
        values=values[..., None],
    )


def test_a_mixture_of_experts_has_no_hidden_units_to_describe(canvases_of):
    model = random_language_model("qwen3_moe")
    canvases, told = canvases_of(model), []
    neurons = describe_neurons(model, canvases, SETTINGS, metric="log_prob", progress=told.append)
    assert neurons.num_scored == 0 and neurons.names == [] and told == [len(canvases)]
    assert from_flat(Neurons, to_flat(neurons)).contexts.rates.shape == (0, 3, 5)


def test_sparseness_by_hand():
    assert lifetime_sparseness(np.array([0.25]), np.array([0.25]), 4)[0] == 1
    assert lifetime_sparseness(np.array([3.0]), np.array([9.0]), 4)[0] == 0
    # Rates 3 and 1: mean 2, mean square 5.
    assert selectivity(activations_of([3.0, 1.0]), SETTINGS).value[0] == pytest.approx(0.4)


def test_padding_is_no_token_and_only_the_larger_tail_fires():
    """Rates 2, 0, 0: the positive activations are the smaller tail."""
    activations = activations_of([None, -2.0, 1.0], [None, None, 0.5])
    assert directions(activations).tolist() == [-1]
    # Mean 2/3, mean square 4/3: (1 - 1/3) / (1 - 1/3).
    assert selectivity(activations, SETTINGS).value[0] == pytest.approx(1)


def test_a_larger_pool_of_alike_examples_gives_the_same_selectivity_and_no_interval_width():
    found = selectivity(activations_of(*[[3.0, 1.0, 0.0, 0.0]] * 20), SETTINGS)
    expected = (1 - 1 / 2.5) / (1 - 1 / 80)
    np.testing.assert_allclose([found.value, found.low, found.high], expected)


def test_an_example_appears_once_with_its_strongest_canvas():
    activations = activations_of(
        [1.0, 0.0, 0.0], [0.0, 0.0, 5.0], [None, 2.0, 4.0], example=[3, 3, 8]
    )
    contexts = strongest_contexts(activations, num_contexts=4, radius=1)
    np.testing.assert_array_equal(contexts.example, [[3, 8]])
    np.testing.assert_array_equal(contexts.token_ids, [[[11, 12, NO_TOKEN], [11, 12, NO_TOKEN]]])
    np.testing.assert_array_equal(contexts.rates, [[[0, 5, 0], [2, 4, 0]]])


def test_activations_are_those_of_each_canvas_alone(canvases_of):
    model = random_language_model("gpt2", "mdm", dtype=torch.float64)
    canvases = canvases_of(model)
    chosen = np.array([1, 0]), np.array([5, 20])
    together = unit_activations(model, canvases, *chosen)
    alone = unit_activations(model, canvases, *chosen, batch_size=1)
    np.testing.assert_array_equal(together.token_ids, alone.token_ids)
    np.testing.assert_allclose(together.values, alone.values, atol=1e-11)
    ids = [tuple(row[row != NO_TOKEN]) for row in together.token_ids]
    assert ids == [canvas.clean_ids for canvas in canvases]


def test_a_unit_reads_the_name_and_writes_the_copy():
    """The projection that is found is the one whose weights the known circuit was given."""
    known = known_circuit()
    layer = known.model.parts.layers[0]
    weight = layer.mlp_down.weight
    assert weight[MLP_COPY, 0] != 0
    assert layer.mlp.up_proj.weight[0, NAME] == 1
