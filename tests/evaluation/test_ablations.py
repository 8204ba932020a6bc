"""Mean and zero ablation against a run that reads every edge by itself, and against their laws."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from mechshift.circuits import Circuit, select_top_edges, without_dangling
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.errors import EvaluationError
from mechshift.evaluation import evaluate_circuits, find_ablation, mean_outputs, num_averaged
from mechshift.evaluation.canvas_shape import row_shapes, shape_of
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model

CASES = [(name, kind, None, False) for name in ARCHITECTURES for kind in ("arm", "mdm")]
CASES += [("qwen2", "mdm", "block-causal", False), ("qwen3", "arm", None, True)]
CASES += [("qwen2", "mdm", "observed-first", False), ("qwen2", "mdm", "causal-prefix", False)]
"""Architecture, kind, attention, and whether k and v destinations are grouped."""

NUM_EXAMPLES = 3


def canvases_of(model, num_examples=NUM_EXAMPLES, lengths=(4, 5), seed=0):
    examples = random_examples(
        num_examples, kind=model.kind, prefix_lengths=lengths, suffix_length=2, seed=seed
    )
    return build_canvases(model, examples, left_to_right([2] * num_examples))


def others_of(model):
    """Examples that means are taken over: other words in canvases of the same shapes."""
    return canvases_of(model, num_examples=5, seed=1)


def random_circuit(graph, k, seed=0):
    scores = np.random.default_rng(seed).normal(size=graph.num_edges)
    return select_top_edges(graph, scores, k)


def evaluate(model, circuits, name, canvases=None, mean_over=None, **options):
    canvases = canvases or canvases_of(model)
    ablation = find_ablation(
        name, model, canvases=canvases, mean_over=mean_over or others_of(model)
    )
    return evaluate_circuits(
        model,
        canvases,
        circuits,
        num_examples=1 + max(canvas.example for canvas in canvases),
        ablation=ablation,
        **options,
    )


@pytest.fixture
def constants(slow_sources, slow_constants):
    """What every source writes under an ablation, for one canvas, worked out canvas by canvas."""

    def zeros(model, graph, canvas):
        blank = torch.zeros(1, len(canvas.clean_ids), model.parts.d_model, dtype=model.dtype)
        written = dict.fromkeys(range(graph.num_sources), blank)
        written |= {("returned", source): blank for source in range(graph.num_sources)}
        if type(model.module) is GPT2LMHeadModel:
            written[0] = model.module.transformer.wpe.weight[None, : len(canvas.clean_ids)]
        return written

    def means(model, graph, canvas):
        alike = [other for other in others_of(model) if template(other) == template(canvas)]
        assert len(alike) > 1
        runs = [slow_sources(model, graph, other.clean_ids) for other in alike]
        return {key: torch.stack([run[key] for run in runs]).mean(dim=0) for key in runs[0]}

    def chosen(name, model, graph):
        by_name = {"zero": zeros, "mean": means}[name]
        return cache(lambda canvas: slow_constants(model, graph, by_name(model, graph, canvas)))

    return chosen


def template(canvas):
    """Length, and where what is scored."""
    return len(canvas.clean_ids), [
        (readout.step, readout.position, readout.target_position) for readout in canvas.readouts
    ]


# The two ends of the scale, and what lies between.


@pytest.mark.parametrize("name", ["zero", "mean"])
@pytest.mark.parametrize(("architecture", "kind", "attention", "grouped"), CASES)
def test_the_full_graph_is_the_clean_model_and_the_empty_one_a_run_of_constants(
    architecture, kind, attention, grouped, name, constants, slow_metric
):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    graph = model.graph(grouped=grouped)
    none, whole = random_circuit(graph, 0), random_circuit(graph, graph.num_edges)
    result = evaluate(model, [none, whole], name)
    by_hand = slow_metric(model, canvases_of(model), none, constants(name, model, graph))
    np.testing.assert_allclose(result.empty, by_hand, atol=1e-10, rtol=0)
    np.testing.assert_allclose(result.metric[0], result.empty, atol=1e-10, rtol=0)
    np.testing.assert_allclose(result.metric[1], result.full, atol=1e-10, rtol=0)
    assert np.abs(result.full - result.empty).min() > 1e-3


@pytest.mark.parametrize("name", ["zero", "mean"])
@pytest.mark.parametrize(("architecture", "kind", "attention", "grouped"), CASES)
def test_random_circuits_agree_with_a_run_that_reads_every_edge_by_itself(
    architecture, kind, attention, grouped, name, constants, slow_metric
):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    graph = model.graph(grouped=grouped)
    sizes = [int(share * graph.num_edges) for share in (0.4, 0.8)]
    circuits = [random_circuit(graph, size, seed) for seed, size in enumerate(sizes)]
    result = evaluate(model, circuits, name)
    assert (result.live_sizes > 0).all()
    canvases, constant = canvases_of(model), constants(name, model, graph)
    for circuit, metric in zip(circuits, result.metric, strict=True):
        slow = slow_metric(model, canvases, without_dangling(circuit), constant)
        np.testing.assert_allclose(metric, slow, atol=1e-9, rtol=0)
        assert np.abs(metric - result.empty).max() > 1e-3


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "qwen3"])
def test_the_mean_over_the_corrupted_text_is_resampling(architecture):
    """One example whose mean is taken over its own corrupted twin."""
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    canvases = canvases_of(model, num_examples=1)
    twins = [replace(canvas, clean_ids=canvas.corrupted_ids) for canvas in canvases]
    circuits = [random_circuit(model.graph(), size) for size in (0, 30, 44)]
    mean = evaluate(model, circuits, "mean", canvases, twins)
    resampled = evaluate(model, circuits, "resample", canvases)
    np.testing.assert_allclose(mean.metric, resampled.metric, atol=1e-10, rtol=0)
    np.testing.assert_allclose(mean.empty, resampled.empty, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["zero", "mean"])
def test_an_edge_from_a_head_that_nothing_feeds_carries_the_heads_constant(name):
    """By its input alone the head would write something else; such edges are dropped first."""
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    graph = model.graph()
    edge = graph.edge_index("a0.h1->logits")
    circuit = Circuit(graph=graph, edges=np.array([edge]), scores=np.ones(1))
    result = evaluate(model, [circuit], name)
    assert result.live_sizes.tolist() == [0]
    np.testing.assert_array_equal(result.metric[0], result.empty)


# Means.


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_every_source_has_the_mean_of_its_shape_whatever_the_batches(kind, slow_sources):
    model = random_language_model("gpt2", kind, dtype=torch.float64)
    canvases, graph = others_of(model), model.graph()
    for batch_size in (1, 3, 99):
        means = mean_outputs(model, canvases, needed_by=canvases, batch_size=batch_size)
        assert set(means.by_shape) == set(map(shape_of, canvases))
        for shape, mean in means.by_shape.items():
            runs = [
                slow_sources(model, graph, canvas.clean_ids)
                for canvas in canvases
                if shape_of(canvas) == shape
            ]
            for source, written in (
                (0, mean.embedding),
                (graph.mlp_source(0), mean.mlp[0]),
                (graph.mlp_source(1), mean.mlp[1]),
            ):
                expected = torch.stack([run[source] for run in runs]).mean(dim=0)
                torch.testing.assert_close(written, expected)
            heads = [graph.head_source(1, head) for head in range(graph.num_heads)]
            expected = sum(torch.stack([run[head] for run in runs]).mean(dim=0) for head in heads)
            output = model.parts.layers[1].output
            torch.testing.assert_close(output(mean.z[1]) - output.bias, expected)


def test_canvases_correspond_if_length_target_and_denoising_step_agree():
    model = random_language_model("qwen2", "mdm")
    short, long = canvases_of(model, num_examples=2)[::2]  # prefixes of 4 and 5 tokens
    assert (shape_of(short).length, shape_of(short).target_start) == (8, 3)
    assert (shape_of(long).length, shape_of(long).target_start) == (9, 4)
    first, second = canvases_of(model, num_examples=1)
    assert first.clean_ids != second.clean_ids and shape_of(first) != shape_of(second)
    assert shape_of(second) == replace(shape_of(first), step=1)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_a_row_of_a_padded_batch_has_the_shape_of_its_canvas(kind):
    model = random_language_model("qwen2", kind)
    canvases = sorted(canvases_of(model), key=lambda canvas: len(canvas.clean_ids))
    (batch,) = batch_canvases(model, canvases, 99)
    assert (batch.attention_mask == 0).any()
    assert row_shapes(batch) == [shape_of(canvas) for canvas in canvases]


def test_only_shapes_that_are_needed_are_run_and_reported():
    model = random_language_model("llama", "mdm")
    canvases, needed = others_of(model), canvases_of(model, num_examples=1)
    told = []
    means = mean_outputs(model, canvases, needed_by=needed, batch_size=2, progress=told.append)
    assert set(means.by_shape) == set(map(shape_of, needed))
    # Three of five examples have the short prefix, in two denoising steps each.
    assert sum(told) == num_averaged(canvases, needed) == 6


def test_the_mean_of_a_model_in_half_precision_is_taken_in_double():
    """256 + 1 is 256 in bfloat16, so a sum in it would stand still."""
    model = random_language_model("llama", "arm", dtype=torch.bfloat16)
    (canvas,) = canvases_of(model, num_examples=1)
    with torch.no_grad():
        model.module.model.embed_tokens.weight.fill_(1.0)
    means = mean_outputs(model, [canvas] * 300, needed_by=[canvas], batch_size=100)
    assert means.by_shape[shape_of(canvas)].embedding.unique().tolist() == [1.0]


def test_a_shape_that_no_other_example_has_is_refused_before_anything_is_run():
    model = random_language_model("llama", "arm")
    message = (
        "none of the examples that means are taken over reads 8 tokens with the target's first"
        r" logits at position 6 in step 0, as an example to be evaluated does \(1 such shapes\)"
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(model, [], "mean", canvases_of(model, lengths=(7,)))
    means = mean_outputs(model, others_of(model), needed_by=others_of(model))
    (batch,) = batch_canvases(model, canvases_of(model, lengths=(7,)), 99)
    with pytest.raises(EvaluationError, match="ablate with zero or resample"):
        means.cache(model, batch)
