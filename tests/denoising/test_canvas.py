import numpy as np
import pytest
import torch

from mechshift.denoising import (
    Contrast,
    Schedule,
    batch_canvases,
    build_canvases,
    left_to_right,
)
from mechshift.errors import DenoisingError

MASK = 12


def schedule(*rows):
    return Schedule(commit_step=np.array(rows))


def layout(canvas):
    """(step, slot, position, target position, target, distractor) of each readout."""
    return [
        (r.step, r.slot, r.position, r.target_position, r.target_id, r.distractor_id)
        for r in canvas.readouts
    ]


def test_a_shifted_mdm_reads_one_position_to_the_left(random_model, example):
    # Target 5 6 7 after prefix 1 2; the middle token first, then the outer two together.
    encoded = example(prefix=(1, 2), target=(5, 6, 7))
    first, second = build_canvases(random_model(), [encoded], schedule([1, 0, 1]))
    assert first.clean_ids == (1, 2, MASK, MASK, MASK)
    assert first.corrupted_ids == (2, 3, MASK, MASK, MASK)
    assert layout(first) == [(0, 0, 2, 1, 6, 7)]
    assert second.clean_ids == (1, 2, MASK, 6, MASK)
    assert second.corrupted_ids == (2, 3, MASK, 6, MASK)
    assert layout(second) == [(1, 0, 1, 0, 5, 6), (1, 0, 3, 2, 7, 8)]


def test_an_unshifted_mdm_reads_in_place(random_model, example):
    encoded = example(prefix=(1, 2), target=(5, 6, 7))
    first, second = build_canvases(random_model(shift=False), [encoded], schedule([1, 0, 1]))
    assert first.clean_ids == (1, 2, MASK, MASK, MASK)
    assert layout(first) == [(0, 0, 3, 1, 6, 7)]
    assert layout(second) == [(1, 0, 2, 0, 5, 6), (1, 0, 4, 2, 7, 8)]


def test_infilling_keeps_the_suffix_in_place_and_corrupts_it(random_model, example):
    encoded = example(prefix=(1,), target=(5, 6), suffix=(8, 9))
    first, second = build_canvases(random_model(), [encoded], schedule([1, 0]))
    assert first.clean_ids == (1, MASK, MASK, 8, 9)
    assert first.corrupted_ids == (2, MASK, MASK, 9, 10)
    assert layout(first) == [(0, 0, 1, 1, 6, 7)]
    assert second.clean_ids == (1, MASK, 6, 8, 9)
    assert second.corrupted_ids == (2, MASK, 6, 9, 10)
    assert layout(second) == [(1, 0, 0, 0, 5, 6)]


def test_an_arm_reads_one_teacher_forced_canvas_whose_slots_are_the_steps(random_model, example):
    encoded = example(prefix=(1, 2), target=(5, 6, 7))
    (canvas,) = build_canvases(random_model("arm"), [encoded], schedule([1, 0, 1]))
    assert canvas.clean_ids == (1, 2, 5, 6)
    assert canvas.corrupted_ids == (2, 3, 5, 6)
    assert layout(canvas) == [(1, 1, 1, 0, 5, 6), (0, 0, 2, 1, 6, 7), (1, 1, 3, 2, 7, 8)]


def test_an_unshifted_mdm_may_start_with_the_target(random_model, example):
    encoded = example(prefix=(), target=(5,), suffix=(8,))
    (canvas,) = build_canvases(random_model(shift=False), [encoded], schedule([0]))
    assert canvas.clean_ids == (MASK, 8)
    assert canvas.readouts[0].position == 0


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_a_shifted_model_needs_a_token_before_the_target(kind, random_model, example):
    encoded = example(prefix=(), target=(5,))
    with pytest.raises(DenoisingError, match="'e' of task 't' has nothing before its target"):
        build_canvases(random_model(kind), [encoded], schedule([0]))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("target", {"target": (5, MASK)}),
        ("prompt", {"prefix": (5, MASK)}),
        ("corrupted prompt", {"corrupted_prefix_ids": (1, MASK)}),
        ("suffix", {"suffix": (MASK,)}),
        ("corrupted suffix", {"suffix": (1,), "corrupted_suffix_ids": (MASK,)}),
    ],
)
def test_a_text_that_holds_the_mask_token_is_refused_with_its_place(
    part, changes, random_model, example
):
    message = f"the {part} of example 'e' of task 't' contains the mask token 12"
    with pytest.raises(DenoisingError, match=message):
        build_canvases(random_model(), [example(**changes)], left_to_right([2]))


def test_a_token_without_an_embedding_is_refused(random_model, example):
    with pytest.raises(DenoisingError, match="the token 13, and 'mdm' has 13 embeddings"):
        build_canvases(random_model(), [example(prefix=(13,))], left_to_right([2]))


