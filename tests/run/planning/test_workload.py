"""The lengths and batches that are planned are those that the stages meet, pass by pass."""

import json
from dataclasses import replace

import pytest

from mechshift.attribution import chunk_canvases
from mechshift.denoising import batch_canvases, build_canvases, decode
from mechshift.models import PAIRS, local_tokenizer, pair_shape
from mechshift.run import AttributionSettings, PairOptions, RunSettings
from mechshift.run.folders import KINDS
from mechshift.run.planning.workload import (
    Lengths,
    example_lengths,
    models_on_tasks,
    run_members,
    sampled_examples,
    stand_in_tokenizer,
)
from mechshift.tasks import TASKS, PoolConfig, encode_example, load_task
from mechshift.testing import random_examples, random_language_model
from mechshift.testing.measuring import counted_passes


def examples_of_many_lengths(kind):
    parts = [
        random_examples(5, kind=kind, num_targets=targets, suffix_length=suffix, seed=targets)
        for targets, suffix in ((1, 0), (4, 3), (3, 1))
    ]
    found = [example for part in parts for example in part]
    return [replace(example, id=str(row)) for row, example in enumerate(found)]


@pytest.fixture
def planned(on_task):
    """A function: a model on these examples, decoded in so many steps."""

    def make(model, examples, **pool):
        lengths = [Lengths(*map(len, (e.prefix_ids, e.target_ids, e.suffix_ids))) for e in examples]
        settings = RunSettings(pool=PoolConfig(num_examples=len(examples), **pool))
        return replace(on_task(model), examples=tuple(lengths), settings=settings)

    return make


def sizes_of(batches):
    columns = (batches.rows, batches.positions, batches.slots, batches.readouts)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("num_steps", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_planned_batches_are_those_of_the_real_canvases(kind, num_steps, planned):
    model = random_language_model("qwen2", kind)
    mdm = random_language_model("qwen2", "mdm")
    examples = examples_of_many_lengths(kind)
    # Both models are scored by the schedule in which the MDM decodes.
    schedule = decode(mdm, examples, num_steps=num_steps).schedule
    canvases = build_canvases(model, examples, schedule)
    for chunk_size in (None, 4):
        chunks = [canvases] if chunk_size is None else chunk_canvases(canvases, chunk_size)
        real = [
            (b.num_rows, b.clean_ids.shape[1], b.num_slots, len(b.readout_row))
            for chunk in chunks
            for b in batch_canvases(model, chunk, 3)
        ]
        found = planned(model, examples, num_steps=num_steps).discovery(3, chunk_size)
        assert sizes_of(found) == real


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("arm", "confidence"),
        ("mdm", "confidence"),
        ("mdm", "llada-random"),
        ("mdm", "dream-entropy"),
    ],
)
def test_planned_decoding_is_the_real_one_pass_by_pass(kind, order, planned):
    model = random_language_model("qwen2", kind)
    examples = examples_of_many_lengths(kind)
    with counted_passes(model) as count:
        decode(model, examples, num_steps=3, order=order, batch_size=4)
    calls = planned(model, examples, num_steps=3, order=order).decoding(len(examples), 4)
    found = list(zip(calls.rows.tolist(), calls.positions.tolist(), strict=True))
    if order == "dream-entropy":  # commits unevenly, in no more steps that commit something
        assert len(found) >= len(count.sizes)
    else:
        assert found == count.sizes


def test_decoding_without_a_limit_takes_a_pass_for_each_token_of_the_longest_target(on_task):
    lengths = (Lengths(3, 3, 2), Lengths(7, 3, 0))
    arm, mdm = (
        replace(on_task(random_language_model("qwen2", kind)), examples=lengths) for kind in KINDS
    )
    calls = arm.decoding(2, 2)
    # The prompts at once, then one token beside 7 and 8 keys and values.
    assert sizes_of(calls) == [(2, 7, 1, 2), (2, 1, 1, 2), (2, 1, 1, 2)]
    assert calls.cached.tolist() == [0, 7, 8]
    assert calls.pairs.tolist() == [2 * 7 * 7, 2 * 8, 2 * 9]
    # Logits are made for the positions that are still masked: 3, 2, 1 of each.
    assert sizes_of(mdm.decoding(2, 2)) == [(2, 10, 1, 6), (2, 10, 1, 4), (2, 10, 1, 2)]


