"""Every position of a canvas is in one span, and target tokens are told apart by their state."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.denoising import (
    EncodedExample,
    SpanLayout,
    batch_canvases,
    build_canvases,
    position_spans,
    readers,
    schedule_from_orders,
    span_names,
)
from mechshift.errors import DenoisingError


@pytest.fixture
def example():
    """Four tokens, three targets and two more; "who" lies inside "clause"."""
    return EncodedExample(
        id="0",
        task="spans",
        prefix_ids=(1, 2, 3, 4),
        target_ids=(5, 6, 7),
        suffix_ids=(8, 9),
        corrupted_prefix_ids=(2, 2, 3, 4),
        corrupted_suffix_ids=(8, 9),
        distractor_ids=(6, 7, 8),
        spans={"clause": (1, 5), "who": (2, 3), "end": (8, 9)},
    )


def spans_by_step(model, example, order, num_steps=None):
    """{step: names along the canvas} when targets are committed in this order."""
    canvases = build_canvases(model, [example], schedule_from_orders([order], num_steps))
    names = span_names([example])
    found = {}
    for canvas in canvases:
        spans = position_spans(canvas, example, names)
        for readout in canvas.readouts:
            found[readout.step] = [names[index] for index in spans[readout.slot]]
    return found


def test_an_mdms_targets_change_state_from_step_to_step(random_model, example):
    found = spans_by_step(random_model("mdm"), example, [1, 2, 0])
    before, after = ["rest", "clause", "who", "clause"], ["rest", "end"]
    assert found == {
        0: [*before, "later", "scored", "later", *after],
        1: [*before, "later", "committed", "scored", *after],
        2: [*before, "scored", "committed", "committed", *after],
    }


def test_tokens_committed_together_are_scored_together(random_model, example):
    found = spans_by_step(random_model("mdm"), example, [0, 2, 1], num_steps=2)
    assert [names[4:7] for names in found.values()] == [
        ["scored", "later", "scored"],
        ["committed", "scored", "committed"],
    ]


def test_an_arms_targets_are_named_after_the_step_and_its_last_is_on_no_canvas(
    random_model, example
):
    example = replace(
        example, suffix_ids=(), corrupted_suffix_ids=(), spans={"clause": (1, 5), "who": (2, 3)}
    )
    found = spans_by_step(random_model("arm"), example, [1, 2, 0])
    before = ["rest", "clause", "who", "clause"]
    assert found == {
        0: [*before, "later", "scored"],
        1: [*before, "later", "committed"],
        2: [*before, "scored", "committed"],
    }


def test_of_equally_long_spans_the_first_by_name_takes_the_token(random_model, example):
    for order in (["b", "a", "c"], ["c", "b", "a"]):
        places = {"a": (1, 3), "b": (2, 4), "c": (1, 3)}
        example = replace(example, spans={name: places[name] for name in order})
        found = spans_by_step(random_model("mdm"), example, [0, 1, 2])
        assert found[0][:4] == ["rest", "a", "a", "b"]


def test_names_come_in_the_order_of_the_text_before_the_general_ones(example):
    """Mean starts: "what" 0, "clause" 1, "who" (2 + 6) / 2, "end" 8."""
    other = replace(example, spans={"who": (6, 7), "what": (0, 2)})
    assert span_names([example, other]) == (
        *("what", "clause", "who", "end"),
        *("committed", "scored", "later", "rest"),
    )


def test_a_batch_marks_spans_and_readers_beside_its_padding(random_model, example):
    model = random_model("mdm", shift=True)
    short = replace(
        example,
        prefix_ids=(1, 2),
        corrupted_prefix_ids=(2, 2),
        target_ids=(5,),
        distractor_ids=(6,),
        spans={"who": (1, 2)},
    )
    examples = [example, short]
    canvases = build_canvases(model, examples, schedule_from_orders([[0, 1, 2], [0]], None))
    (batch,) = batch_canvases(model, canvases, 9)
    layout = SpanLayout(canvases, examples)
    membership = layout.membership(batch, torch.float64)
    assert membership.shape == (1, 4, 9, len(layout.names))
    reading = readers(batch, torch.float64)
    for row, (pool_row, step) in enumerate(zip(batch.example, batch.step[:, 0], strict=True)):
        if pool_row == 1:
            assert not membership[0, row, :4].any()
            named = [layout.names[at] for at in membership[0, row, 4:].argmax(dim=-1)]
            assert named == ["rest", "who", "scored", "rest", "rest"]
            assert reading[0, row].nonzero().flatten().tolist() == [5]
        else:
            scored = membership[0, row, :, layout.names.index("scored")]
            assert scored.nonzero().flatten().tolist() == [4 + step]
            assert reading[0, row].nonzero().flatten().tolist() == [3 + step]
        tokens = batch.attention_mask[row].double()
        assert torch.equal(membership[0, row].sum(dim=-1), tokens)


def test_slots_that_a_row_lacks_have_no_spans(random_model, example):
    model = random_model("arm")
    example = replace(example, suffix_ids=(), corrupted_suffix_ids=(), spans={})
    short = replace(example, target_ids=(5,), distractor_ids=(6,))
    canvases = build_canvases(model, [example, short], schedule_from_orders([[0, 1, 2], [0]], None))
    (batch,) = batch_canvases(model, canvases, 9)
    membership = SpanLayout(canvases, [example, short]).membership(batch, torch.float32)
    num_tokens = membership.sum(dim=(2, 3)).numpy()
    row = {example: at for at, example in enumerate(batch.example)}
    np.testing.assert_array_equal(num_tokens[:, row[0]], [6, 6, 6])
    np.testing.assert_array_equal(num_tokens[:, row[1]], [4, 0, 0])


def test_a_name_that_is_kept_for_a_state_is_refused(example):
    with pytest.raises(DenoisingError, match="a span 'scored', which is kept for the state"):
        span_names([replace(example, spans={"scored": (0, 1)})])


def test_a_canvas_of_an_example_that_was_not_given_is_refused(random_model, example):
    model = random_model("mdm")
    canvases = build_canvases(
        model, [example, example], schedule_from_orders([[0, 1, 2]] * 2, None)
    )
    with pytest.raises(DenoisingError, match="pool row 1, and 1 examples were given; give all"):
        SpanLayout(canvases, [example])
