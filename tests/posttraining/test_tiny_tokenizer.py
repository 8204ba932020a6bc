import pytest
from transformers import PreTrainedTokenizerFast

from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import load_task

TASKS = ("ioi", "greater-than", "countdown-small", "infilling")


def tokens_of(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_every_number_up_to_99_is_one_token_of_its_own(tokenizer):
    tokens = [tokens_of(tokenizer, str(number)) for number in range(100)]
    assert tokens == [["<bos>", str(number)] for number in range(100)]


def test_a_year_is_its_century_and_its_two_digits(tokenizer):
    assert tokens_of(tokenizer, "1732") == ["<bos>", "17", "32"]
    assert tokens_of(tokenizer, "1905") == ["<bos>", "19", "05"]


def test_an_equation_is_cut_at_its_signs(tokenizer):
    pieces = tokens_of(tokenizer, "13,4->13*4=52")
    assert pieces == ["<bos>", "13", ",", "4", "->", "13", "*", "4", "=", "52"]


def test_a_word_takes_the_space_before_it(tokenizer):
    mary, and_mary = tokens_of(tokenizer, "Mary")[1:], tokens_of(tokenizer, "When Mary")[1:]
    assert len(mary) == 1 and len(and_mary) == 2 and and_mary[1] == "\u0120Mary"


@pytest.mark.parametrize("split", ["train", "discovery", "held-out"])
@pytest.mark.parametrize("name", TASKS)
def test_every_text_of_the_tasks_is_known_and_comes_back_as_it_was(tokenizer, name, split):
    examples = load_task(name).generate(tokenizer, split=split, num_examples=60, seed=5)
    assert len(examples) == 60
    for example in examples:
        for text in (
            example.prompt + example.target + example.suffix,
            example.corrupted_prompt + example.distractor + example.corrupted_suffix,
            (example.causal_prompt or "") + example.target,
        ):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_special_tokens_come_first_and_text_begins_with_bos(tokenizer):
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    assert (*special, tokenizer.mask_token_id) == (0, 1, 2, 3)
    assert tokens_of(tokenizer, "") == ["<bos>"]
    assert tokens_of(tokenizer, "xylophone") == ["<bos>", "<unk>"]


def test_the_ids_are_the_same_every_time_and_without_gaps(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert tiny_tokenizer().get_vocab() == vocabulary
    assert sorted(vocabulary.values()) == list(range(len(tokenizer)))


def test_a_saved_tokenizer_reads_as_the_one_in_memory(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "The war lasted from the year 1732 to the year 17"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.mask_token_id == tokenizer.mask_token_id
    assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text
