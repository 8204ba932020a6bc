import json

import numpy as np
import pytest

from mechshift.models import PAIRS, local_tokenizer
from mechshift.run.planning.lengths import (
    NUM_SAMPLED,
    ExampleLengths,
    stand_in_tokenizer,
    task_lengths,
)
from mechshift.run.store import KINDS
from mechshift.tasks import TASKS, encode_example, find_task


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
        prefix=np.array([5, 7]), target=np.array([1, 2]), suffix=np.array([0, 0])
    )
    assert lengths.repeated(5).prefix.tolist() == [5, 7, 5, 7, 5]
    assert lengths.repeated(1).target.tolist() == [1]
