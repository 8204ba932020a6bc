"""Planned peaks against the tensors that are alive while the real stages run.

The models are wide enough for their tensors to dwarf what the formulas leave out: norms'
statistics, ids and positions.
"""

import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mechshift.ablation import AblationSettings
from mechshift.ablation._standard_plans import standard_plans
from mechshift.ablation.output_norms import measure_output_norms
from mechshift.ablation.sweep import sweep_ablations
from mechshift.attribution import (
    EdgeScores,
    average_over_shards,
    eap_ig,
    edge_gradients,
    exact_edge_scores,
    position_flow,
)
from mechshift.circuits import Circuit
from mechshift.comparison import (
    ComparisonSettings,
    compare,
    measuring,
    noise_free,
    resampling,
    workers,
)
from mechshift.denoising import EncodedExample, batch_canvases, decode
from mechshift.evaluation import evaluate_circuits
from mechshift.graph import Graph
from mechshift.interventions import recording
from mechshift.models import LanguageModel, freeze, model_shape, set_attention
from mechshift.run.planning import memory as planning_memory
from mechshift.run.planning.memory import MemoryModel, comparison_bytes
from mechshift.run.planning.workload import Batch
from mechshift.semantics import SemanticsSettings
from mechshift.semantics._logit_lens import logit_lens
from mechshift.semantics.neurons import describe_neurons
from mechshift.semantics.recorded_run import clean_run
from mechshift.testing import toy_tokenizer
from mechshift.testing.measuring import LiveBytes

VOCAB_SIZE = 512
SIZES = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=192,
    num_hidden_layers=3,
    num_attention_heads=6,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)
CLASSES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, dict(num_key_value_heads=2, intermediate_size=640)),
    "qwen3": (
        Qwen3Config,
        Qwen3ForCausalLM,
        dict(num_key_value_heads=2, intermediate_size=640, head_dim=48),
    ),
    "gpt2": (GPT2Config, GPT2LMHeadModel, dict(n_inner=768)),
}
BATCH = Batch(rows=6, positions=20, slots=3, readouts=18)


def wide_model(architecture, dtype=torch.float32, kind="arm", **overrides):
    config_class, model_class, sizes = CLASSES[architecture]
    torch.manual_seed(0)
    module = model_class(
        config_class(**(SIZES | sizes | overrides), bos_token_id=0, eos_token_id=0)
    ).to(dtype)
    freeze(module)
    set_attention(module, "causal" if kind == "arm" else "full")
    return LanguageModel(
        name="wide",
        kind=kind,
        module=module,
        tokenizer=toy_tokenizer(["word"]),
        attention="causal" if kind == "arm" else "full",
        shift=True,
        mask_token_id=None if kind == "arm" else 3,
        weights_hash="made in memory",
    )


def memory_model(model, grouped=False, metric="logit_diff", gim=False):
    shape = model_shape(model.module.config)
    itemsize = model.dtype.itemsize
    return MemoryModel(
        shape=shape,
        graph=model.graph(grouped=grouped),
        itemsize=itemsize,
        weights=itemsize * shape.num_parameters,
        metric=metric,
        gim=gim,
    )