def test_an_arm_refuses_what_it_cannot_see(random_model, example):
    with pytest.raises(DenoisingError, match="1 tokens after its target, which the ARM 'arm'"):
        build_canvases(random_model("arm"), [example(suffix=(1,))], left_to_right([2]))


def test_a_schedule_for_other_examples_is_refused(random_model, example):
    with pytest.raises(DenoisingError, match="schedule is for 2 examples, not 1"):
        build_canvases(random_model(), [example()], left_to_right([2, 2]))
    with pytest.raises(DenoisingError, match="commits 3 target tokens of example 'e', which has 2"):
        build_canvases(random_model(), [example()], left_to_right([3]))


def test_a_batch_is_padded_on_the_left(random_model, example):
    examples = [example(prefix=(1, 2, 3), target=(5, 6)), example(prefix=(4,), target=(7,))]
    model = random_model("arm")
    canvases = build_canvases(model, examples, left_to_right([2, 1]))
    (batch,) = batch_canvases(model, canvases, 8)
    assert batch.example.tolist() == [1, 0]
    assert batch.clean_ids.tolist() == [[0, 0, 0, 4], [1, 2, 3, 5]]
    assert batch.corrupted_ids.tolist() == [[0, 0, 0, 5], [2, 3, 4, 5]]
    assert batch.attention_mask.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]
    assert batch.position_ids.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3]]
    assert batch.step.tolist() == [[0, -1], [0, 1]]
    assert batch.readout_row.tolist() == [0, 1, 1]
    assert batch.readout_position.tolist() == [3, 2, 3]
    assert batch.readout_slot.tolist() == [0, 0, 1]
    assert batch.readout_target.tolist() == [0, 0, 1]
    assert batch.target_ids.tolist() == [7, 5, 6]
    assert batch.distractor_ids.tolist() == [8, 6, 7]
    assert batch.contrast is None
    assert (batch.num_rows, batch.num_slots) == (2, 2)


def test_mdm_rows_have_one_slot_that_knows_its_step(random_model, example):
    model = random_model()
    canvases = build_canvases(model, [example(), example()], left_to_right([2, 2]))
    (batch,) = batch_canvases(model, canvases, 8)
    assert batch.example.tolist() == [0, 0, 1, 1]
    assert batch.step.tolist() == [[0], [1], [0], [1]]


def test_batches_are_sorted_by_length_and_stable(random_model, example):
    model = random_model("arm")
    lengths = [3, 1, 2, 1, 3, 2, 1]
    examples = [example(prefix=(1,) * length, target=(5,)) for length in lengths]
    canvases = build_canvases(model, examples, left_to_right([1] * 7))
    batches = batch_canvases(model, canvases, 3)
    assert [batch.example.tolist() for batch in batches] == [[1, 3, 6], [2, 5, 0], [4]]


def test_contrasts_become_signs_over_the_vocabulary(random_model, example):
    contrasts = (
        Contrast(positive=(1, 2), negative=(3,)),
        Contrast(positive=(), negative=(0,)),
    )
    model = random_model("arm")
    canvases = build_canvases(model, [example(contrasts=contrasts)], left_to_right([2]))
    (batch,) = batch_canvases(model, canvases, 1)
    expected = torch.zeros(2, 13)
    expected[0, [1, 2]] = 1.0
    expected[0, 3] = expected[1, 0] = -1.0
    assert torch.equal(batch.contrast, expected)


def test_contrasts_for_some_examples_only_are_refused(random_model, example):
    contrasts = (Contrast(positive=(1,), negative=(2,)),) * 2
    model = random_model("arm")
    examples = [example(), example(contrasts=contrasts)]
    canvases = build_canvases(model, examples, left_to_right([2, 2]))
    with pytest.raises(DenoisingError, match="2 of 4 scored tokens of a batch have no contrast"):
        batch_canvases(model, canvases, 2)


def test_a_canvas_longer_than_the_learned_positions_is_refused(random_model, example):
    model = random_model(architecture="gpt2")
    assert model.parts.max_length == 64
    fits, too_long = (example(prefix=(1,) * (length - 2)) for length in (64, 65))
    canvases = build_canvases(model, [fits, too_long], left_to_right([2, 2], 1))
    (batch,) = batch_canvases(model, canvases[:1], 8)
    model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    message = r"of example 1 \(pool row\) has 65 tokens, and 'mdm' reads at most 64 .*; use sh"
    with pytest.raises(DenoisingError, match=message):
        batch_canvases(model, canvases, 8)
    # Rotary positions are computed, however many there are.
    assert len(batch_canvases(random_model(architecture="llama"), canvases, 8)) == 1


def test_a_batch_size_below_one_is_refused(random_model):
    with pytest.raises(DenoisingError, match="batch size is 0"):
        batch_canvases(random_model(), [], 0)
