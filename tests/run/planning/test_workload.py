"""The lengths and batches that are planned are those that the stages meet, pass by pass."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import chunk_canvases
from mechshift.denoising import SAMPLERS, batch_canvases, build_canvases, decode
from mechshift.models import PAIRS, local_tokenizer
from mechshift.run.folders import KINDS
from mechshift.run.planning.workload import (
    NUM_SAMPLED,
    Batch,
    ExampleLengths,
    canvas_batches,
    commits,
    decoding_batches,
    stand_in_tokenizer,
    task_lengths,
)
from mechshift.tasks import TASKS, encode_example, find_task
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import counted_passes

CONFIDENT = SAMPLERS["confidence"]


def examples_of_many_lengths(kind):
    parts = [
        random_examples(5, kind=kind, num_targets=targets, suffix_length=suffix, seed=targets)
        for targets, suffix in ((1, 0), (4, 3), (3, 1))
    ]
    found = [example for part in parts for example in part]
    return [replace(example, id=str(row)) for row, example in enumerate(found)]


def lengths_of(examples):
    return [(len(e.prefix_ids), len(e.target_ids), len(e.suffix_ids)) for e in examples]


def sizes_of(batch):
    return Batch(
        rows=batch.num_rows,
        positions=batch.clean_ids.shape[1],
        slots=batch.num_slots,
        readouts=len(batch.readout_row),
    )


@pytest.mark.parametrize("num_steps", [None, 2])
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_planned_batches_are_those_of_the_real_canvases(kind, num_steps):
    model = random_language_model("qwen2", kind)
    mdm = random_language_model("qwen2", "mdm")
    examples = examples_of_many_lengths(kind)
    # Both models are scored by the schedule in which the MDM decodes.
    schedule = decode(mdm, examples, num_steps=num_steps).schedule
    canvases = build_canvases(model, examples, schedule)
    for chunk_size in (None, 4):
        chunks = [canvases] if chunk_size is None else chunk_canvases(canvases, chunk_size)
        real = [sizes_of(b) for chunk in chunks for b in batch_canvases(model, chunk, 3)]
        planned = canvas_batches(
            lengths_of(examples),
            kind,
            lambda target: commits(CONFIDENT, target, num_steps),
            batch_size=3,
            chunk_size=chunk_size,
        )
        assert list(planned) == real


@pytest.mark.parametrize(
    ("kind", "order"),
    [("arm", "confidence"), *(("mdm", order) for order in ("confidence", "dream-entropy"))],
)
def test_planned_decoding_is_the_real_one_pass_by_pass(kind, order):
    model = random_language_model("qwen2", kind)
    examples = examples_of_many_lengths(kind)
    with counted_passes(model) as count:
        decode(model, examples, num_steps=3, order=order, batch_size=4)
    planned = list(decoding_batches(lengths_of(examples), kind, SAMPLERS[order], 3, batch_size=4))
    assert [(call.rows, call.positions) for call in planned] == count.sizes


def test_decoding_without_a_limit_takes_a_pass_for_each_token_of_the_longest_target():
    lengths = [(5, 3, 2), (7, 3, 0)]
    arm = list(decoding_batches(lengths, "arm", CONFIDENT, None, batch_size=2))
    # The prompts at once, then one token beside 7 and 8 keys and values.
    assert arm == [
        Batch(rows=2, positions=7, readouts=2),
        Batch(rows=2, positions=1, cached=7, readouts=2),
        Batch(rows=2, positions=1, cached=8, readouts=2),
    ]
    mdm = list(decoding_batches(lengths, "mdm", CONFIDENT, None, batch_size=2))
    # Logits are made for the positions that are still masked: 3, 2, 1 of each.
    assert [(call.positions, call.readouts) for call in mdm] == [(10, 6), (10, 4), (10, 2)]


def test_the_commits_of_a_sampler_add_up_to_the_target():
    for name, sampler in SAMPLERS.items():
        assert sum(commits(sampler, 6, 6)) == 6, name
    assert commits(CONFIDENT, 7, 3) == (3, 2, 2)
    assert commits(SAMPLERS["mdlm"], 3, 5) == (1, 1, 1)


def test_with_a_tokenizer_lengths_are_those_of_the_encoded_examples():
    task, tokenizer = TASKS["infilling"], local_tokenizer(PAIRS["tiny"])
    examples = task.generate(tokenizer, split="train", num_examples=NUM_SAMPLED, seed=0)
    found = task_lengths(task, tokenizer, KINDS)
    for kind in KINDS:
        encoded = [encode_example(task, example, tokenizer, kind) for example in examples]
        assert found[kind].prefix.tolist() == [len(e.prefix_ids) for e in encoded]
        assert found[kind].target.tolist() == [len(e.target_ids) for e in encoded]
        assert found[kind].suffix.tolist() == [len(e.suffix_ids) for e in encoded]
    assert found["mdm"].suffix.min() > 0 == found["arm"].suffix.max()


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_estimated_without_a_tokenizer(name):
    found = task_lengths(TASKS[name], None, KINDS)
    assert found["arm"].target.tolist() == found["mdm"].target.tolist()
    assert min(found["arm"].prefix.min(), found["arm"].target.min()) > 0


@pytest.mark.parametrize("name", ["ioi", "greater-than", "infilling"])
def test_estimates_are_close_to_what_a_tokenizer_of_words_and_digits_counts(name):
    measured = task_lengths(TASKS[name], stand_in_tokenizer(), KINDS)
    estimated = task_lengths(TASKS[name], None, KINDS)
    for kind in KINDS:
        assert np.abs(measured[kind].prefix - estimated[kind].prefix).max() <= 1
        assert measured[kind].target.tolist() == estimated[kind].target.tolist()


def test_words_digits_and_marks_of_a_task_file_are_counted_by_hand(tmp_path):
    line = {
        "prompt": "In 1732, Mary",  # In, a space, 1 7 3 2 , Mary
        "corrupted_prompt": "In 1650, Mary",
        "target": " met John",
        "distractor": " met Paul",
        "suffix": " again.",
        "corrupted_suffix": " again.",
        "causal_prompt": "Again. In 1732, Mary",
        "corrupted_causal_prompt": "Again. In 1650, Mary",
    }
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    found = task_lengths(find_task(str(path)), None, KINDS)
    assert (found["mdm"].prefix[0], found["mdm"].target[0], found["mdm"].suffix[0]) == (8, 2, 2)
    assert (found["arm"].prefix[0], found["arm"].suffix[0]) == (10, 0)


def test_more_examples_than_were_looked_at_repeat_them_in_turn():
    lengths = ExampleLengths(
        prefix=np.array([5, 7]), target=np.array([1, 2]), suffix=np.array([0, 3])
    )
    assert lengths.repeated(3) == [(5, 1, 0), (7, 2, 3), (5, 1, 0)]
    assert lengths.repeated(1) == [(5, 1, 0)]
