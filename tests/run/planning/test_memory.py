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
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
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
from mechshift.models import LanguageModel, freeze, set_attention
from mechshift.run import AttributionSettings, RunSettings
from mechshift.run.planning import memory
from mechshift.run.planning.workload import make_batches
from mechshift.semantics import SemanticsSettings
from mechshift.semantics._logit_lens import logit_lens
from mechshift.semantics.neurons import describe_neurons
from mechshift.semantics.recorded_run import clean_run
from mechshift.tasks import PoolConfig
from mechshift.testing import random_language_model, toy_tokenizer
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
ALSO_MEASURED = {
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        dict(num_key_value_heads=2, intermediate_size=640, head_dim=48),
    ),
    "qwen3_moe": (
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
        dict(
            num_key_value_heads=2,
            head_dim=48,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=320,
        ),
    ),
}
"""What a layer of these saves is measured."""
ROWS, POSITIONS, SLOTS = 6, 20, 3
BATCH = make_batches([ROWS], POSITIONS, ROWS * SLOTS, SLOTS)


def wide_model(architecture, dtype=torch.float32, kind="arm", **overrides):
    config_class, model_class, sizes = (CLASSES | ALSO_MEASURED)[architecture]
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


def alive(model):
    return LiveBytes(*model.module.parameters(), *model.module.buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", CLASSES | ALSO_MEASURED)
def test_a_layer_saves_and_records_what_is_planned(architecture, dtype, plain_canvases, on_task):
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
                    kinds = () if architecture != "gemma3" else (layer.self_attn.layer_type,)
                    angles = decoder.rotary_emb(hidden, batch.position_ids, *kinds)
                    arguments = {"position_embeddings": angles}
                hidden = layer(hidden, attention_mask=None, **arguments)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            for layer_record in record.layers:
                for tensor in vars(layer_record).values():
                    keep(tensor)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    measured = (bytes_kept(3) - bytes_kept(2)) / batch.clean_ids.numel()
    planned = memory.saved_per_token(on_task(model), model.graph().num_key_value_groups)
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


CONTRACTED = 1.3
"""How many times what contracting takes its upper bound may be."""


def check_peaks(planned, model, canvases, batch):
    settings = planned.settings.attribution
    with watched_peaks(model) as peaks:
        eap_ig(
            model,
            canvases,
            metric=planned.metric,
            ig_steps=settings.ig_steps or 1,
            gim=settings.gim,
            grouped=settings.grouped,
            batch_size=int(batch.rows[0]),
        )
    own = {phase: peak - planned.weights for phase, peak in peaks.items()}
    assert memory.gradients(planned, batch).made_bytes == pytest.approx(own["gradients"], rel=0.05)
    contracted = memory.contract(planned, batch).made_bytes
    assert 0.98 * own["contract"] < contracted < CONTRACTED * own["contract"]


@pytest.mark.parametrize(
    ("architecture", "dtype", "metric", "options"),
    [
        ("qwen2", torch.float32, "logit_diff", {"ig_steps": 3}),
        ("qwen2", torch.bfloat16, "logit_diff", {}),
        ("qwen2", torch.float32, "kl", {"grouped": True}),
        ("qwen2", torch.bfloat16, "logit_diff", {"gim": True}),
        ("qwen3", torch.bfloat16, "log_prob", {}),
        ("gpt2", torch.float32, "logit_diff", {}),
        ("gpt2", torch.float32, "logit_diff", {"gim": True}),
    ],
)
def test_the_peaks_of_eap_ig_are_those_planned(
    architecture, dtype, metric, options, plain_canvases, on_task
):
    model = wide_model(architecture, dtype)
    canvases = plain_canvases(ROWS, POSITIONS, SLOTS, VOCAB_SIZE)
    check_peaks(on_task(model, metric, **options), model, canvases, BATCH)


def test_the_scores_of_the_batch_before_are_planned(plain_canvases, on_task):
    """In a deep and narrow model, where they are more than the tolerance."""
    model = wide_model("qwen2", hidden_size=48, intermediate_size=48, num_hidden_layers=6)
    canvases = plain_canvases(2 * 4, 6, 4, VOCAB_SIZE)
    check_peaks(on_task(model), model, canvases, make_batches([4], 6, 16, 4))


def test_differences_at_full_width_are_planned_block_by_block(plain_canvases, on_task):
    model = wide_model("qwen2", torch.bfloat16)
    two_rows = 2 * model.graph().num_sources * POSITIONS * SIZES["hidden_size"] * 4
    canvases = plain_canvases(ROWS, POSITIONS, SLOTS, VOCAB_SIZE)
    with pytest.MonkeyPatch.context() as patch:
        for module in (edge_gradients, memory):
            patch.setattr(module, "CONTRACTED_BYTES", two_rows)
        check_peaks(on_task(model), model, canvases, BATCH)


def test_gim_is_planned_to_keep_attention_of_all_pairs_of_positions(plain_canvases, on_task):
    """Long canvases in a narrow model, whose attention is most of what is held."""
    model = wide_model("qwen2", hidden_size=48, intermediate_size=48)
    batch = make_batches([4], 60, 8, 2)
    canvases = plain_canvases(4, 60, 2, VOCAB_SIZE)
    check_peaks(on_task(model, gim=True), model, canvases, batch)
    with_gim, without = (
        memory.gradients(on_task(model, gim=gim), batch).made_bytes for gim in (True, False)
    )
    assert with_gim > 1.5 * without


def check_about(planned, weights, peak, tightness, beyond=1.05):
    own = peak - weights
    assert tightness * planned.made_bytes < own < beyond * planned.made_bytes
    assert planned.total_bytes == weights + planned.made_bytes


def circuit_of(graph, num_edges):
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


@pytest.mark.parametrize(
    ("architecture", "dtype", "share", "tightness"),
    [
        ("qwen2", torch.float32, 1.0, 0.85),
        ("qwen2", torch.bfloat16, 0.7, 0.7),
        ("gpt2", torch.float32, 1.0, 0.85),
        ("gpt2", torch.float32, 0.1, 0.15),
    ],
)
def test_running_a_circuit_takes_no_more_than_planned(
    architecture, dtype, share, tightness, plain_canvases, on_task
):
    model = wide_model(architecture, dtype)
    circuit = circuit_of(model.graph(), int(share * model.graph().num_edges))
    canvases = plain_canvases(ROWS, POSITIONS, SLOTS, VOCAB_SIZE)
    with alive(model) as live:
        evaluate_circuits(model, canvases, [circuit], num_examples=ROWS, batch_size=ROWS)
    planned = on_task(model)
    peak = memory.circuit(planned, BATCH, circuit.num_edges)
    check_about(peak, planned.weights, live.peak, tightness, beyond=1.02)


def test_exact_patching_takes_about_what_is_planned(plain_canvases, on_task):
    model = wide_model("qwen2", num_hidden_layers=1)
    canvases = plain_canvases(2, POSITIONS, SLOTS, VOCAB_SIZE)
    with alive(model) as live:
        exact_edge_scores(model, canvases, metric="logit_diff", edges_per_pass=16, batch_size=2)
    planned = on_task(model, method="exact")
    peak = memory.exact(planned, make_batches([2], POSITIONS, 6, SLOTS), 16)
    check_about(peak, planned.weights, live.peak, tightness=0.6, beyond=1.1)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_decoding_takes_about_what_is_planned(kind, encoded_examples, on_task):
    model = wide_model("qwen2", kind=kind)
    with alive(model) as live:
        decode(model, encoded_examples(6, prompt=20, target=3, vocab_size=VOCAB_SIZE))
    call = make_batches([6], 20, 6) if kind == "arm" else make_batches([6], 23, 18)
    planned = on_task(model)
    check_about(memory.decode(planned, call), planned.weights, live.peak, 0.6, beyond=1.1)


GRAPH = Graph(num_layers=4, num_heads=8, num_key_value_groups=8)
DRAWS = ComparisonSettings(
    num_resamples=8, num_splits=2, num_splits_per_resample=1, num_shuffles=2, num_exchanges=8
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


def compared(model, graph, num_examples, per_shard=1, **settings):
    """A model's task whose scores are compared."""
    shards = AttributionSettings(examples_per_shard=per_shard)
    pool = PoolConfig(num_examples=num_examples)
    asked = RunSettings(attribution=shards, pool=pool, **settings)
    return replace(model, graph=graph, settings=asked)


def test_a_comparison_takes_what_is_planned_and_little_less(monkeypatch, on_task):
    """In pieces of 8 rows of 4 sets, measured in twos by two threads, as of a large graph.

    Scores are means over shards, whose number is that of the rows.
    """
    row = 2 * 8 * GRAPH.num_edges
    limits = {
        "CHUNK_BYTES": 8 * 4 * 4 * GRAPH.num_edges,
        "BLOCK_BYTES": row,
        "MEASURING_BYTES": 2 * measuring.ARRAYS_OF_BLOCK * row,
    }
    for name, limit in limits.items():
        for module in (resampling, measuring, memory):
            monkeypatch.setattr(module, name, limit, raising=False)
    monkeypatch.setattr(workers, "num_workers", lambda: 2)
    # One after the other, they take time only.
    once = replace(noise_free.WHOLE, num_deals=1, num_simulations=1)
    monkeypatch.setattr(noise_free, "WHOLE", once)
    pair = [average_over_shards(random_scores(seed, 480, 2), 2) for seed in (0, 1)]
    tracemalloc.start()
    compare("t", *pair, DRAWS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    model = on_task(random_language_model("qwen2"))
    planned = memory.compare(compared(model, GRAPH, 480, 2, comparison=DRAWS))
    assert planned.memory == "host" and planned.weights_bytes == 0
    assert 0.7 * planned.made_bytes < peak <= planned.made_bytes  # two threads hold more or less


def test_shards_take_so_many_times_less_beside_the_pieces_of_resamples(on_task):
    graph = Graph(num_layers=28, num_heads=28, num_key_value_groups=28)
    model = on_task(random_language_model("qwen2"))
    whole, fifth = (memory.compare(compared(model, graph, 500, size)) for size in (1, 5))
    assert whole.made_bytes - fifth.made_bytes == 4 * (500 - 100) * graph.num_edges * 4
    # A chunk of 50 is rounded up to 60, whose means are held beside them.
    assert memory.chunk(compared(model, graph, 500)).made_bytes == 50 * graph.num_edges * 4
    sharded = memory.chunk(compared(model, graph, 500, 20))
    assert sharded.made_bytes == (60 + 3) * graph.num_edges * 4


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
def test_tracing_flow_takes_about_what_is_planned(dtype, plain_canvases, on_task):
    model = wide_model("qwen2", dtype)
    canvases = plain_canvases(4, 60, 3, VOCAB_SIZE)
    with alive(model) as live:
        position_flow(
            model, canvases, encoded_for(model, canvases), metric="logit_diff", ig_steps=1
        )
    planned = on_task(model)
    peak = memory.flow(planned, make_batches([4], 60, 12, 3))
    check_about(peak, planned.weights, live.peak, tightness=0.85)


def test_reading_components_takes_no_more_than_planned(plain_canvases, on_task):
    model = wide_model("qwen2")
    planned, canvases = on_task(model), plain_canvases(ROWS, POSITIONS, SLOTS, VOCAB_SIZE)
    with alive(model) as live:
        settings = SemanticsSettings(ig_steps=2, num_resamples=10)
        describe_neurons(model, canvases, settings, metric="logit_diff")
    neurons = memory.attribute_neurons(planned, BATCH)
    check_about(neurons, planned.weights, live.peak, tightness=0.6)
    with alive(model) as live:
        for batch in batch_canvases(model, canvases, ROWS):
            logit_lens(clean_run(model, batch), batch)
    check_about(memory.read(planned, BATCH), planned.weights, live.peak, tightness=0.5)


def test_ablating_takes_no_more_than_planned(plain_canvases, on_task):
    model = wide_model("qwen2")
    canvases = plain_canvases(ROWS, POSITIONS, SLOTS, VOCAB_SIZE)
    with alive(model) as live:
        norms = measure_output_norms(model, canvases)
        settings = AblationSettings(num_control_draws=1, replacements=("resample",))
        plans = standard_plans(norms, None, settings).plans
        sweep_ablations(model, canvases, plans, settings, metric="logit_diff")
    planned = on_task(model)
    check_about(memory.ablate(planned, BATCH), planned.weights, live.peak, tightness=0.6)