def lengths_of(task, tokenizer, kind):
    examples = sampled_examples(task, tokenizer)
    return [example_lengths(task, example, tokenizer, kind) for example in examples]


def test_with_a_tokenizer_lengths_are_those_of_the_encoded_examples():
    task, tokenizer = TASKS["infilling"], local_tokenizer(PAIRS["tiny"])
    for kind in KINDS:
        encoded = [
            encode_example(task, example, tokenizer, kind)
            for example in sampled_examples(task, tokenizer)
        ]
        expected = [(len(e.prefix_ids), len(e.target_ids), len(e.suffix_ids)) for e in encoded]
        assert lengths_of(task, tokenizer, kind) == expected
        assert (min(suffix for _, _, suffix in expected) > 0) == (kind == "mdm")


@pytest.mark.parametrize("name", ["ioi", "greater-than", "infilling", "countdown-3"])
def test_estimates_are_what_a_tokenizer_of_words_and_digits_counts(name):
    task = TASKS[name]
    for kind in KINDS:
        estimated = lengths_of(task, None, kind)
        assert estimated == lengths_of(task, stand_in_tokenizer(), kind)
        assert min(min(one.prefix, one.target) for one in estimated) > 0


def test_words_digits_and_marks_of_a_task_file_are_counted_by_hand(tmp_path):
    line = {
        "prompt": "In 1732, Mary",  # In, a space, 1 7 3 2 , Mary
        "corrupted_prompt": "In 1650, Mary",
        "target": " met Zbigniew",
        "distractor": " met Paul",
        "suffix": " again.",
        "corrupted_suffix": " again.",
        "causal_prompt": "Again. In 1732, Mary",
        "corrupted_causal_prompt": "Again. In 1650, Mary",
    }
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    task = load_task(str(path))
    assert lengths_of(task, None, "mdm") == [(8, 2, 2)]
    assert lengths_of(task, None, "arm") == [(10, 2, 0)]


def test_the_members_of_a_planned_run_are_those_that_are_loaded():
    pair, shapes = PairOptions().load("cpu", controls=True), pair_shape(PAIRS["tiny"])
    members = run_members(PAIRS["tiny"])
    assert [name for name, _, _ in members] == list(pair.members)
    assert [kind for _, kind, _ in members] == [model.kind for model in pair.members.values()]
    modules = {
        next(model.module.parameters()).untyped_storage().data_ptr(): model.module
        for model in pair.members.values()
    }
    loaded = sum(p.nbytes for module in modules.values() for p in module.parameters())
    settings = RunSettings(tasks=("ioi",), attribution=AttributionSettings(grouped=True))
    task, tokenizer = TASKS["ioi"], local_tokenizer(PAIRS["tiny"])
    examples = [(task, sampled_examples(task, tokenizer))]
    models = models_on_tasks(settings, PAIRS["tiny"], shapes, examples, tokenizer)
    assert {model.weights for model in models} == {loaded}
    assert models[0].graph == pair.arm.graph(grouped=True)


def test_members_follow_from_the_entry_of_a_pair():
    def names(entry, skip=()):
        return [name for name, _, _ in run_members(entry, skip)]

    assert names(PAIRS["tiny"], ("controls",)) == ["arm", "mdm"]
    # Without a shift neither model's weights can be read as the other's.
    assert names(PAIRS["a2d-qwen3-0.6b-mdlm"]) == ["arm", "mdm"]
    beside = replace(PAIRS["dream-7b"], siblings=(PAIRS["wedlm-7b"],))
    assert run_members(beside)[-1] == ("wedlm-7b", "mdm", "mdm")
    more = replace(PAIRS["tiny"], other_mdms=PAIRS["tiny"].other_mdms[:1] * 3)
    assert run_members(more)[-2:] == [
        ("mdm-other-seed-2", "mdm", "mdm"),
        ("mdm-other-seed-3", "mdm", "mdm"),
    ]
