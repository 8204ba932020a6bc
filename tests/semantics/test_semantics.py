"""The whole analysis: made of its parts, in the stated number of passes, storable, comparable."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.attribution import node_attribution
from mechshift.denoising import batch_canvases
from mechshift.errors import SemanticsError
from mechshift.flat_records import FlatRecord, from_flat, to_flat
from mechshift.semantics import (
    Semantics,
    SemanticsSettings,
    SemanticsShift,
    analyse_semantics,
    attention_roles,
    describe_neurons,
    lens_profile,
    semantics_shift,
)
from mechshift.testing import random_language_model

SETTINGS = SemanticsSettings(
    batch_size=8,
    num_sequences=10,
    sequence_length=8,
    num_neurons=3,
    num_contexts=2,
    ig_steps=2,
    num_resamples=50,
)
NUM_EXAMPLES = 12


def analysed(model, canvases, settings=SETTINGS, **options):
    scores = node_attribution(model, canvases, metric="logit_diff").values.sum(axis=1)
    return analyse_semantics(
        model, canvases, scores.astype(np.float64), settings, metric="logit_diff", **options
    )


@pytest.fixture(scope="module")
def pair(canvases_of):
    """Semantics of two random models on as many examples."""
    return {
        kind: analysed(model, canvases_of(model, num_examples=NUM_EXAMPLES))
        for kind in ("arm", "mdm")
        for model in [random_language_model("qwen2", kind, dtype=torch.float64)]
    }


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_one_clean_pass_serves_all_but_sequences_and_neurons(kind, canvases_of):
    model = random_language_model("qwen2", kind, dtype=torch.float64)
    canvases = canvases_of(model, num_examples=NUM_EXAMPLES)
    scores = np.ones((NUM_EXAMPLES, model.graph().num_sources))
    passes, told = [], []
    handle = model.module.model.register_forward_hook(lambda *_: passes.append(1))
    analyse_semantics(model, canvases, scores, SETTINGS, metric="logit_diff", progress=told.append)
    handle.remove()
    num_batches = len(batch_canvases(model, canvases, SETTINGS.batch_size))
    assert len(passes) == num_batches * (1 + SETTINGS.ig_steps + 3) + 2
    assert sum(told) == 2 * len(canvases)  # read, and their neurons attributed


def test_the_record_holds_what_each_analysis_gives_alone(canvases_of):
    model = random_language_model("gpt2", "mdm", dtype=torch.float64)
    canvases = canvases_of(model, num_examples=NUM_EXAMPLES)
    found = analysed(model, canvases)
    roles = attention_roles(model, canvases, SETTINGS)
    np.testing.assert_array_equal(found.roles.share.value, roles.share.value)
    neurons = describe_neurons(model, canvases, SETTINGS, metric="logit_diff")
    np.testing.assert_array_equal(found.neurons.score.value, neurons.score.value)
    assert found.neurons.names == neurons.names
    assert found.lens.readouts.num_examples == NUM_EXAMPLES
    np.testing.assert_allclose(found.direct.gap, 0, atol=1e-10)
    # A shared readout axis: the last level's log-probability belongs to the same targets.
    np.testing.assert_array_equal(found.lens.readouts.target_id, found.direct.readouts.target_id)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_record_survives_json_and_arrays_exactly(pair, kind):
    flat = to_flat(pair[kind])
    text = json.dumps(flat.scalars)
    rebuilt = from_flat(Semantics, FlatRecord(arrays=flat.arrays, scalars=json.loads(text)))
    again = to_flat(rebuilt)
    assert again.scalars == flat.scalars
    assert again.arrays.keys() == flat.arrays.keys()
    for name, array in flat.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    assert rebuilt.settings == SETTINGS
    assert rebuilt.concentration.gini == pair[kind].concentration.gini


def test_a_shift_is_the_difference_and_can_be_stored_too(pair):
    shift = semantics_shift(pair["arm"], pair["mdm"])
    for measure in ("gini", "effective_number"):
        values = [getattr(pair[kind].concentration, measure).value for kind in ("arm", "mdm")]
        found = getattr(shift.concentration.shift, measure).value
        assert found == pytest.approx(values[1] - values[0])
    entropy = [pair[kind].alignment.unweighted.entropy.value for kind in ("arm", "mdm")]
    assert shift.alignment.shift.unweighted.entropy.value == pytest.approx(entropy[1] - entropy[0])
    flat = to_flat(shift)
    assert to_flat(from_flat(SemanticsShift, flat)).scalars == flat.scalars


def test_the_same_seed_gives_the_same_bytes(canvases_of):
    model = random_language_model("llama", "mdm")
    canvases = canvases_of(model, num_examples=NUM_EXAMPLES)
    first, second = (to_flat(analysed(model, canvases)) for _ in range(2))
    assert first.scalars == second.scalars
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes(), name


def test_a_bfloat16_model_is_read_in_its_own_precision_and_summed_in_float32(canvases_of):
    """The same weights in both precisions, smooth enough that rounding stays small."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = random_language_model("qwen2", "mdm", dtype=dtype, gain=0.7)
        found[dtype] = analysed(model, canvases_of(model, num_examples=NUM_EXAMPLES))
    exact, rounded = found.values()
    share = [one.roles.share.value[:5] for one in (rounded, exact)]
    np.testing.assert_allclose(*share, atol=0.01)
    assert 0 < np.abs(share[0] - share[1]).max()
    direct = [one.direct.components for one in (rounded, exact)]
    np.testing.assert_allclose(*direct, atol=0.1 * np.abs(direct[1]).max())
    entropy = [one.alignment.unweighted.entropy.value for one in (rounded, exact)]
    assert entropy[0] == pytest.approx(entropy[1], abs=0.05)


