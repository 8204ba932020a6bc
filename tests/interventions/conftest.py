"""What interventions are tested on: a padded batch, and everything that they might leave behind."""

import pytest

from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples


@pytest.fixture
def padded_batch():
    """A function: model -> a batch of three canvases of different lengths."""

    def make(model):
        examples = random_examples(3, kind=model.kind, suffix_length=1)
        canvases = build_canvases(model, examples, left_to_right([2, 2, 2], 1))
        (batch,) = batch_canvases(model, canvases, 3)
        assert not batch.attention_mask.all()
        return batch

    return make


@pytest.fixture
def footprint():
    """A function: module -> everything that an intervention may leave on it."""

    def take(module):
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

    return take


@pytest.fixture
def hidden_of():
    """A function: model and batch -> hidden states of the clean ids at tokens, not at padding."""

    def run(model, batch):
        hidden = model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
        return hidden[batch.attention_mask.bool()]

    return run
