import pytest
from tokenizers.models import WordLevel

from mechshift.errors import TaskError
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import TASKS, Countdown, check_templates, load_task, load_tasks


def test_every_known_task_is_found_by_its_own_name():
    assert all(load_task(name) is task and task.name == name for name, task in TASKS.items())


def test_tasks_are_found_in_the_order_asked_for():
    assert [task.name for task in load_tasks(["infilling", "ioi"])] == ["infilling", "ioi"]


def test_a_name_twice_is_refused():
    with pytest.raises(TaskError, match="the tasks ioi, infilling, ioi hold a name twice"):
        load_tasks(["ioi", "infilling", "ioi"])


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(TaskError, match="no task 'chess'; known are ioi, greater-than"):
        load_task("chess")


def test_a_file_that_is_called_as_a_known_task_is_refused():
    with pytest.raises(TaskError, match=r"the task file my/ioi\.jsonl is called as the task 'ioi'"):
        load_task("my/ioi.jsonl")


@pytest.mark.parametrize(
    "sizes", [{"operators": ""}, {"max_operand": 0}, {"num_shots": -1}, {"num_operands": 1}]
)
def test_an_impossible_countdown_is_refused(sizes):
    with pytest.raises(TaskError, match="countdown needs"):
        Countdown("c", **sizes)


def test_countdown_says_why_a_tokenizer_cannot_express_it():
    # The embedded pair knows no division and no line break.
    with pytest.raises(TaskError, match="'countdown-3' does not fit this tokenizer: .* not know"):
        load_task("countdown-3").generate(tiny_tokenizer(), split="train", num_examples=1, seed=0)


def test_every_built_in_task_has_ten_wordings_and_unknown_ones_are_refused():
    for task in TASKS.values():
        assert len(set(task.templates)) >= 10
    ioi, infilling = load_tasks(["ioi", "infilling"])
    check_templates((ioi, infilling), ["went", "found/use-first"])
    message = (
        "no task has the template 'gone'; they have ioi: went, .*; infilling: found/use-first, "
    )
    with pytest.raises(TaskError, match=message):
        check_templates((ioi, infilling), ["went", "gone"])


A_WORD_OF_ONE = {
    "ioi": ("since", "Ġalone"),
    "greater-than": ("spanned", "Ġspanned"),
    "countdown-small": ("target", "Target"),
    "infilling": ("saw/everyone", "ĠEveryone"),
}
"""Of each task a template and a word that no other template has, as the tokenizer spells it; of
infilling the templates with this ending."""


@pytest.mark.parametrize("name", A_WORD_OF_ONE)
def test_wordings_are_drawn_by_name_and_by_default_all_that_the_tokenizer_can_write(name):
    tokenizer, task = tiny_tokenizer(), TASKS[name]

    def drawn(*templates):
        examples = task.generate(
            tokenizer,
            split="train",
            num_examples=6 * len(task.templates),
            seed=0,
            templates=templates,
        )
        return {example.template for example in examples}

    assert drawn() == drawn("another task's") == set(task.templates)
    unwritten, word = A_WORD_OF_ONE[name]
    words = tokenizer.get_vocab()
    del words[word]
    tokenizer.backend_tokenizer.model = WordLevel(words, unk_token="<unk>")
    known = {t for t in task.templates if t.split("/")[-1] != unwritten.split("/")[-1]}
    assert drawn() == drawn("another task's") == known
    one = sorted(known)[0]
    assert drawn(one, "another task's") == {one}
    message = f"does not know some word .* '{unwritten}' of task '{name}'; it can write .*{one}"
    with pytest.raises(TaskError, match=message):
        drawn(one, unwritten)