def test_a_profile_averages_the_readings_of_each_step(pair):
    """Targets of three tokens in two steps: two tokens, then one."""
    lens = pair["mdm"].lens
    profile = lens_profile(lens, SETTINGS, reading="entropy")
    np.testing.assert_array_equal(profile.num_examples, [NUM_EXAMPLES, NUM_EXAMPLES])
    for step in (0, 1):
        chosen = lens.readouts.step == step
        np.testing.assert_allclose(
            profile.components.value[step], lens.components.entropy[chosen].mean(axis=0)
        )
        np.testing.assert_allclose(
            profile.levels.value[step], lens.levels.entropy[chosen].mean(axis=0)
        )
    assert (profile.levels.low <= profile.levels.value).all()
    with pytest.raises(SemanticsError, match="unknown lens reading 'rank'; known: log10_rank"):
        lens_profile(lens, SETTINGS, reading="rank")


def test_models_analysed_differently_are_refused(pair):
    other = replace(pair["mdm"], settings=replace(SETTINGS, seed=1))
    with pytest.raises(SemanticsError, match="'random-qwen2-mdm' were analysed with different se"):
        semantics_shift(pair["arm"], other)
    lens = pair["mdm"].lens
    moved = replace(lens, readouts=replace(lens.readouts, example=lens.readouts.example + 1))
    with pytest.raises(SemanticsError, match="analysed on different examples"):
        semantics_shift(pair["arm"], replace(pair["mdm"], lens=moved))


def test_a_batch_size_of_ones_own_is_no_difference(pair):
    other = replace(pair["mdm"], settings=replace(SETTINGS, batch_size=SETTINGS.batch_size + 1))
    shifts = [semantics_shift(pair["arm"], mdm) for mdm in (other, pair["mdm"])]
    gini = [one.concentration.shift.gini for one in shifts]
    assert gini[0] == gini[1]


def test_no_canvases_are_refused():
    model = random_language_model()
    scores = np.zeros((0, model.graph().num_sources))
    with pytest.raises(SemanticsError, match="no canvases were given"):
        analyse_semantics(model, [], scores, SETTINGS, metric="logit_diff")
