"""A converted GGUF file against the model it was written from, and against its own merges."""

import json

import pytest
import regex
import torch
from transformers import LlamaForCausalLM

from mechshift.errors import ModelError
from mechshift.models import load_language_model
from mechshift.models.supply.gguf_file import check_gguf_can_be_read, convert_smollm_gguf

GPT2_WORDS = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def converted(toy_gguf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_smollm_gguf(toy_gguf.path, folder, mask_token="<empty_output>")
    return folder


@pytest.fixture(scope="module")
def loaded(converted):
    return load_language_model(converted, name="toy", kind="arm", attention="causal", shift=True)


def test_it_computes_what_the_model_in_the_file_computes(loaded, converted, toy_gguf):
    stock = LlamaForCausalLM.from_pretrained(converted, local_files_only=True).eval()
    ids = torch.randint(len(toy_gguf.tokens), (3, 12))
    with torch.no_grad():
        expected = toy_gguf.module(ids).logits
        assert torch.equal(stock(ids).logits, expected)
        assert torch.equal(loaded.module(ids).logits, expected)


def test_every_weight_is_exactly_the_one_in_the_file(loaded, toy_gguf):
    weights, expected = loaded.module.state_dict(), toy_gguf.module.state_dict()
    assert weights.keys() == expected.keys()
    for name in expected:
        assert torch.equal(weights[name], expected[name]), name


@pytest.mark.parametrize(
    "text",
    [
        "then he and the land",
        "the year 1732 to the year 17",
        "a  1 and\n 2\n\n  33    4",
        "they'll and the²½ end",
        "naïve — 日本 \t the",
    ],
)
def test_token_ids_are_those_of_the_files_vocabulary_and_merges(loaded, toy_gguf, text):
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == merged_by_hand(text, toy_gguf)
    assert loaded.tokenizer.decode(ids) == text


def test_the_mask_token_is_one_of_the_vocabularys_own(loaded, toy_gguf):
    assert loaded.tokenizer.get_vocab() == {t: i for i, t in enumerate(toy_gguf.tokens)}
    assert loaded.mask_token_id == 3
    assert loaded.vocab_size == len(toy_gguf.tokens)
    special = [loaded.tokenizer.bos_token_id, loaded.tokenizer.eos_token_id]
    assert special == [1, 2]


def test_the_folder_tells_nothing_of_how_the_weights_were_stored(converted):
    config = json.loads((converted / "config.json").read_text())
    assert "quantization_config" not in config
    assert {path.suffix for path in converted.iterdir()} == {".json", ".safetensors"}


def test_a_mask_token_that_the_vocabulary_lacks_is_refused(toy_gguf, tmp_path):
    with pytest.raises(ModelError, match="toy.gguf has no special token '<mask>' to serve"):
        convert_smollm_gguf(toy_gguf.path, tmp_path, mask_token="<mask>")


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ModelError, match="cannot convert broken.gguf: ") as refused:
        convert_smollm_gguf(path, tmp_path, mask_token="<empty_output>")
    assert "\n" not in str(refused.value)


def merged_by_hand(text, file):
    """Digits stand alone; then GPT-2's words; in each the merge of the lowest rank comes first."""
    from_byte = dict(enumerate_letters(file))
    ids = {token: index for index, token in enumerate(file.tokens)}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(file.merges)}
    found = []
    for part in regex.split(r"(\p{N})", text):
        for word in GPT2_WORDS.findall(part):
            letters = [from_byte[byte] for byte in word.encode()]
            while pairs := [
                pair for pair in zip(letters, letters[1:], strict=False) if pair in ranks
            ]:
                left, right = min(pairs, key=ranks.__getitem__)
                at = next(i for i in range(len(letters)) if letters[i : i + 2] == [left, right])
                letters[at : at + 2] = [left + right]
            found += [ids[letter] for letter in letters]
    return found


def enumerate_letters(file):
    """The 256 letters of bytes stand after the special tokens, in the order of `byte_letters`."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = [*printing, *(byte for byte in range(256) if byte not in printing)]
    return zip(order, file.tokens[4 : 4 + 256], strict=True)


def test_without_the_optional_package_the_refusal_says_what_to_install(monkeypatch):
    monkeypatch.setattr("mechshift.models.supply.gguf_file.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs the package gguf; run `pip install 'mechshift\[s"):
        check_gguf_can_be_read()
