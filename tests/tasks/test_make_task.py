"""Tasks that are made in Python: the same tasks as files with the same lines."""

import json
import pickle
import re

import pytest

from mechshift.errors import TaskError
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import load_task, load_task_file, load_tasks, make_task

NAMES = ("Mary", "John", "Tom", "James", "Robert", "Michael", "William", "David")
EXAMPLES = [
    {
        "prompt": f"When {first} and {second} went to the store, {second} gave a drink to",
        "target": f" {first}",
        "distractor": f" {second}",
        "corrupted_prompt": f"When {first} and {second} went to the store, {first} gave a drink to",
        "template": "store",
        "spans": {"IO": first},
    }
    for first, second in zip(NAMES, NAMES[1:], strict=False)
]


def test_a_task_from_python_is_that_of_a_file_with_the_same_lines(tmp_path):
    path = tmp_path / "giving.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in EXAMPLES), encoding="utf-8")
    made, read = make_task("giving", EXAMPLES), load_task_file(path)
    assert made.examples == read.examples
    assert made.sha256 == read.sha256
    assert (made.name, made.metric, made.templates) == (read.name, read.metric, read.templates)
    assert made.path is None
    assert made.summary == "7 examples of 'giving'"


def test_records_of_another_task_keep_all_but_its_own_facts():
    records = load_task("ioi").generate(
        tiny_tokenizer(), split="discovery", num_examples=30, seed=0
    )
    made = make_task("some-ioi", records)
    for given, (_, _, kept) in zip(records, made.examples, strict=True):
        assert kept.facts == {}
        assert kept.task == "some-ioi"
        for name in ("id", "prompt", "target", "distractor", "corrupted_prompt", "spans"):
            assert getattr(kept, name) == getattr(given, name)
        assert (kept.cluster, kept.template) == (given.cluster, given.template)
    both = {split for _, split, _ in made.examples}
    assert both == {"discovery", "held-out"}


def test_a_task_that_was_made_stands_beside_named_ones_and_goes_to_other_processes():
    made = make_task("giving", EXAMPLES)
    assert load_tasks(["ioi", made]) == (load_task("ioi"), made)
    made.check(tiny_tokenizer())
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "giving holds no examples; give it some"),
        ([*EXAMPLES[:1], {"prompt": "Mary"}], "giving, line 2: .*target"),
        ([{**EXAMPLES[0], "clustr": "x"}], "giving, line 1: .*clustr"),
        ([EXAMPLES[0], EXAMPLES[0]], "giving, line 2: its text and target are those of line 1"),
        ([{**EXAMPLES[0], "prompt": object()}], "an example of a task is a dictionary of texts"),
    ],
)
def test_a_bad_example_is_named_by_its_place(examples, message):
    with pytest.raises(TaskError, match=message):
        make_task("giving", examples)


def test_names_that_cannot_be_folders_or_are_taken_are_refused():
    for name in ("../up", "x" * 101, ".hid", "a b", "\udcff", "\n", ""):
        with pytest.raises(
            TaskError, match=f"a task cannot be called {re.escape(repr(name)[:50])}"
        ):
            make_task(name, EXAMPLES)
    with pytest.raises(TaskError, match="called 'ioi', as one that mechshift knows"):
        load_tasks([make_task("ioi", EXAMPLES)])