def alive(model):
    return LiveBytes(*model.module.parameters(), *model.module.buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", CLASSES)
def test_a_layer_saves_and_records_what_is_planned(architecture, dtype, plain_canvases):
    """Every storage that autograd saves or the hooks keep, of one layer more."""
    model = wide_model(architecture, dtype)
    fixed = {p.untyped_storage().data_ptr() for p in model.module.parameters()}
    (batch,) = batch_canvases(model, plain_canvases(6, 20, 3, VOCAB_SIZE), 6)
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in fixed and tensor.is_floating_point():
            kept[storage.data_ptr()] = tensor  # alive, so that no address is used twice
        return tensor

    def bytes_kept(num_layers):
        kept.clear()
        decoder = model.module.base_model
        layers = decoder.h if architecture == "gpt2" else decoder.layers
        parts = replace(model.parts, layers=model.parts.layers[:num_layers])
        embeddings = parts.embedding(batch.clean_ids).requires_grad_()
        with recording(parts) as record, torch.autograd.graph.saved_tensors_hooks(keep, keep):
            hidden = embeddings
            for layer in layers[:num_layers]:
                arguments = {}
                if architecture != "gpt2":
                    angles = decoder.rotary_emb(hidden, batch.position_ids)
                    arguments = {"position_embeddings": angles}
                hidden = layer(hidden, attention_mask=None, **arguments)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            for layer_record in record.layers:
                for tensor in vars(layer_record).values():
                    keep(tensor)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    measured = (bytes_kept(3) - bytes_kept(2)) / batch.clean_ids.numel()
    planned = memory_model(model).saved_per_token()
    # Norms' statistics and log-sum-exps are counted elsewhere or not at all.
    assert measured == pytest.approx(planned, rel=0.03) and measured >= planned


@contextmanager
def watched_peaks(model):
    """Peaks of EAP-IG's two phases: inside what contracts gradients and outside of it."""
    peaks = dict.fromkeys(("gradients", "contract"), 0)
    with pytest.MonkeyPatch.context() as patch, alive(model) as live:

        def end_of(phase):
            peaks[phase] = max(peaks[phase], live.peak)
            live.restart()

        def watch(contract):
            def watched(sums):
                end_of("gradients")
                contract(sums)
                end_of("contract")

            patch.setattr(edge_gradients._ScoreSums, contract.__name__, watched)

        watch(edge_gradients._ScoreSums.subtract_norm_terms)
        watch(edge_gradients._ScoreSums.add_directions)
        yield peaks


def check_peaks(model, canvases, batch, grouped=False, metric="logit_diff", gim=False, ig_steps=3):
    with watched_peaks(model) as peaks:
        eap_ig(
            model,
            canvases,
            metric=metric,
            ig_steps=ig_steps,
            gim=gim,
            grouped=grouped,
            batch_size=batch.rows,
        )
    memory = memory_model(model, grouped, metric, gim)
    for phase, measured in peaks.items():
        planned = getattr(memory, phase)(batch, 0)
        own = planned.total - planned.weights
        assert own == pytest.approx(measured - planned.weights, rel=0.05), phase


@pytest.mark.parametrize(
    ("architecture", "dtype", "options"),
    [
        ("qwen2", torch.float32, {}),
        ("qwen2", torch.bfloat16, {}),
        ("qwen2", torch.float32, {"grouped": True}),
        ("qwen2", torch.float32, {"ig_steps": 1}),
        ("qwen2", torch.float32, {"metric": "kl"}),
        ("qwen2", torch.bfloat16, {"gim": True}),
        ("qwen3", torch.bfloat16, {"metric": "log_prob"}),
        ("gpt2", torch.float32, {}),
        ("gpt2", torch.float32, {"gim": True}),
    ],
)
def test_the_peaks_of_eap_ig_are_those_planned(architecture, dtype, options, plain_canvases):
    canvases = plain_canvases(BATCH.rows, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    check_peaks(wide_model(architecture, dtype), canvases, BATCH, **options)


def test_the_scores_of_the_batch_before_are_planned(plain_canvases):
    """In a deep and narrow model, where they are more than the tolerance."""
    model = wide_model("qwen2", hidden_size=48, intermediate_size=48, num_hidden_layers=8)
    batch = Batch(rows=4, positions=6, slots=4, readouts=16)
    canvases = plain_canvases(3 * batch.rows, batch.positions, batch.slots, VOCAB_SIZE)
    check_peaks(model, canvases, batch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_differences_at_full_width_are_planned_block_by_block(dtype, plain_canvases):
    model = wide_model("qwen2", dtype)
    two_rows = 2 * model.graph().num_sources * BATCH.positions * SIZES["hidden_size"] * 4
    canvases = plain_canvases(BATCH.rows, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    with pytest.MonkeyPatch.context() as patch:
        for module in (edge_gradients, planning_memory):
            patch.setattr(module, "CONTRACTED_BYTES", two_rows)
        check_peaks(model, canvases, BATCH)


def test_gim_is_planned_to_keep_attention_of_all_pairs_of_positions(plain_canvases):
    """Long canvases in a narrow model, whose attention is most of what is held."""
    model = wide_model("qwen2", hidden_size=48, intermediate_size=48)
    batch = Batch(rows=4, positions=60, slots=2, readouts=8)
    canvases = plain_canvases(batch.rows, batch.positions, batch.slots, VOCAB_SIZE)
    check_peaks(model, canvases, batch, gim=True)
    memory = memory_model(model, gim=True).gradients(batch, 0)
    assert memory.attention > memory.activations / 2


def circuit_of(graph, num_edges):
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


@pytest.mark.parametrize(("share", "tightness"), [(1.0, 0.85), (0.7, 0.7), (0.1, 0.15)])
@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("qwen2", torch.float32), ("qwen2", torch.bfloat16), ("gpt2", torch.float32)],
)
def test_running_a_circuit_takes_no_more_than_planned(
    architecture, dtype, share, tightness, plain_canvases
):
    model = wide_model(architecture, dtype)
    graph = model.graph()
    circuit = circuit_of(graph, int(share * graph.num_edges))
    canvases = plain_canvases(BATCH.rows, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    with alive(model) as live:
        evaluate_circuits(
            model, canvases, [circuit], num_examples=BATCH.rows, batch_size=BATCH.rows
        )
    planned = memory_model(model).circuits(BATCH, circuit.num_edges)
    own = live.peak - planned.weights
    assert tightness * (planned.total - planned.weights) < own
    assert own < 1.02 * (planned.total - planned.weights)


def test_exact_patching_takes_about_what_is_planned(plain_canvases):
    model = wide_model("qwen2", num_hidden_layers=1)
    canvases = plain_canvases(2, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    with alive(model) as live:
        exact_edge_scores(model, canvases, metric="logit_diff", edges_per_pass=4, batch_size=2)
    batch = Batch(rows=2, positions=BATCH.positions, slots=BATCH.slots, readouts=6)
    planned = memory_model(model).exact(batch, 4, 0)
    own = planned.total - planned.weights
    assert 0.6 * own < live.peak - planned.weights < 1.1 * own


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_decoding_takes_about_what_is_planned(kind, encoded_examples):
    model = wide_model("qwen2", kind=kind)
    with alive(model) as live:
        decode(model, encoded_examples(6, prompt=20, target=3, vocab_size=VOCAB_SIZE))
    positions = 20 if kind == "arm" else 23
    readouts = 6 if kind == "arm" else 18
    call = Batch(rows=6, positions=positions, readouts=readouts)
    planned = memory_model(model).decode(call, kind)
    own = planned.total - planned.weights
    assert 0.6 * own < live.peak - planned.weights < 1.1 * own


GRAPH = Graph(num_layers=6, num_heads=8, num_key_value_groups=8)
SETTINGS = ComparisonSettings(
    num_resamples=20, num_splits=4, num_splits_per_resample=1, num_shuffles=4, num_exchanges=20
)


def random_scores(seed, num_examples, num_steps):
    shape = (num_examples, num_steps)
    values = np.random.default_rng(seed).standard_normal((*shape, GRAPH.num_edges))
    return EdgeScores(
        graph=GRAPH,
        values=values.astype(np.float32),
        num_steps=np.full(num_examples, num_steps),
        clean_metric=np.ones(shape),
        corrupted_metric=np.zeros(shape),
        input_score=np.ones(shape),
    )


@pytest.mark.parametrize(("num_steps", "per_shard"), [(2, 1), (2, 10)])
def test_a_comparison_takes_what_is_planned_and_little_less(num_steps, per_shard, monkeypatch):
    """In pieces of 8 rows of 4 sets, measured row by row by two threads, as of a large graph."""
    row = 8 * GRAPH.num_edges
    limits = {
        "CHUNK_BYTES": 8 * 4 * 4 * GRAPH.num_edges,
        "BLOCK_BYTES": row,
        "MEASURING_BYTES": 2 * measuring.ARRAYS_OF_BLOCK * row,
    }
    for name, limit in limits.items():
        for module in (resampling, measuring, planning_memory):
            monkeypatch.setattr(module, name, limit, raising=False)
    monkeypatch.setattr(workers, "num_workers", lambda: 2)
    # One after the other, they take time only.
    once = replace(noise_free.WHOLE, num_deals=1, num_simulations=1)
    monkeypatch.setattr(noise_free, "WHOLE", once)
    pair = [average_over_shards(random_scores(seed, 240, num_steps), per_shard) for seed in (0, 1)]
    tracemalloc.start()
    compare("t", *pair, SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    planned = comparison_bytes(GRAPH, 240 // per_shard, SETTINGS)
    assert 0.7 * planned < peak <= planned  # two threads hold more or less at once


def test_shards_take_so_many_times_less_beside_the_pieces_of_resamples():
    graph = Graph(num_layers=28, num_heads=28, num_key_value_groups=28)
    settings = ComparisonSettings()
    whole, fifth, none = (comparison_bytes(graph, rows, settings) for rows in (500, 100, 0))
    assert whole - none == 4 * 500 * graph.num_edges * 4
    assert whole - none == 5 * (fifth - none)


def encoded_for(model, canvases):
    return [
        EncodedExample(
            id=str(canvas.example),
            task="plain",
            prefix_ids=canvas.clean_ids[: -len(canvas.readouts)],
            corrupted_prefix_ids=canvas.corrupted_ids[: -len(canvas.readouts)],
            target_ids=(1,) * (len(canvas.readouts) + 1),
            distractor_ids=(2,) * (len(canvas.readouts) + 1),
        )
        for canvas in canvases
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tracing_flow_takes_about_what_is_planned(dtype, plain_canvases):
    model = wide_model("qwen2", dtype)
    batch = Batch(rows=4, positions=60, slots=3, readouts=12)
    canvases = plain_canvases(batch.rows, batch.positions, batch.slots, VOCAB_SIZE)
    with alive(model) as live:
        position_flow(
            model, canvases, encoded_for(model, canvases), metric="logit_diff", ig_steps=2
        )
    check_about(memory_model(model).flow(batch), live.peak, tightness=0.85)


def test_reading_components_takes_no_more_than_planned(plain_canvases):
    model = wide_model("qwen2")
    canvases = plain_canvases(BATCH.rows, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    with alive(model) as live:
        describe_neurons(
            model,
            canvases,
            SemanticsSettings(ig_steps=2, num_resamples=10),
            metric="logit_diff",
        )
        for batch in batch_canvases(model, canvases, BATCH.rows):
            logit_lens(clean_run(model, batch), batch)
    check_about(memory_model(model).read(BATCH), live.peak, tightness=0.6)


def test_ablating_takes_no_more_than_planned(plain_canvases):
    model = wide_model("qwen2")
    canvases = plain_canvases(BATCH.rows, BATCH.positions, BATCH.slots, VOCAB_SIZE)
    with alive(model) as live:
        norms = measure_output_norms(model, canvases)
        settings = AblationSettings(num_control_draws=1, replacements=("resample",))
        plans = standard_plans(norms, None, settings).plans
        sweep_ablations(model, canvases, plans, settings, metric="logit_diff")
    check_about(memory_model(model).ablate(BATCH, neurons=False), live.peak, tightness=0.6)


def check_about(planned, peak, tightness):
    own = planned.total - planned.weights
    assert tightness * own < peak - planned.weights < 1.05 * own
