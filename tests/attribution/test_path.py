from collections import Counter

import pytest
import torch

from mechshift.attribution import eap_ig
from mechshift.attribution.path import CLEAN, CORRUPTED, input_path, path_points
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples, random_language_model


def canvases_of(model):
    examples = random_examples(2, kind=model.kind, num_targets=1)
    return build_canvases(model, examples, left_to_right([1, 1]))


class Nothing:
    """Sums that keep nothing, but count what they are given."""

    def __init__(self):
        self.seen = Counter()

    def differentiated(self, record):
        return [record.final_input]

    def begin_point(self, record):
        self.seen["points"] += 1

    def add(self, slot, index, gradient):
        self.seen["gradients"] += 1


@pytest.mark.parametrize(("rule", "extra"), [("left", 1), ("right", 1), ("midpoint", 2)])
def test_an_end_that_is_a_point_is_run_once(rule, extra):
    model = random_language_model("llama")
    passes = []
    hook = model.module.model.register_forward_hook(lambda *_: passes.append(1))
    eap_ig(model, canvases_of(model), metric="logit_diff", rule=rule, ig_steps=3)
    hook.remove()
    assert len(passes) == 3 + extra


@pytest.mark.parametrize("rule", ["left", "right", "midpoint"])
def test_the_differences_are_known_when_the_first_point_is_done(rule):
    model = random_language_model("qwen2", dtype=torch.float64)
    (batch,) = batch_canvases(model, canvases_of(model), 2)
    embedding = model.parts.embedding
    expected = embedding(batch.corrupted_ids) - embedding(batch.clean_ids)
    sums, known = Nothing(), []
    with input_path(model, batch, "logit_diff", grouped=False) as path:

        def after_point():
            assert path.record.embedding.requires_grad  # the record is still the point's
            known.append(path.differences.embedding.clone())

        path.add_gradients(path_points(rule, 2), sums, after_point)
    assert sums.seen == {"points": 2, "gradients": 2}
    for differences in known:
        torch.testing.assert_close(differences, expected, rtol=0, atol=1e-12)


def test_differences_do_not_depend_on_which_end_is_run_first():
    model = random_language_model("gpt2", dtype=torch.float64)
    (batch,) = batch_canvases(model, canvases_of(model), 2)
    found = []
    for ends in ((CLEAN, CORRUPTED), (CORRUPTED, CLEAN)):
        with input_path(model, batch, "logit_diff", grouped=False) as path:
            for end in ends:
                path.run_end(end)
            found.append(path.differences)
    first, second = found
    for ours, theirs in zip(
        (first.embedding, *first.z, *first.mlp),
        (second.embedding, *second.z, *second.mlp),
        strict=True,
    ):
        assert ours.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
