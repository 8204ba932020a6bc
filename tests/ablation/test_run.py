"""All ablations of a model in one call, against its parts called one by one."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.ablation import (
    REPLACEMENTS,
    AblationSettings,
    Decoding,
    ablate_single_components,
    ablation_effects,
    decode_ablated,
    max_num_runs,
    measure_output_norms,
    run_ablations,
    standard_plans,
    sweep_ablations,
    whole_passes,
)
from mechshift.circuits import select_top_edges
from mechshift.graph import Graph
from mechshift.tasks import PoolConfig, load_task_file
from mechshift.testing import random_language_model

SETTINGS = AblationSettings(
    kinds=("heads", "neurons"),
    replacements=REPLACEMENTS,
    num_control_draws=3,
    norm_tolerance=0.3,
    num_resamples=50,
)


@pytest.fixture
def circuit_of():
    """A function: model -> a circuit of some of its edges."""

    def make(model):
        graph = model.graph()
        return select_top_edges(graph, np.random.default_rng(0).normal(size=graph.num_edges), 6)

    return make


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_one_call_is_norms_plans_sweep_and_single_ablations(kind, canvases_of, circuit_of):
    model = random_language_model("qwen2", kind)
    canvases, held_out = canvases_of(model, 12), canvases_of(model, 8, seed=5)
    circuit, seen = circuit_of(model), []
    found = run_ablations(
        model,
        canvases,
        circuit=circuit,
        mean_canvases=held_out,
        metric="logit_diff",
        settings=SETTINGS,
        progress=seen.append,
    )
    standard = standard_plans(measure_output_norms(model, held_out), circuit, SETTINGS)
    table = sweep_ablations(
        model,
        canvases,
        standard.plans,
        SETTINGS,
        metric="logit_diff",
        mean_canvases=held_out,
    )
    single = ablate_single_components(
        model, canvases, metric="logit_diff", replacement="resample", batch_size=5
    )
    assert found.decoded is None
    assert found.single.replacement == "resample"
    np.testing.assert_allclose(found.single.metric, single.metric, rtol=0, atol=1e-5)
    assert found.table.labels.names == table.labels.names
    assert found.table.left_out == standard.left_out
    np.testing.assert_array_equal(found.table.metric, table.metric)
    effects = ablation_effects(found.table, SETTINGS)
    assert effects.left_out == standard.left_out
    assert effects.labels.num_draws.max() == 3
    missing = max_num_runs(model.graph(), canvases, SETTINGS, with_circuit=True) - sum(seen)
    # Two layers of two heads: the one other layer holds one set of both heads.
    assert "'early heads, same number' is 1 of 3 draws" in found.table.left_out[0]
    most_plans = 5 * (1 + 2 * 3)
    assert missing == (most_plans - len(table.labels.names)) * 3 * len(canvases)


def test_a_model_also_decodes_under_every_plan_where_that_is_asked_for(canvases_of, tmp_path):
    model = random_language_model("llama", "mdm")
    path = tmp_path / "own.jsonl"
    line = (
        '{{"id": "{0}", "prompt": "w{0} w2", "target": " w3 w4", "distractor": " w5 w5",'
        ' "corrupted_prompt": "w1 w2", "split": "held-out"}}'
    )
    path.write_text("\n".join(line.format(number) for number in range(3, 15)))
    task = load_task_file(path)
    examples = tuple(task.generate(model.tokenizer, split="held-out", num_examples=12, seed=0))
    decoding = Decoding(task=task, examples=examples, pool=PoolConfig())
    canvases, held_out, seen = canvases_of(model, 12), canvases_of(model, 8, seed=5), []
    settings = replace(SETTINGS, kinds=("neurons",), num_control_draws=1)
    found = run_ablations(
        model,
        canvases,
        circuit=None,
        mean_canvases=held_out,
        metric="log_prob",
        settings=settings,
        decoding=decoding,
        progress=seen.append,
    )
    standard = standard_plans(measure_output_norms(model, held_out), None, settings)
    alone = decode_ablated(
        model,
        task,
        examples,
        standard.plans,
        settings,
        pool=decoding.pool,
        mean_canvases=held_out,
    )
    assert found.decoded is not None
    assert found.decoded.replacements == ("zero", "mean")
    np.testing.assert_array_equal(found.decoded.correct, alone.correct)
    assert found.table.left_out == ()
    assert sum(seen) == max_num_runs(
        model.graph(), canvases, settings, with_circuit=False, decoding=decoding
    )


def test_whole_passes_are_the_layers_that_are_computed(canvases_of, circuit_of):
    """Counted where they are: within a twelfth, since controls' first layers are drawn."""
    model = random_language_model("qwen2", "mdm", num_layers=6)
    canvases, settings = (
        canvases_of(model, 12),
        replace(SETTINGS, norm_tolerance=0.99, batch_size=99),
    )
    called = []
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda *_: called.append(1))
        for layer in model.module.model.layers  # called, if not computed
    ]
    found = run_ablations(
        model,
        canvases,
        circuit=circuit_of(model),
        mean_canvases=canvases,
        metric="logit_diff",
        settings=settings,
    )
    for hook in hooks:
        hook.remove()
    assert not found.table.left_out
    # Norms, and the means of the sweep, take a whole pass each; it is one batch.
    assert len(called) / 6 - 2 == pytest.approx(whole_passes(model.graph(), settings), rel=1 / 12)


def test_whole_passes_by_hand():
    settings = AblationSettings(kinds=("heads",), num_control_draws=2)
    graph = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
    # Structures 1 + 2/3 + 1/3 and the circuit; 4 controls of the early third behind it, and 4 of
    # each of the others anywhere; clean and corrupted runs of both parts; 3 components a layer.
    expected = 2 + (1 + 2 / 3 + 1 / 3 + 1) + 4 * 2 / 3 + 3 * 4 + 2 + 3 * (1 + 2 / 3 + 1 / 3)
    assert whole_passes(graph, settings) == pytest.approx(expected)
