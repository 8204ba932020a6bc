import re

import pytest

from mechshift.errors import TaskError
from mechshift.models.tokenizers import naming_mask
from mechshift.tasks import SPLITS, Example, GreaterThan, continuation_ids, encode_example
from mechshift.testing import toy_tokenizer

TASK = GreaterThan()


def examples_of(tokenizer, *, split="discovery", num_examples=60, seed=0, template="lasted"):
    return TASK.generate(
        tokenizer, split=split, num_examples=num_examples, seed=seed, templates=[template]
    )


def years_in(prompt: str) -> tuple[int, int, int]:
    """Century and year of the start, and the century in which the end is asked for."""
    pattern = r"The \w+ lasted from the year (\d\d)(\d\d) to the year (\d\d)"
    match = re.fullmatch(pattern, prompt)
    assert match is not None
    return int(match[1]), int(match[2]), int(match[3])


def starting_in(start: int) -> Example:
    """An example that began in the year 17 and `start`."""
    return Example(
        id="e0",
        task="greater-than",
        prompt=f"The war lasted from the year 17{start:02d} to the year 17",
        target="98",
        distractor="00",
        corrupted_prompt="The war lasted from the year 1701 to the year 17",
        facts={"start": start},
    )


def spelled(tokenizer, ids) -> list[str]:
    return [tokenizer.decode([token]) for token in ids]


def test_the_target_is_a_later_year_of_the_century_and_the_distractor_is_not(tokenizer):
    for example in examples_of(tokenizer, num_examples=20):
        century, start, end_century = years_in(example.prompt)
        assert century == end_century and 11 <= century <= 19 and 2 <= start <= 97
        assert start < int(example.target) <= 99
        assert 0 <= int(example.distractor) <= start
        assert len(example.target) == len(example.distractor) == 2


def test_the_corrupted_prompt_starts_in_the_year_01_of_the_same_century(tiny):
    for example in examples_of(tiny):
        century, _, _ = years_in(example.prompt)
        assert years_in(example.corrupted_prompt) == (century, 1, century)
        assert example.corrupted_prompt.split()[1] == example.prompt.split()[1]


@pytest.mark.parametrize("kind", ["tiny", "gpt2-like"])
def test_where_two_digits_are_one_token_all_later_years_stand_against_all_others(
    tokenizer_of, kind
):
    tokenizer = tokenizer_of(kind)
    (contrast,) = TASK.contrasts(starting_in(32), tokenizer)
    assert spelled(tokenizer, contrast.positive) == [str(year) for year in range(33, 100)]
    assert spelled(tokenizer, contrast.negative) == [f"{year:02d}" for year in range(33)]


@pytest.mark.parametrize("kind", ["qwen-like", "llama2-like", "t5-like", "qwen", "mistral"])
@pytest.mark.parametrize(
    ("start", "first", "second"),
    [
        (32, ("456789", "012"), ("3456789", "012")),
        (5, ("123456789", ""), ("6789", "012345")),
        (90, ("", "012345678"), ("123456789", "0")),
        (78, ("89", "0123456"), ("9", "012345678")),
    ],
)
def test_where_digits_stand_alone_each_is_scored_given_the_one_before(
    tokenizer_of, kind, start, first, second
):
    tokenizer = tokenizer_of(kind)
    contrasts = TASK.contrasts(starting_in(start), tokenizer)
    for contrast, (positive, negative) in zip(contrasts, (first, second), strict=True):
        assert "".join(spelled(tokenizer, contrast.positive)) == positive
        assert "".join(spelled(tokenizer, contrast.negative)) == negative


def test_every_target_token_is_right_in_its_contrast_or_repeats_the_starts_first_digit(tokenizer):
    for example in examples_of(tokenizer, num_examples=20):
        encoded = encode_example(TASK, example, tokenizer, "arm")
        *first, last = encoded.contrasts
        assert encoded.target_ids[-1] in last.positive
        assert encoded.distractor_ids[-1] in last.negative
        for token, contrast in zip(encoded.target_ids, first, strict=False):
            assert token not in contrast.positive + contrast.negative
            assert example.target[0] == f"{years_in(example.prompt)[1]:02d}"[0]


