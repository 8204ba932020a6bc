"""Padding on either side, and any amount of it, changes no score.

`batch_canvases` pads on the left and only as far as it must, so the other layouts are made here
from its batches and put in its place.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.attribution import eap_ig
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples, random_language_model

NUM_TARGETS = (3, 1, 2, 2)
MODELS = [
    (architecture, kind, attention)
    for architecture in ("llama", "gpt2", "qwen2")
    for kind, attention in (
        ("arm", "causal"),
        ("mdm", "full"),
        ("mdm", "block-causal"),
        ("mdm", "observed-first"),
        ("mdm", "causal-prefix"),
    )
]


def canvases_of(model):
    """Of examples with different prefixes, targets and numbers of steps."""
    drawn = [
        random_examples(len(NUM_TARGETS), kind=model.kind, num_targets=n, suffix_length=2)[row]
        for row, n in enumerate(NUM_TARGETS)
    ]
    return build_canvases(model, drawn, left_to_right(NUM_TARGETS))


def padded_to(length, batch, side):
    """The same rows with all of their padding on one side."""
    tokens = batch.attention_mask.bool()
    before = torch.argmax(batch.attention_mask, dim=1)
    empty = length - tokens.sum(dim=1)
    start = {"left": empty, "right": torch.zeros_like(empty)}[side]

    def place(tensor):
        placed = tensor.new_zeros(len(tensor), length)
        for row, at in enumerate(start.tolist()):
            kept = tensor[row, tokens[row]]
            placed[row, at : at + len(kept)] = kept
        return placed

    return replace(
        batch,
        clean_ids=place(batch.clean_ids),
        corrupted_ids=place(batch.corrupted_ids),
        attention_mask=place(batch.attention_mask),
        position_ids=place(batch.position_ids),
        readout_position=batch.readout_position + (start - before)[batch.readout_row],
    )


def test_padding_is_moved_by_hand():
    model = random_language_model("llama", "arm")
    examples = random_examples(2, prefix_lengths=(2, 4), num_targets=1)
    canvases = build_canvases(model, examples, left_to_right([1, 1]))
    (batch,) = batch_canvases(model, canvases, 2)
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    right, left = (padded_to(5, batch, side) for side in ("right", "left"))
    assert right.attention_mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert right.position_ids.tolist() == [[0, 1, 0, 0, 0], [0, 1, 2, 3, 0]]
    assert right.clean_ids.tolist() == [
        [*examples[0].prefix_ids, 0, 0, 0],
        [*examples[1].prefix_ids, 0],
    ]
    assert right.readout_position.tolist() == [1, 3]
    assert left.attention_mask.tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]
    assert left.readout_position.tolist() == [4, 4]


@pytest.mark.parametrize(("architecture", "kind", "attention"), MODELS)
def test_padding_on_either_side_changes_no_score(architecture, kind, attention, monkeypatch):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    canvases = canvases_of(model)
    alone = eap_ig(model, canvases, metric="logit_diff", ig_steps=2, batch_size=1)
    scale = np.abs(alone.values).max()
    assert scale > 0.1

    def assert_same(scores):
        np.testing.assert_allclose(scores.values, alone.values, rtol=1e-9, atol=1e-12 * scale)
        for name in ("clean_metric", "corrupted_metric"):
            np.testing.assert_allclose(getattr(scores, name), getattr(alone, name), rtol=1e-9)

    assert_same(eap_ig(model, canvases, metric="logit_diff", ig_steps=2, batch_size=16))
    for side in ("left", "right"):

        def batches(model, canvases, batch_size, side=side):
            made = batch_canvases(model, canvases, batch_size)
            longest = max(batch.clean_ids.shape[1] for batch in made)
            return [padded_to(longest + 3, batch, side) for batch in made]

        with monkeypatch.context() as patch:
            patch.setattr("mechshift.attribution.collecting.batch_canvases", batches)
            assert_same(eap_ig(model, canvases, metric="logit_diff", ig_steps=2, batch_size=3))
