"""An MDM's tokenizer made from its parent's and the data files that it is published with."""

import json

import pytest

from mechshift.errors import ModelError
from mechshift.models.tokenizers import load_tokenizer, naming_mask, tokenizer_from_parent

WORDS = {f"w{i}": i for i in range(20)}
ADDED = {"<|beginoftext|>": 20, "<|mask|>": 21}


@pytest.fixture
def parent(word_tokenizer):
    return word_tokenizer(words=list(WORDS), mask_token=None)


@pytest.fixture
def child(tmp_path):
    """A function that writes an MDM's folder whose tokenizer class is remote code."""

    def write(*, vocabulary=WORDS, added=ADDED, mask_token="<|mask|>"):
        files = {
            "vocab.json": vocabulary,
            "added_tokens.json": added,
            "tokenizer_config.json": {
                "added_tokens_decoder": {
                    str(index): {"content": token, "special": True}
                    for token, index in (added or {}).items()
                },
                "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
                "mask_token": mask_token,
                "tokenizer_class": "DreamTokenizer",
            },
        }
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).write_text(json.dumps(content))
        (tmp_path / "tokenization_dream.py").write_text("raise RuntimeError('executed')\n")
        return tmp_path

    return write


def test_the_childs_tokens_are_added_to_the_parents_with_the_ids_that_it_states(parent, child):
    tokenizer = tokenizer_from_parent(parent, child())
    assert tokenizer.get_vocab() == WORDS | ADDED
    assert tokenizer.encode("w3 <|mask|> w5") == [3, 21, 5]
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == ("<|mask|>", 21)
    assert parent.get_vocab() == WORDS and parent.mask_token is None


@pytest.mark.parametrize("left_out", ["added_tokens.json", "tokenizer_config.json"])
def test_either_of_the_two_files_that_list_added_tokens_is_enough(left_out, parent, child):
    folder = child()
    (folder / left_out).unlink()
    assert tokenizer_from_parent(parent, folder).get_vocab() == WORDS | ADDED


def test_a_mask_token_may_be_stated_with_its_properties(parent, child):
    folder = child(mask_token={"content": "<|mask|>", "lstrip": False})
    assert tokenizer_from_parent(parent, folder).mask_token_id == 21


def test_without_a_stated_mask_token_there_is_none(parent, child):
    assert tokenizer_from_parent(parent, child(mask_token=None)).mask_token is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocabulary": WORDS | {"w3": 4, "w4": 3}},
            "the id 4 to the token 'w3', and its parent gives 3 to it and 4 to 'w4'",
        ),
        (
            {"vocabulary": {"other" if k == "w7" else k: v for k, v in WORDS.items()}},
            "vocab.json has 1 tokens that its parent lacks, such as 'other'",
        ),
        (
            {"added": {"other": 7}},
            "the id 7 to the token 'other', and its parent gives None to it and 7 to 'w7'",
        ),
        (
            {"added": {"<|mask|>": 22}},
            r"'<\|mask\|>' of .* has the id 22, but after the parent's 20 tokens it gets 20",
        ),
        ({"vocabulary": None}, "neither tokenizer.json nor vocab.json.*set tokenizer_path"),
    ],
)
def test_a_child_that_does_not_continue_the_parents_tokens_is_refused(
    changes, message, parent, child
):
    with pytest.raises(ModelError, match=message):
        tokenizer_from_parent(parent, child(**changes))


def test_a_folder_without_tokenizer_json_has_no_tokenizer_of_its_own(child):
    with pytest.raises(ModelError, match="has no tokenizer.json.*set tokenizer_path"):
        load_tokenizer(str(child()))


def test_naming_a_mask_token_leaves_the_given_tokenizer_and_every_split_as_they_were(parent):
    named = naming_mask(parent, 5)
    assert (named.mask_token, named.mask_token_id) == ("w5", 5)
    assert parent.mask_token is None
    assert named.encode("w5 w15 w4") == parent.encode("w5 w15 w4") == [5, 15, 4]
    assert named.get_vocab() == parent.get_vocab()


@pytest.mark.parametrize("mask_token_id", [None, 20])
def test_no_token_and_an_embedding_without_a_token_have_no_name(parent, mask_token_id):
    assert naming_mask(parent, mask_token_id) is parent
