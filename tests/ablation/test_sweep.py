"""Sweeps against the circuit solved by hand, the stock class with edited weights, and laws."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.ablation import (
    REPLACEMENTS,
    AblationSettings,
    AblationTable,
    inventory_of,
    measure_output_norms,
    num_runs,
    sweep_ablations,
)
from mechshift.denoising import build_canvases, decode
from mechshift.errors import AblationError
from mechshift.flat_records import FlatRecord, from_flat, to_flat
from mechshift.testing import ARCHITECTURES, known_circuit, random_examples, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
ZERO = AblationSettings(replacements=("zero",))
ALL = AblationSettings(replacements=REPLACEMENTS)


# The circuit that is known.


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_ablating_a_node_of_the_known_circuit_costs_the_paths_through_it_by_hand(kind, plan_of):
    """Corrupting turns a path's signal round, so zeroing, halfway, costs half of its score.

    The mean over both names is zero at every position, so `mean` costs what zeroing costs.
    """
    known = known_circuit(kind, dtype=torch.float64)
    path = {edge: score for edge, score in zip(known.edges, known.scores.T, strict=True)}
    heads, mlp = path["a0.h1->a1.h0<v>"], path["m0->a1.h0<v>"]
    late = path["m1->logits"]
    nothing = np.zeros_like(heads)
    expected = {
        "a0.h1": heads + late,
        "m0": mlp,
        "a1.h0": heads + mlp,
        "m1": late,
        "m1.n0": late,
        "a0.h0": nothing,
        "a1.h1": nothing,
        "m0.n1": nothing,
    }
    plans = [plan_of(known.model, name, plan_name=name) for name in expected]
    table = sweep_ablations(
        known.model, known.canvases, plans, ALL, metric="logit_diff", mean_canvases=known.canvases
    )
    scores = np.stack(list(expected.values()))
    drops = table.clean_metric - table.metric
    assert np.abs(scores).max() > 0.3
    for replacement, share in (("zero", 0.5), ("mean", 0.5), ("resample", 1.0)):
        found = drops[:, table.replacements.index(replacement)]
        np.testing.assert_allclose(found, share * scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(table.corrupted_metric, -table.clean_metric, rtol=1e-5)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_answer_turns_wrong_where_what_is_left_speaks_for_the_other_name(kind, plan_of):
    known = known_circuit(kind, dtype=torch.float64)
    everything_but_the_late_path = plan_of(known.model, "m0", "a1.h0")
    table = sweep_ablations(
        known.model,
        known.canvases,
        [everything_but_the_late_path],
        AblationSettings(replacements=("zero", "resample")),
        metric="logit_diff",
    )
    assert table.clean_correct.all()
    assert (table.metric[0, 0] > 0).all() and table.correct[0, 0].all()
    assert (table.metric[0, 1] < 0).all() and not table.correct[0, 1].any()


# The stock class.


@torch.no_grad()
def by_stock_class(model, canvases):
    """Metric and correctness of each example: one unpadded canvas at a time, by the HF module."""
    num_examples = 1 + max(canvas.example for canvas in canvases)
    metric, correct = np.zeros(num_examples), np.ones(num_examples, dtype=bool)
    for canvas in canvases:
        logits = model.module(torch.tensor([canvas.clean_ids])).logits[0]
        for readout in canvas.readouts:
            row = logits[readout.position].clone()
            metric[canvas.example] += row[readout.target_id] - row[readout.distractor_id]
            if model.kind == "mdm":
                row[model.mask_token_id] = -torch.inf
            correct[canvas.example] &= bool(row.argmax() == readout.target_id)
    return metric, correct


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_zeroing_is_the_stock_class_with_its_weights_edited(
    architecture, kind, canvases_of, plan_of, without
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    chosen = [("a0.h1",), ("m0",), ("a0.h0", "a1.h1", "m1")]
    chosen += [("m1.n3", "m0.n17")] if model.parts.num_neurons else []
    plans = [plan_of(model, *names, plan_name=str(names)) for names in chosen]
    table = sweep_ablations(model, canvases, plans, ZERO, metric="logit_diff")
    clean, _ = by_stock_class(model, canvases)
    np.testing.assert_allclose(table.clean_metric, clean, atol=1e-11)
    for row, names in enumerate(chosen):
        metric, correct = by_stock_class(without(model, *names), canvases)
        assert np.abs(metric - clean).max() > 0.01
        np.testing.assert_allclose(table.metric[row, 0], metric, atol=1e-11)
        np.testing.assert_array_equal(table.correct[row, 0], correct)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_an_example_is_right_where_the_model_would_write_its_target(kind, plan_of):
    """The models' own answers as targets, in their own order; half with the last token changed."""
    model = random_language_model("qwen2", kind, dtype=torch.float64)
    examples = random_examples(8, kind=kind, num_targets=3)
    decoded = decode(model, examples)
    examples = [
        replace(
            example, target_ids=answer, distractor_ids=tuple(4 if t != 4 else 5 for t in answer)
        )
        for example, answer in zip(examples, decoded.tokens, strict=True)
    ]
    last = decoded.schedule.commit_step.argmax(axis=1)
    spoilt = list(examples)
    for row in range(0, 8, 2):
        target = list(examples[row].target_ids)
        target[last[row]] = 4 if target[last[row]] != 4 else 5
        spoilt[row] = replace(examples[row], target_ids=tuple(target))

    def correct(examples):
        canvases = build_canvases(model, examples, decoded.schedule)
        return sweep_ablations(
            model, canvases, [plan_of(model)], ZERO, metric="log_prob"
        ).clean_correct

    assert correct(examples).all()
    np.testing.assert_array_equal(correct(spoilt), np.arange(8) % 2 == 1)


