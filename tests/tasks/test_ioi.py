import re

import pytest

from mechshift.errors import TaskError
from mechshift.models.tokenizers import naming_mask
from mechshift.tasks import SPLITS, IndirectObject, continuation_ids, encode_example
from mechshift.tasks.ioi import NAMES, OBJECTS, PLACES, TEMPLATES
from mechshift.testing import toy_tokenizer

TASK = IndirectObject()


def names_in(text: str) -> list[str]:
    """The names of a text in their order, read off the text alone."""
    return [word for word in re.findall(r"\w+", text) if word in NAMES]


def examples_of(tokenizer, *, split="discovery", num_examples=60, seed=0):
    return TASK.generate(tokenizer, split=split, num_examples=num_examples, seed=seed)


def test_the_target_is_the_name_that_stands_once_and_the_distractor_the_one_that_stands_twice(tiny):
    for example in examples_of(tiny):
        names = names_in(example.prompt)
        assert len(names) == 3
        assert names.count(example.target.strip()) == 1
        assert names.count(example.distractor.strip()) == 2
        assert TASK.is_correct(example, example.target)
        assert not TASK.is_correct(example, example.distractor)


def test_the_corrupted_prompt_changes_the_second_subject_only_and_turns_the_answer_round(tiny):
    for example in examples_of(tiny):
        *introduced, subject = names_in(example.prompt)
        assert names_in(example.corrupted_prompt) == [*introduced, example.target.strip()]
        assert names_in(example.corrupted_prompt).count(example.distractor.strip()) == 1
        other = example.corrupted_prompt.rsplit(example.target.strip(), 1)
        assert subject.join(other) == example.prompt


def test_both_orders_occur_and_are_named_after_where_the_answer_stands(tiny):
    orders = {}
    for example in examples_of(tiny):
        first, second, third = names_in(example.prompt)
        order = "ABBA" if third == second else "BABA"
        assert {first, second} >= {third} and first != second
        assert example.facts["order"] == order
        orders[order] = orders.get(order, 0) + 1
    assert min(orders["ABBA"], orders["BABA"]) > 15


def test_every_template_place_and_object_occurs(tiny):
    texts = [example.prompt for example in examples_of(tiny, num_examples=150)]
    for template in list(TEMPLATES.values())[:6]:  # those that it knows
        fillers = dict.fromkeys(("first", "second", "subject", "place", "object"), r"\w+")
        assert any(re.fullmatch(template.format(**fillers), text) for text in texts)
    for word in (*PLACES, *OBJECTS):
        assert any(f" {word}" in text for text in texts)


def test_spans_point_at_the_tokens_of_their_names_in_the_order_of_the_text(tokenizer, words_at):
    for example in examples_of(tokenizer, num_examples=12):
        indirect, subject = example.target.strip(), example.distractor.strip()
        for kind in ("arm", "mdm"):
            encoded = encode_example(TASK, example, tokenizer, kind)
            words = {name: words_at(encoded, name, tokenizer) for name in encoded.spans}
            assert words == {"IO": indirect, "S1": subject, "S2": subject, "END": "to"}
            first, second = sorted((encoded.spans["IO"], encoded.spans["S1"]))
            assert first[1] <= second[0] and second[1] <= encoded.spans["S2"][0]
            assert encoded.spans["END"][1] == len(encoded.prefix_ids)
            assert all(end - start == 1 for start, end in encoded.spans.values())


def test_no_name_is_part_of_another_word_of_a_prompt():
    for template in TEMPLATES.values():
        for name in NAMES:
            text = template.format(first=name, second="", subject=name, place="", object="")
            assert text.count(name) == 2
            assert not any(name in other for other in (*NAMES, *PLACES, *OBJECTS) if other != name)


def test_no_pair_of_names_is_in_two_splits(tiny):
    pairs = {
        split: {
            frozenset(names_in(example.prompt))
            for seed in (0, 1)
            for example in examples_of(tiny, split=split, num_examples=60, seed=seed)
        }
        for split in SPLITS
    }
    assert min(map(len, pairs.values())) > 30
    assert not pairs["train"] & pairs["discovery"]
    assert not pairs["train"] & pairs["held-out"]
    assert not pairs["discovery"] & pairs["held-out"]


def test_only_names_that_are_one_token_are_used():
    few = ("Mary", "John", "Tom", "Anna", "Emma")
    words = {
        word for template in TEMPLATES.values() for word in template.split() if "{" not in word
    }
    places = [f"{place}{mark}" for place in PLACES for mark in ("", ",", ".")]
    toy = toy_tokenizer([*few, *sorted(words), *places, *OBJECTS])
    examples = examples_of(toy, split="train", num_examples=20)
    assert len(examples) == 20
    for example in examples:
        assert set(names_in(example.prompt)) <= set(few)
        encoded = encode_example(TASK, example, toy, "mdm")
        assert toy.decode(list(encoded.prefix_ids)) == example.prompt


def test_a_tokenizer_with_too_few_names_is_refused():
    message = (
        "task 'ioi' needs at least 4 names that are single tokens, and this tokenizer has 3 of 150;"
        " bring your own task file instead"
    )
    with pytest.raises(TaskError, match=message):
        examples_of(toy_tokenizer(["and", "Mary", "John", "Tom"]))


@pytest.mark.parametrize("kind", ["qwen-like", "llama2-like"])
def test_where_the_mask_token_is_a_word_of_the_task_other_examples_are_drawn(tokenizer_of, kind):
    plain = tokenizer_of(kind)
    (word,) = continuation_ids(plain, "to the", " store")
    named = naming_mask(plain, word)
    drawn = TASK.generate(plain, split="discovery", num_examples=60, seed=0)
    kept = [example.prompt for example in drawn if " store" not in example.prompt]
    masked = TASK.generate(named, split="discovery", num_examples=60, seed=0)
    # A cluster whose first example is left out comes later, with another one.
    assert [e.prompt for e in masked if e.prompt in kept] == kept and len(kept) < 60
    assert not any(" store" in example.prompt for example in masked)
    # A word that the task never uses costs no example.
    (unused,) = continuation_ids(plain, "the", " knife")
    unaffected = TASK.generate(
        naming_mask(plain, unused), split="discovery", num_examples=60, seed=0
    )
    assert unaffected == drawn
