"""What semantics is tested on: batches of random models, padded, of several steps."""

import pytest

from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples


@pytest.fixture
def canvases_of():
    """A function: model -> all canvases of a few random examples of different lengths."""

    def make(model, num_examples=4, num_targets=3, num_steps=2):
        examples = random_examples(
            num_examples, kind=model.kind, num_targets=num_targets, suffix_length=2
        )
        schedule = left_to_right([num_targets] * num_examples, num_steps)
        return build_canvases(model, examples, schedule)

    return make


@pytest.fixture
def batch_of(canvases_of):
    """A function: model -> one padded batch of all these canvases."""

    def make(model, **options):
        canvases = canvases_of(model, **options)
        (batch,) = batch_canvases(model, canvases, len(canvases))
        assert not batch.attention_mask.all()
        return batch

    return make


@pytest.fixture
def stock_output():
    """A function: what the Hugging Face class itself returns on a batch's clean canvases."""

    def run(model, batch, **options):
        return model.module(
            input_ids=batch.clean_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            **options,
        )

    return run