# Laws.


@pytest.mark.parametrize(("architecture", "kind"), [("gpt2", "arm"), ("qwen3", "mdm")])
@pytest.mark.parametrize("metric", ["logit_diff", "kl"])
def test_ablating_nothing_is_the_clean_run_and_resampling_all_the_corrupted(
    architecture, kind, metric, canvases_of, plan_of
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    everything = replace(
        plan_of(model, plan_name="all"), structures=inventory_of(model).everything()
    )
    table = sweep_ablations(
        model,
        canvases,
        [plan_of(model, plan_name="none"), everything],
        ALL,
        metric=metric,
        mean_canvases=canvases_of(model, 8, seed=5),
    )
    for of_replacement in table.metric[0]:
        np.testing.assert_array_equal(of_replacement, table.clean_metric)
    resampled = table.metric[1, table.replacements.index("resample")]
    np.testing.assert_allclose(resampled, table.corrupted_metric, rtol=0, atol=1e-10)
    assert np.abs(table.corrupted_metric - table.clean_metric).max() > 0.1
    np.testing.assert_allclose(table.removed.share, [0.0, 1.0])


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_batch_size_and_order_of_canvases_change_nothing(kind, canvases_of, plan_of):
    model = random_language_model("qwen2", kind, dtype=torch.float64)
    canvases, held_out = canvases_of(model), canvases_of(model, 6, seed=5)
    plans = [plan_of(model, "a0.h1", "m1", plan_name="nodes"), plan_of(model, "m0.n3", "m1.n4")]

    def sweep(batch_size, canvases, held_out):
        settings = replace(ALL, batch_size=batch_size)
        return sweep_ablations(
            model, canvases, plans, settings, metric="log_prob", mean_canvases=held_out
        )

    first, second = sweep(1, canvases, held_out), sweep(3, canvases[::-1], held_out[::-1])
    assert np.abs(first.metric - first.clean_metric).max() > 0.1
    np.testing.assert_allclose(first.metric, second.metric, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(first.correct, second.correct)
    np.testing.assert_allclose(first.removed.norm, second.removed.norm, rtol=1e-6)


def test_what_is_removed_is_measured_on_the_swept_canvases(canvases_of, plan_of):
    model = random_language_model("llama")
    canvases, plan = canvases_of(model), plan_of(model, "a0.h1", "m1")
    table = sweep_ablations(model, canvases, [plan], ZERO, metric="log_prob")
    norms = measure_output_norms(model, canvases)
    assert table.removed.norm[0] == pytest.approx(norms.of(plan.structures), rel=1e-6)
    assert (table.labels.num_heads[0], table.labels.num_mlps[0]) == (1, 1)


def test_progress_counts_every_canvas_of_every_run(canvases_of, plan_of):
    model = random_language_model("llama", "mdm")
    canvases, seen = canvases_of(model), []
    plans = [plan_of(model, name, plan_name=name) for name in ("m0", "m1")]
    settings = AblationSettings(replacements=("zero", "resample"), batch_size=3)
    sweep_ablations(model, canvases, plans, settings, metric="log_prob", progress=seen.append)
    assert sum(seen) == num_runs(canvases, len(plans), settings) == len(canvases) * 6


def test_a_table_survives_being_taken_apart(canvases_of, plan_of):
    model = random_language_model("llama")
    plans = [plan_of(model, "m0", plan_name="m0"), plan_of(model, "a1.h0", plan_name="head")]
    table = sweep_ablations(model, canvases_of(model), plans, ZERO, metric="logit_diff")
    flat = to_flat(table)
    stored = FlatRecord(arrays=flat.arrays, scalars=json.loads(json.dumps(flat.scalars)))
    rebuilt = from_flat(AblationTable, stored)
    np.testing.assert_array_equal(rebuilt.correct, table.correct)
    np.testing.assert_array_equal(rebuilt.removed.norm, table.removed.norm)
    assert rebuilt.labels.names == ("m0", "head")
    assert rebuilt.replacements == ("zero",)


# Refusals.


def test_what_cannot_be_swept_is_refused(canvases_of, plan_of):
    model = random_language_model("llama")
    canvases, plan = canvases_of(model), plan_of(model, "m0")

    def sweep(canvases=canvases, plans=(plan,), settings=ZERO, **options):
        sweep_ablations(model, canvases, plans, settings, metric="logit_diff", **options)

    with pytest.raises(AblationError, match="nothing to ablate on: no canvases were given"):
        sweep(canvases=[])
    with pytest.raises(AblationError, match="examples 0 to 3 lack example 1; give those of every"):
        sweep(canvases=[canvas for canvas in canvases if canvas.example != 1])
    with pytest.raises(AblationError, match="nothing to ablate: no plan was given"):
        sweep(plans=[])
    with pytest.raises(AblationError, match=r"several plans are called \['chosen'\]"):
        sweep(plans=[plan, plan])
    with pytest.raises(AblationError, match="plan for the model that is ablated"):
        sweep(plans=[plan_of(random_language_model("qwen2"), "m0")])
    with pytest.raises(AblationError, match="'mean' needs held-out canvases to average over"):
        sweep(settings=ALL)


def test_a_metric_that_is_not_finite_is_refused_with_its_example(canvases_of, plan_of):
    model = random_language_model("llama")
    canvases = canvases_of(model)
    with torch.no_grad():
        model.parts.unembedding.weight[canvases[2].readouts[0].target_id] = torch.inf
    with pytest.raises(AblationError, match="the metric of example . is not a finite number; load"):
        sweep_ablations(model, canvases, [plan_of(model, "m0")], ZERO, metric="logit_diff")
