"""The batches that are planned are those that the stages make, pass by pass."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import chunk_canvases
from mechshift.denoising import SAMPLERS, batch_canvases, build_canvases, decode
from mechshift.run.planning.batches import (
    Batch,
    Pass,
    canvas_batches,
    commits,
    decoding_passes,
)
from mechshift.run.planning.lengths import ExampleLengths
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
    rows = [(len(e.prefix_ids), len(e.target_ids), len(e.suffix_ids)) for e in examples]
    prefix, target, suffix = np.array(rows, dtype=np.int64).T
    return ExampleLengths(prefix=prefix, target=target, suffix=suffix)


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
            CONFIDENT,
            num_steps,
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
    planned = list(decoding_passes(lengths_of(examples), kind, SAMPLERS[order], 3, batch_size=4))
    assert [(call.rows, call.positions) for call in planned] == count.sizes


def test_decoding_without_a_limit_takes_a_pass_for_each_token_of_the_longest_target():
    lengths = ExampleLengths(
        prefix=np.array([5, 7]), target=np.array([3, 3]), suffix=np.array([2, 0])
    )
    arm = list(decoding_passes(lengths, "arm", CONFIDENT, None, batch_size=2))
    # The prompts at once, then one token beside 7 and 8 keys and values.
    assert arm == [
        Pass(rows=2, positions=7, keys=7, readouts=2),
        Pass(rows=2, positions=1, keys=8, readouts=2),
        Pass(rows=2, positions=1, keys=9, readouts=2),
    ]
    mdm = list(decoding_passes(lengths, "mdm", CONFIDENT, None, batch_size=2))
    # Logits are made for the positions that are still masked: 3, 2, 1 of each.
    assert [(call.positions, call.readouts) for call in mdm] == [(10, 6), (10, 4), (10, 2)]


def test_the_commits_of_a_sampler_add_up_to_the_target():
    for name, sampler in SAMPLERS.items():
        assert sum(commits(sampler, 6, 6)) == 6, name
    assert commits(CONFIDENT, 7, 3) == (3, 2, 2)
    assert commits(SAMPLERS["mdlm"], 3, 5) == (1, 1, 1)
