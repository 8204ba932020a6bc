from mechshift.testing import toy_tokenizer
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS


def test_words_follow_the_special_tokens_and_come_back_as_text():
    tokenizer = toy_tokenizer(["Ann", "says"])
    ids = tokenizer("Ann says Ann")["input_ids"]
    assert ids == [4, 5, 4]
    assert tokenizer.decode(ids) == "Ann says Ann"


def test_special_tokens_have_the_first_ids_and_unknown_words_are_unknown():
    tokenizer = toy_tokenizer(["Ann"])
    special = [
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.bos_token_id,
        tokenizer.mask_token_id,
    ]
    assert special == [0, 1, 2, 3]
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == special
    assert tokenizer("Bob")["input_ids"] == [1]