def test_years_that_are_one_token_with_their_century_are_left_out(tokenizer_of):
    gpt2 = tokenizer_of("gpt2-like")
    assert len(gpt2("x 1800")["input_ids"]) == len(gpt2("x 18")["input_ids"])
    examples = examples_of(gpt2, split="train", num_examples=300)
    assert len(examples) == 300
    for example in examples:
        century, start, _ = years_in(example.prompt)
        assert (century, start) != (18, 50)
        assert (century, example.distractor) != (18, "00")


def test_the_real_gpt2_has_no_year_00_and_cuts_some_years_within_the_century(tokenizer_of):
    """There 1100 to 1900 are one token each, and 1102 is 110 and 2."""
    gpt2 = tokenizer_of("gpt2")
    assert gpt2.tokenize(" 1700") == ["Ġ1700"] and gpt2.tokenize(" 1102") == ["Ġ110", "2"]
    (contrast,) = TASK.contrasts(starting_in(32), gpt2)
    assert spelled(gpt2, contrast.negative) == [f"{year:02d}" for year in range(33)]
    examples = examples_of(gpt2, num_examples=100)
    assert len(examples) == 100
    for example in examples:
        for prompt in (example.prompt, example.corrupted_prompt):
            century, start, _ = years_in(prompt)
            assert gpt2.tokenize(f" {century}{start:02d}") == [f"Ġ{century}", f"{start:02d}"]


def test_a_tokenizer_that_splits_years_otherwise_is_refused(tokenizer_of):
    message = (
        "task 'greater-than' needs a tokenizer that writes every two-digit year as one token or as"
        " two digits after a century, and this one does not"
    )
    with pytest.raises(TaskError, match=message):
        examples_of(tokenizer_of("llama3-like"))
    with pytest.raises(TaskError, match=message):
        examples_of(tokenizer_of("deepseek"))
    with pytest.raises(TaskError, match=message):
        examples_of(toy_tokenizer(["The", "war", "1732", "17"]))


@pytest.mark.parametrize(
    ("completion", "is_right"),
    [
        ("33", True),
        (" 99", True),
        ("32", False),
        ("31", False),
        ("00", False),
        ("5", False),
        ("330", False),
        ("3x", False),
        ("-4", False),
        ("", False),
    ],
)
def test_any_later_two_digit_year_is_right_and_nothing_else(completion, is_right):
    assert TASK.is_correct(starting_in(32), completion) is is_right


def test_spans_point_at_the_noun_the_start_and_the_end_of_the_prompt(tokenizer, words_at):
    for example in examples_of(tokenizer, num_examples=12):
        century, start, _ = years_in(example.prompt)
        encoded = encode_example(TASK, example, tokenizer, "mdm")
        assert words_at(encoded, "noun", tokenizer) == example.prompt.split()[1]
        assert words_at(encoded, "start", tokenizer) == f"{start:02d}"
        assert words_at(encoded, "END", tokenizer) == f"{century}"
        assert encoded.spans["END"][1] == len(encoded.prefix_ids)


def test_no_question_is_in_two_splits(tiny):
    prompts = {
        split: {
            example.prompt
            for seed in (0, 1)
            for example in examples_of(tiny, split=split, num_examples=100, seed=seed)
        }
        for split in SPLITS
    }
    assert sum(map(len, prompts.values())) > 500
    assert len(set.union(*prompts.values())) == sum(map(len, prompts.values()))


@pytest.mark.parametrize(
    ("kind", "year", "named"), [("gpt2-like", "45", "45"), ("qwen-like", "07", "00")]
)
def test_a_year_that_is_the_mask_token_is_refused(tokenizer_of, kind, year, named):
    """It is a right or wrong answer of every example, so no other draw would help."""
    tokenizer = tokenizer_of(kind)
    token = continuation_ids(tokenizer, "the year 17", year)[0]
    with pytest.raises(
        TaskError, match=f"needs the year {named}, which .* mask token .*another task"
    ):
        examples_of(naming_mask(tokenizer, token))
