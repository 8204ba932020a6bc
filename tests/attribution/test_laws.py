"""What must hold of edge scores whatever the model: invariances, sums, and nothing left behind."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mechshift.attribution import eap_ig, exact_edge_scores
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.models import load_language_model
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
MASKED_OTHERWISE = [
    (name, "mdm", attention)
    for name in ("gpt2", "qwen2")
    for attention in ("block-causal", "observed-first", "causal-prefix")
]
METHODS = [eap_ig, exact_edge_scores]
two_points = partial(eap_ig, ig_steps=2)
NUM_TARGETS = (3, 1, 2, 1)


def uneven_examples(kind):
    """Examples of several lengths, targets and numbers of steps."""
    drawn = [
        random_examples(len(NUM_TARGETS), kind=kind, num_targets=n, suffix_length=2, seed=row)[row]
        for row, n in enumerate(NUM_TARGETS)
    ]
    return drawn, left_to_right(NUM_TARGETS)


def uneven_canvases(model):
    return build_canvases(model, *uneven_examples(model.kind))


def assert_equal_scores(found, expected, tolerance=1e-12):
    scale = np.abs(expected.values).max()
    assert scale > 1e-2
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=tolerance * scale)
    for name in ("clean_metric", "corrupted_metric"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-10)
    np.testing.assert_array_equal(found.num_steps, expected.num_steps)


@pytest.mark.parametrize(
    ("architecture", "kind", "attention", "method"),
    [(*model, None, two_points) for model in MODELS]
    + [(*model, two_points) for model in MASKED_OTHERWISE]
    + [("llama", "arm", None, exact_edge_scores), ("gpt2", "mdm", None, exact_edge_scores)],
)
def test_neither_batch_size_nor_left_padding_changes_a_score(architecture, kind, attention, method):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    canvases = uneven_canvases(model)
    assert all(b.attention_mask.all() for b in batch_canvases(model, canvases, 1))
    assert any(not b.attention_mask.all() for b in batch_canvases(model, canvases, 3))
    alone = method(model, canvases, metric="logit_diff", batch_size=1)
    for batch_size in (3, 16):
        together = method(model, canvases, metric="logit_diff", batch_size=batch_size)
        assert_equal_scores(together, alone)


ROPES = [
    {"rope_type": "linear", "factor": 4.0},
    # Its ramp needs more frequencies than the smallest head has.
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 6,
    },
    {"rope_type": "proportional", "partial_rotary_factor": 0.5},
]
"""One of each type that `loading` accepts, beside the default, made to matter on short texts."""

OPTIONS = [
    *(
        (name, "mdm", {"rope_parameters": {"rope_theta": 100.0, **rope}})
        for name in ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")
        for rope in ROPES
    ),
    ("ministral3", "mdm", {}),
    ("qwen3_moe", "arm", {"norm_topk_prob": False}),
    ("qwen3_moe", "arm", {"mlp_only_layers": [0]}),
    ("gpt2", "arm", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", "arm", {"scale_attn_weights": False}),
    ("gpt2", "arm", {"activation_function": "relu"}),
    ("llama", "arm", {"attention_bias": True, "mlp_bias": True}),
    ("qwen3", "arm", {"attention_bias": True}),
    ("qwen2", "arm", {"tie_word_embeddings": True}),
    ("mistral", "arm", {"head_dim": 8, "hidden_act": "gelu"}),
]


@pytest.mark.parametrize(
    ("architecture", "kind", "options"), OPTIONS, ids=lambda value: re.sub(r"\W+", "-", str(value))
)
def test_the_batch_size_changes_no_score_with_any_option_that_is_loaded(
    architecture, kind, options, tmp_path
):
    made = random_language_model(architecture, kind, options=options)
    made.module.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    loaded = load_language_model(
        tmp_path,
        name="loaded",
        kind=kind,
        attention=made.attention,
        shift=True,
        mask_token_id=made.mask_token_id,
    )
    canvases = uneven_canvases(loaded)
    alone, together = (
        eap_ig(loaded, canvases, metric="logit_diff", ig_steps=1, batch_size=batch_size).values
        for batch_size in (1, 16)
    )
    # In single precision, which is how a model is loaded.
    np.testing.assert_allclose(together, alone, rtol=0, atol=3e-5 * np.abs(alone).max())


def test_rotary_angles_that_follow_the_longest_row_would_break_this_law():
    """Which is why `loading` refuses them; and with which such an error would be seen above."""
    rope = {"rope_theta": 100.0, "rope_type": "dynamic", "factor": 2.0}
    model = random_language_model(
        "llama", "mdm", options={"rope_parameters": rope, "max_position_embeddings": 8}
    )
    canvases = uneven_canvases(model)
    alone, together = (
        eap_ig(model, canvases, metric="logit_diff", ig_steps=1, batch_size=batch_size).values
        for batch_size in (1, 16)
    )
    assert np.abs(together - alone).max() > 1e-2 * np.abs(alone).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_steps_that_an_example_does_not_have_score_zero(kind, method):
    model = random_language_model("llama", kind)
    scores = method(model, uneven_canvases(model), metric="logit_diff")
    assert scores.num_steps.tolist() == list(NUM_TARGETS)
    for example, num_steps in enumerate(NUM_TARGETS):
        assert np.abs(scores.values[example, :num_steps]).max(axis=-1).min() > 1e-4
        assert not scores.values[example, num_steps:].any()


@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize("architecture", ["ministral3", "mistral", "qwen2", "qwen3_moe", "qwen3"])
def test_grouped_scores_are_the_sum_over_the_query_heads_of_the_group(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = uneven_canvases(model)
    by_head = eap_ig(model, canvases, metric="logit_diff")
    grouped = eap_ig(model, canvases, metric="logit_diff", grouped=True)
    assert grouped.graph.num_edges < by_head.graph.num_edges
    share = model.parts.num_heads // model.parts.num_key_value_heads
    summed = np.zeros_like(grouped.values)
    for edge in range(by_head.graph.num_edges):
        name = by_head.graph.edge_name(edge)
        shared = re.sub(r"h(\d)<([kv])>", lambda m: f"h{int(m[1]) // share}<{m[2]}>", name)
        summed[..., grouped.graph.edge_index(shared)] += by_head.values[..., edge]
    np.testing.assert_allclose(grouped.values, summed, atol=1e-12 * np.abs(summed).max())


def test_an_arms_scores_by_step_sum_to_those_of_the_summed_metric():
    model = random_language_model("qwen3", "arm", dtype=torch.float64)
    examples, by_step = uneven_examples("arm")
    at_once = left_to_right(NUM_TARGETS, 1)
    stepwise, whole = (
        eap_ig(model, build_canvases(model, examples, schedule), metric="log_prob")
        for schedule in (by_step, at_once)
    )
    assert whole.values.shape[1] == 1 and stepwise.values.shape[1] == 3
    np.testing.assert_allclose(stepwise.values.sum(axis=1), whole.values[:, 0], atol=1e-11)
    np.testing.assert_allclose(stepwise.mean(), whole.mean(), atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_scores_are_exactly_zero_where_clean_and_corrupted_are_the_same(kind, method):
    model = random_language_model("llama", kind)
    examples, schedule = uneven_examples(kind)
    same = replace(
        examples[1],
        corrupted_prefix_ids=examples[1].prefix_ids,
        corrupted_suffix_ids=examples[1].suffix_ids,
    )
    canvases = build_canvases(model, [examples[0], same, *examples[2:]], schedule)
    scores = method(model, canvases, metric="logit_diff")
    assert not scores.values[1].any() and not scores.completeness_gap[1].any()
    assert np.abs(scores.values[[0, 2]]).max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_causal_models_scores_depend_on_nothing_to_the_right_and_a_full_ones_do(method):
    for attention, depends in (("causal", False), ("full", True)):
        model = random_language_model("llama", "mdm", attention=attention, dtype=torch.float64)
        (example,) = random_examples(1, kind="mdm", suffix_length=2)
        other = replace(
            example,
            suffix_ids=example.suffix_ids[::-1],
            corrupted_suffix_ids=example.corrupted_suffix_ids[::-1],
        )
        assert other != example
        one, two = (
            method(
                model, build_canvases(model, [e], left_to_right([2])), metric="logit_diff"
            ).values
            for e in (example, other)
        )
        assert (np.abs(one - two).max() > 1e-3 * np.abs(one).max()) == depends
        assert depends or np.abs(one - two).max() < 1e-12 * np.abs(one).max()


def test_an_arms_step_depends_on_no_later_token_of_the_target():
    model = random_language_model("qwen2", "arm", dtype=torch.float64)
    (example,) = random_examples(1, num_targets=3)
    first, middle, last = example.target_ids
    other = replace(example, target_ids=(first, middle - 1 if middle > 5 else middle + 1, last))
    one, two = (
        eap_ig(model, build_canvases(model, [e], left_to_right([3])), metric="log_prob")
        for e in (example, other)
    )
    np.testing.assert_allclose(one.values[:, 0], two.values[:, 0], atol=1e-12)
    np.testing.assert_allclose(one.clean_metric[:, 0], two.clean_metric[:, 0], atol=1e-12)
    assert np.abs(one.values[:, 2] - two.values[:, 2]).max() > 1e-3  # it reads the other token


@pytest.mark.parametrize("method", METHODS)
def test_the_caller_may_have_gradients_off_and_parameters_may_require_them(method):
    model = random_language_model("llama", "arm", dtype=torch.float64)
    canvases = uneven_canvases(model)[:2]
    expected = method(model, canvases, metric="logit_diff")
    with torch.no_grad():
        assert_equal_scores(method(model, canvases, metric="logit_diff"), expected)
    model.module.requires_grad_(True)
    assert_equal_scores(method(model, canvases, metric="logit_diff"), expected)
    assert all(parameter.grad is None for parameter in model.module.parameters())


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_scores_of_a_bfloat16_model_are_summed_in_float32(architecture):
    """Against a float32 model of the same weights, Pearson was at least 0.9999."""
    for kind in ("arm", "mdm"):
        model = random_language_model(architecture, kind, dtype=torch.bfloat16, gain=0.7)
        canvases = uneven_canvases(model)
        rounded = eap_ig(model, canvases, metric="logit_diff").values
        model.module.float()
        single = eap_ig(model, canvases, metric="logit_diff").values
        assert rounded.dtype == single.dtype == np.float32
        assert np.corrcoef(rounded.ravel(), single.ravel())[0, 1] > 0.999


def test_progress_is_told_how_many_canvases_each_batch_finished():
    model = random_language_model("llama", "mdm")
    canvases = uneven_canvases(model)
    told = []
    eap_ig(model, canvases, metric="logit_diff", batch_size=4, progress=told.append)
    assert len(canvases) == 7 and told == [4, 3]


@pytest.mark.parametrize(
    ("architecture", "method", "break_at"),
    [
        ("qwen2", eap_ig, "model.layers.1.mlp"),
        ("qwen2", eap_ig, "model.layers.1.input_layernorm"),
        ("qwen2", eap_ig, "model.layers.1.self_attn.q_proj"),
        ("qwen2", exact_edge_scores, "model.layers.1.mlp"),
        ("gpt2", eap_ig, "transformer.h.1.attn.c_attn"),
        ("gpt2", exact_edge_scores, "transformer.h.1.ln_2"),
    ],
)
def test_nothing_is_left_on_the_model_also_after_an_error(
    architecture, method, break_at, monkeypatch
):
    model = random_language_model(architecture, "mdm")
    canvases = uneven_canvases(model)[3:4]
    before = footprint(model.module)
    scores = method(model, canvases, metric="logit_diff")
    assert footprint(model.module) == before

    def fail(*_args):
        raise RuntimeError("broken")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="broken"):
        patch.setattr(model.module.get_submodule(break_at), "forward", fail)
        method(model, canvases, metric="logit_diff")
    assert footprint(model.module) == before
    np.testing.assert_array_equal(
        method(model, canvases, metric="logit_diff").values, scores.values
    )


def footprint(module):
    """Everything that an intervention may leave behind."""
    return [
        (
            name,
            sorted(vars(part)),
            list(part._forward_hooks),
            list(part._forward_pre_hooks),
            getattr(part, "num_key_value_groups", None),
            getattr(part, "split_size", None),
        )
        for name, part in module.named_modules()
    ]
