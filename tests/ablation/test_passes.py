"""Answers of a task that counts several tokens as right, such as all later years."""

from dataclasses import replace

import torch

from mechshift.ablation.passes import ExampleSums, right_tokens
from mechshift.denoising import Contrast, batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples, random_language_model


def batch_of(model, contrasts):
    """Two examples of one target token each, in the order of the pool."""
    examples = [
        replace(example, target_ids=(5,), distractor_ids=(6,), contrasts=contrasts)
        for example in random_examples(2, kind=model.kind, num_targets=1)
    ]
    canvases = build_canvases(model, examples, left_to_right([1, 1]))
    (batch,) = batch_canvases(model, canvases, 2)
    return batch


def logits_for(model, *tokens):
    logits = torch.zeros(len(tokens), model.vocab_size)
    logits[range(len(tokens)), list(tokens)] = 1.0
    return logits


def answers(batch, model, *tokens):
    sums, logits = ExampleSums(2), logits_for(model, *tokens)
    sums.add(model, batch, "logit_diff", logits, logits)
    return sums.correct.tolist()


def test_any_right_token_of_a_contrast_is_right_and_no_other():
    model = random_language_model("llama", "arm")
    batch = batch_of(model, (Contrast(positive=(5, 7, 8), negative=(4, 6)),))
    assert right_tokens(batch, torch.tensor([7, 6])).tolist() == [True, False]
    assert answers(batch, model, 8, 9) == [True, False]
    assert answers(batch, model, 4, 5) == [False, True]


def test_the_target_is_right_even_where_a_contrast_leaves_it_out():
    """A first digit that repeats the start's is neither above nor below it."""
    model = random_language_model("llama", "arm")
    batch = batch_of(model, (Contrast(positive=(7,), negative=(4,)),))
    assert answers(batch, model, 5, 7) == [True, True]


def test_without_a_contrast_the_target_alone_is_right():
    model = random_language_model("llama", "arm")
    assert answers(batch_of(model, None), model, 5, 7) == [True, False]
