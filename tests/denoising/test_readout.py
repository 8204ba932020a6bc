import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.denoising import (
    Contrast,
    Schedule,
    batch_canvases,
    build_canvases,
    clean_reference,
    left_to_right,
    random_order,
    readout_logits,
    score_readouts,
)
from mechshift.errors import DenoisingError
from mechshift.testing import ARCHITECTURES


def scores_by_step(model, examples, schedule, batch_size, metric="logit_diff"):
    """Metric of every example and step, from batches of the given size."""
    values = np.zeros((len(examples), schedule.num_steps))
    canvases = build_canvases(model, examples, schedule)
    for batch in batch_canvases(model, canvases, batch_size):
        hidden = model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
        scores = score_readouts(metric, readout_logits(model, hidden, batch), batch)
        row, slot = np.nonzero(batch.step >= 0)
        values[batch.example[row], batch.step[row, slot]] = scores[row, slot].numpy()
    return values


def random_examples(example, lengths, *, suffix=0, seed=0):
    rng = np.random.default_rng(seed)

    def draw(count):
        return tuple(int(i) for i in rng.integers(0, 12, count))

    return [
        example(
            prefix=draw(prefix),
            target=draw(target),
            suffix=draw(suffix),
            distractor_ids=draw(target),
        )
        for prefix, target in lengths
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_arm_scores_are_those_of_the_hugging_face_logits(architecture, random_model, example):
    model = random_model("arm", architecture)
    (encoded,) = random_examples(example, [(4, 3)])
    logits = model.module(torch.tensor([encoded.prefix_ids + encoded.target_ids])).logits[0]
    expected = [
        float(logits[3 + t, encoded.target_ids[t]] - logits[3 + t, encoded.distractor_ids[t]])
        for t in range(3)
    ]
    scores = scores_by_step(model, [encoded], left_to_right([3]), 1)
    np.testing.assert_allclose(scores, [expected], atol=1e-6)


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_mdm_scores_are_those_of_the_hugging_face_logits(
    architecture, shift, random_model, example
):
    model = random_model("mdm", architecture, shift=shift)
    (encoded,) = random_examples(example, [(3, 2)], suffix=2)
    schedule = Schedule(commit_step=np.array([[1, 0]]))
    prefix, (t0, t1), suffix = encoded.prefix_ids, encoded.target_ids, encoded.suffix_ids
    first = model.module(torch.tensor([prefix + (12, 12) + suffix])).logits[0]
    second = model.module(torch.tensor([prefix + (12, t1) + suffix])).logits[0]
    d0, d1 = encoded.distractor_ids
    expected = [
        float(first[4 - shift, t1] - first[4 - shift, d1]),
        float(second[3 - shift, t0] - second[3 - shift, d0]),
    ]
    scores = scores_by_step(model, [encoded], schedule, 1)
    np.testing.assert_allclose(scores, [expected], atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize("metric", ["logit_diff", "log_prob"])
def test_left_padding_and_batching_do_not_change_a_score(
    architecture, kind, metric, random_model, example, exact_norms
):
    model = random_model(kind, architecture)
    lengths = [(2, 1), (7, 3), (4, 2), (1, 4), (5, 3)]
    examples = random_examples(example, lengths, suffix=2 if kind == "mdm" else 0)
    schedule = random_order([target for _, target in lengths], 3, seed=0)
    single = scores_by_step(model, examples, schedule, 1, metric)
    for batch_size in (2, 3, 50):
        batched = scores_by_step(model, examples, schedule, batch_size, metric)
        np.testing.assert_allclose(batched, single, rtol=0, atol=1e-11)


def test_a_step_that_commits_several_tokens_scores_their_sum(random_model, example):
    model = random_model("arm")
    examples = random_examples(example, [(3, 4)])
    apart = scores_by_step(model, examples, left_to_right([4]), 1)
    together = scores_by_step(model, examples, left_to_right([4], 2), 1)
    np.testing.assert_allclose(together, [[apart[0, :2].sum(), apart[0, 2:].sum()]])


def test_slots_that_a_row_does_not_have_score_zero(random_model, example):
    model = random_model("arm")
    examples = random_examples(example, [(2, 1), (2, 3)])
    canvases = build_canvases(model, examples, left_to_right([1, 3]))
    (batch,) = batch_canvases(model, canvases, 2)
    logits = torch.randn(4, 13, dtype=torch.float64)
    scores = score_readouts("logit_diff", logits, batch)
    assert scores.shape == (2, 3)
    assert scores[0, 1:].tolist() == [0.0, 0.0]
    assert (scores[0, 0] != 0) and (scores[1] != 0).all()


def test_prob_diff_uses_each_tokens_own_contrast(table_model, example):
    # Every token is followed by a uniform distribution over 4 tokens.
    model = table_model(torch.zeros(4, 4), "arm")
    encoded = example(
        prefix=(1,),
        target=(0, 2),
        distractor_ids=(1, 1),
        contrasts=(
            Contrast(positive=(0, 1), negative=(2,)),
            Contrast(positive=(2,), negative=(0, 1, 3)),
        ),
    )
    scores = scores_by_step(model, [encoded], left_to_right([2]), 1, "prob_diff")
    np.testing.assert_allclose(scores, [[0.25, -0.5]])


def test_kl_sums_the_divergence_from_the_clean_run_over_a_steps_tokens(table_model, example):
    # After token 0 the next is token 0 for 3 in 4, after token 1 or 2 for 1 in 2.
    model = table_model(torch.tensor([[math.log(3.0), 0, -99], [0, 0, -99], [0, 0, -99]]), "arm")
    encoded = example(
        prefix=(2, 0), corrupted_prefix_ids=(2, 1), target=(1, 0), distractor_ids=(0, 1)
    )
    (batch,) = batch_canvases(model, build_canvases(model, [encoded], left_to_right([2], 1)), 1)
    clean = clean_reference("kl", model, batch)
    hidden = model.hidden(batch.corrupted_ids, batch.attention_mask, batch.position_ids)
    corrupted = readout_logits(model, hidden, batch)
    # The second token is predicted from the teacher's token 1 in both runs: no divergence.
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert score_readouts("kl", clean, batch, clean).tolist() == [[0.0]]
    assert score_readouts("kl", corrupted, batch, clean).item() == pytest.approx(
        -expected, rel=1e-4
    )


@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff", "log_prob"])
def test_other_metrics_ask_for_no_clean_run(metric, random_model, example, monkeypatch):
    model = random_model("arm")
    (batch,) = batch_canvases(model, build_canvases(model, [example()], left_to_right([2])), 1)
    monkeypatch.setattr(model.parts.decoder, "forward", None)
    assert clean_reference(metric, model, batch) is None


def test_log_probs_of_all_targets_of_two_tokens_sum_to_one(random_model, example):
    model = replace(random_model("arm"), mask_token_id=None)
    # Every pair of tokens as the target of the same prompt; a step commits both.
    examples = [example(target=pair) for pair in itertools.product(range(13), repeat=2)]
    schedule = left_to_right([2] * len(examples), 1)
    scores = scores_by_step(model, examples, schedule, 64, "log_prob")
    assert np.exp(scores[:, 0]).sum() == pytest.approx(1.0, abs=1e-6)


def test_scores_are_differentiable_to_the_hidden_states(random_model, example):
    model = random_model("mdm")
    examples = random_examples(example, [(3, 2)])
    (batch,) = batch_canvases(model, build_canvases(model, examples, left_to_right([2], 1)), 1)
    hidden = torch.randn(1, 5, 16, dtype=torch.float64, requires_grad=True)
    score = score_readouts("logit_diff", readout_logits(model, hidden, batch), batch).sum()
    (gradient,) = torch.autograd.grad(score, hidden)
    weight = model.parts.unembedding.weight
    expected = torch.zeros_like(hidden)
    for position, target, distractor in zip(
        (2, 3), examples[0].target_ids, examples[0].distractor_ids, strict=True
    ):
        expected[0, position] = weight[target] - weight[distractor]
    torch.testing.assert_close(gradient, expected)


def test_unknown_metrics_and_missing_contrasts_are_refused(random_model, example):
    model = random_model("arm")
    canvases = build_canvases(model, [example()], left_to_right([2]))
    (batch,) = batch_canvases(model, canvases, 1)
    logits = torch.zeros(2, 13)
    known = "logit_diff, prob_diff, log_prob, kl"
    with pytest.raises(DenoisingError, match=f"unknown metric 'accuracy'; known: {known}"):
        score_readouts("accuracy", logits, batch)
    with pytest.raises(DenoisingError, match="'prob_diff' needs right and wrong tokens"):
        score_readouts("prob_diff", logits, batch)
    with pytest.raises(DenoisingError, match="'kl' compares with the clean run and was not given"):
        score_readouts("kl", logits, batch)
