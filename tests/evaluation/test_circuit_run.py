"""The sparse run against the laws it must obey and against a slow run written head by head."""

from functools import cache

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.circuits import Circuit, select_top_edges, without_dangling
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.errors import CircuitError
from mechshift.evaluation import corrupted_cache, evaluate_circuits, plan_circuit, run_circuit
from mechshift.graph import KEY, QUERY, VALUE
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model
from mechshift.testing.random_models import as_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
MASKED_OTHERWISE = [
    (name, "mdm", attention)
    for name in ("gpt2", "qwen2")
    for attention in ("block-causal", "observed-first", "causal-prefix")
]
NUM_EXAMPLES = 5


def canvases_of(model, lengths=(4, 5, 7)):
    examples = random_examples(
        NUM_EXAMPLES, kind=model.kind, prefix_lengths=lengths, suffix_length=2
    )
    return build_canvases(model, examples, left_to_right([2] * NUM_EXAMPLES))


def random_circuit(graph, k, seed=0):
    scores = np.random.default_rng(seed).normal(size=graph.num_edges)
    return select_top_edges(graph, scores, k)


def evaluate(model, canvases, circuits, **options):
    return evaluate_circuits(model, canvases, circuits, num_examples=NUM_EXAMPLES, **options)


def biased_llama(kind):
    """Biases everywhere, also in the output projection and the MLP."""
    config = LlamaConfig(
        vocab_size=23,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        mlp_bias=True,
    )
    module = LlamaForCausalLM(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    attention = "causal" if kind == "arm" else "full"
    return as_language_model(module.double(), ["w"] * 19, "biased", kind, attention)


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
@pytest.mark.parametrize("lengths", [(5,), (3, 5, 7)], ids=["no padding", "left padding"])
@pytest.mark.parametrize(
    ("architecture", "kind", "attention"), [(*model, None) for model in MODELS] + MASKED_OTHERWISE
)
def test_the_full_graph_is_the_clean_model_and_the_empty_one_the_corrupted(
    architecture, kind, attention, lengths, grouped
):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    graph = model.graph(grouped=grouped)
    circuits = [random_circuit(graph, 0), random_circuit(graph, graph.num_edges)]
    result = evaluate(model, canvases_of(model, lengths), circuits)
    assert np.abs(result.full - result.empty).min() > 1e-3
    np.testing.assert_allclose(result.metric[0], result.empty, atol=1e-10, rtol=0)
    np.testing.assert_allclose(result.metric[1], result.full, atol=1e-10, rtol=0)
    assert result.live_sizes.tolist() == [0, graph.num_edges]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_the_same_identities_hold_in_float32(architecture, kind):
    # The steep default multiplies the rounding of single precision as it does everything else.
    model = random_language_model(architecture, kind, gain=1.0)
    graph = model.graph()
    circuits = [random_circuit(graph, 0), random_circuit(graph, graph.num_edges)]
    result = evaluate(model, canvases_of(model), circuits)
    np.testing.assert_allclose(result.metric[0], result.empty, atol=1e-5, rtol=0)
    np.testing.assert_allclose(result.metric[1], result.full, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_biases_of_output_projection_and_mlp_cancel(kind, slow_metric):
    model = biased_llama(kind)
    graph = model.graph()
    canvases = canvases_of(model)
    circuits = [random_circuit(graph, graph.num_edges), random_circuit(graph, 40)]
    result = evaluate(model, canvases, circuits)
    np.testing.assert_allclose(result.metric[0], result.full, atol=1e-10, rtol=0)
    slow = slow_metric(model, canvases, circuits[1])
    np.testing.assert_allclose(result.metric[1], slow, atol=1e-9, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_full_graph_is_the_clean_model_whatever_computes_attention(
    implementation, architecture
):
    model = random_language_model(architecture, "mdm")
    model.module.set_attn_implementation(implementation)
    whole = random_circuit(model.graph(), model.graph().num_edges)
    result = evaluate(model, canvases_of(model), [whole])
    assert result.sizes[0] == model.graph().num_edges
    np.testing.assert_allclose(result.metric[0], result.full, atol=1e-5, rtol=0)


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
@pytest.mark.parametrize(
    ("architecture", "kind", "attention"), [(*model, None) for model in MODELS] + MASKED_OTHERWISE
)
def test_random_circuits_agree_with_a_slow_run_head_by_head(
    architecture, kind, attention, grouped, slow_metric, slow_sources
):
    model = random_language_model(
        architecture, kind, attention=attention, dtype=torch.float64, num_layers=3
    )
    graph = model.graph(grouped=grouped)
    canvases = canvases_of(model)
    shares = [0.1, 0.3, 0.6, 0.9]
    circuits = [random_circuit(graph, int(s * graph.num_edges), i) for i, s in enumerate(shares)]
    result = evaluate(model, canvases, circuits)
    live = result.live_sizes > 0
    assert live.sum() >= 3  # a tenth of the edges at random may all dangle
    corrupted = cache(lambda canvas: slow_sources(model, graph, canvas.corrupted_ids))
    for circuit, metric, is_live in zip(circuits, result.metric, live, strict=True):
        slow = slow_metric(model, canvases, circuit, corrupted)
        np.testing.assert_allclose(metric, slow, atol=1e-9, rtol=0)
        assert (np.abs(metric - result.empty).max() > 1e-3) == is_live


def test_dangling_edges_do_not_change_the_metric(slow_metric):
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    canvases = canvases_of(model)
    circuit = random_circuit(model.graph(), 60)
    live = without_dangling(circuit)
    assert 0 < live.num_edges < circuit.num_edges
    result = evaluate(model, canvases, [circuit, live])
    assert result.sizes.tolist() == [60, live.num_edges]
    assert result.live_sizes.tolist() == [live.num_edges] * 2
    np.testing.assert_array_equal(result.metric[0], result.metric[1])
    slow = slow_metric(model, canvases, circuit)
    np.testing.assert_allclose(result.metric[0], slow, atol=1e-9, rtol=0)


def test_a_single_path_is_run_as_the_slow_run_does(slow_metric):
    model = random_language_model("qwen3", "arm", dtype=torch.float64)
    graph, canvases = model.graph(), canvases_of(model)
    names = ["input->a0.h1<k>", "a0.h1->m0", "m0->a1.h2<v>", "a1.h2->logits"]
    edges = np.sort([graph.edge_index(name) for name in names])
    circuit = Circuit(graph=graph, edges=edges, scores=np.ones(4))
    result = evaluate(model, canvases, [circuit])
    slow = slow_metric(model, canvases, circuit)
    np.testing.assert_allclose(result.metric[0], slow, atol=1e-9, rtol=0)


def test_a_circuit_of_one_model_runs_in_the_other(slow_metric):
    arm = random_language_model("qwen2", "arm", dtype=torch.float64)
    mdm = random_language_model("qwen2", "mdm", dtype=torch.float64, seed=1)
    circuit = random_circuit(arm.graph(), 100)
    for model in (arm, mdm):
        canvases = canvases_of(model)
        metric = evaluate(model, canvases, [circuit]).metric[0]
        slow = slow_metric(model, canvases, circuit)
        np.testing.assert_allclose(metric, slow, atol=1e-9, rtol=0)


def test_only_live_parts_are_planned():
    model = random_language_model("qwen2", "arm")
    graph = model.graph()
    names = ["input->a0.h3<q>", "a0.h3->logits", "input->m1", "m1->logits"]
    edges = np.sort([graph.edge_index(name) for name in names])
    plan = plan_circuit(model, Circuit(graph=graph, edges=edges, scores=np.ones(4)))
    assert (plan.num_live_edges, plan.num_live_sources) == (4, 3)
    first, second = plan.layers
    assert first.heads.tolist() == [3] and first.mlp_parents is None
    assert [p.kind for p in first.projections] == [QUERY]
    assert second.heads.tolist() == [] and second.mlp_parents.tolist() == [[1, 0]]
    assert plan.logits_parents.tolist() == [[0, 1, 1]]


def test_destinations_with_the_same_parents_share_one_input():
    model = random_language_model("qwen2", "arm")
    graph = model.graph()
    plan = plan_circuit(model, random_circuit(graph, graph.num_edges))
    for layer in plan.layers:
        assert len(layer.parents) == 1
        assert [p.kind for p in layer.projections] == [QUERY, KEY, VALUE]
        assert layer.projections[KEY].heads.tolist() == [[0, 1]]  # KV heads, each once
        assert layer.projections[KEY].copies.tolist() == [0, 0, 1, 1]


def test_inputs_that_equally_many_heads_read_are_projected_together():
    model = random_language_model("qwen2", "arm")  # two KV heads of two query heads each
    graph = model.graph()
    into_second = {
        "a1.h0<q>": ["input"],
        "a1.h1<q>": ["input", "m0"],
        "a1.h2<q>": ["m0"],
        "a1.h3<q>": ["m0"],
        "a1.h0<k>": ["m0"],
        "a1.h1<k>": ["m0"],
        "a1.h2<k>": ["input"],
    }
    names = [f"{source}->{to}" for to, sources in into_second.items() for source in sources]
    names += ["input->m0", *(f"a1.h{head}->logits" for head in range(4))]
    edges = np.sort([graph.edge_index(name) for name in names])
    circuit = Circuit(graph=graph, edges=edges, scores=np.ones(len(edges)))
    layer = plan_circuit(model, circuit).layers[1]
    parents = [[bool(reads) for reads in row] for row in layer.parents.tolist()]
    assert parents == [[False, True], [True, False], [True, True]]  # of `input` and m0
    alone, both, keys = layer.projections
    assert (alone.kind, both.kind, keys.kind) == (QUERY, QUERY, KEY)
    assert alone.distinct.tolist() == [1, 2] and alone.heads.tolist() == [[0], [1]]
    assert alone.positions.tolist() == [0, 1] and alone.copies.tolist() == [0, 1]
    assert both.distinct.tolist() == [0] and both.heads.tolist() == [[2, 3]]
    assert both.positions.tolist() == [2, 3] and both.copies.tolist() == [0, 1]
    # Two query heads share a KV head and its input: it is computed once.
    assert keys.distinct.tolist() == [0, 1] and keys.heads.tolist() == [[0], [1]]
    assert keys.positions.tolist() == [0, 1, 2] and keys.copies.tolist() == [0, 0, 1]


def test_a_circuit_of_another_architecture_is_refused():
    model = random_language_model("qwen2")
    other = random_language_model("llama").graph()
    with pytest.raises(CircuitError, match="2 layers, 2 heads and 2 k/v groups cannot be run in"):
        plan_circuit(model, random_circuit(other, 3))


@pytest.mark.parametrize("break_at", ["mlp", "input_layernorm", "rotary"])
def test_an_error_on_the_way_leaves_the_model_as_it_was(break_at, monkeypatch):
    model = random_language_model("qwen2", "mdm")
    canvases = canvases_of(model)
    circuit = random_circuit(model.graph(), 100)
    expected = evaluate(model, canvases, [circuit]).metric
    before = footprint(model.module)
    (batch,) = batch_canvases(model, canvases, 99)
    plan, cache = plan_circuit(model, circuit), corrupted_cache(model, batch)

    def fail(*_args, **_kwargs):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        if break_at == "rotary":  # inside the stock attention, with the projections exchanged
            patch.setattr("transformers.models.qwen2.modeling_qwen2.apply_rotary_pos_emb", fail)
        else:
            patch.setattr(getattr(model.module.model.layers[1], break_at), "forward", fail)
        run_circuit(model, cache, plan)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(model.parts.layers[1].mlp, "forward", fail)
        corrupted_cache(model, batch)
    assert footprint(model.module) == before
    np.testing.assert_array_equal(evaluate(model, canvases, [circuit]).metric, expected)


def footprint(module):
    """Everything that an intervention may leave behind."""
    return [
        (
            name,
            sorted(vars(part)),
            dict(part._forward_hooks),
            dict(part._forward_pre_hooks),
            getattr(part, "num_key_value_groups", None),
            getattr(part, "split_size", None),
        )
        for name, part in module.named_modules()
    ]
