import json

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from mechshift.errors import PosttrainingError
from mechshift.models.tokenizers import naming_mask
from mechshift.posttraining import tiny_tokenizer
from mechshift.posttraining.corpus import build_corpus

TEXTS = ["When Mary and John went to the store", "John gave a drink to Mary"]


@pytest.fixture(scope="module")
def ending_tokenizer():
    """The embedded tokenizer, with a token that ends a document."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    tokenizer.add_special_tokens({"eos_token": "<unk>", "pad_token": "<pad>"})
    return tokenizer


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def rows_of(source, tokenizer, *, num_examples=0, context_length=4):
    return build_corpus(
        source,
        tokenizer,
        "mdm",
        num_examples=num_examples,
        seed=0,
        context_length=context_length,
    )


def test_documents_are_joined_and_cut_into_rows_without_padding(tmp_path, ending_tokenizer):
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    corpus = rows_of(source, ending_tokenizer)
    stream = []
    for text in TEXTS:
        stream += [*ending_tokenizer.encode(text, add_special_tokens=False), 1]
    assert len(stream) == 16
    assert corpus.ids.flatten().tolist() == stream
    assert corpus.present.all()
    assert torch.equal(corpus.is_target, (torch.arange(4) > 0).expand(4, 4))


def test_a_rest_that_fills_no_row_is_left_out_and_fewer_rows_can_be_asked_for(
    tmp_path, ending_tokenizer
):
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    assert len(rows_of(source, ending_tokenizer, context_length=5).ids) == 3
    assert len(rows_of(source, ending_tokenizer, num_examples=2).ids) == 2


def test_a_text_file_is_one_document(tmp_path, ending_tokenizer):
    path = tmp_path / "book.txt"
    path.write_text(TEXTS[0], encoding="utf-8")
    corpus = rows_of(str(path), ending_tokenizer)
    ids = [*ending_tokenizer.encode(TEXTS[0], add_special_tokens=False), 1]
    assert corpus.ids.flatten().tolist() == ids[: 4 * (len(ids) // 4)]


def test_of_a_prompt_and_its_response_only_the_response_is_learnt(tmp_path, ending_tokenizer):
    lines = [
        {"prompt": "John gave a drink to", "response": " Mary"},
        {"prompt": "When", "response": " Mary and John went"},
    ]
    source = write_lines(tmp_path / "dialogue.jsonl", lines)
    corpus = rows_of(source, ending_tokenizer, context_length=20)
    for row, line in enumerate(lines):
        answer = ending_tokenizer.encode(line["response"], add_special_tokens=False)
        assert corpus.ids[row, corpus.is_target[row]].tolist() == [*answer, 1]
        whole = ending_tokenizer.encode(line["prompt"]) + answer + [1]
        assert corpus.ids[row, corpus.present[row].bool()].tolist() == whole


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"text": "a b"}, {"prompt": "a", "response": "b"}], "line 2: has the keys prompt, resp"),
        ([{"text": ""}], "line 1: its values must be text, not empty"),
        ([{"text": 3}], r"line 1: \['text'\]: expected `str`, got `int`"),
        ([{"prompt": "When", "response": " Mary" * 30}], "together at most 4"),
        ([{"text": "When Mary"}], "gives 0 rows of at most 4 tokens, not 1"),
    ],
)
def test_lines_that_give_no_rows_are_refused(tmp_path, ending_tokenizer, lines, message):
    source = write_lines(tmp_path / "texts.jsonl", lines)
    with pytest.raises(PosttrainingError, match=message):
        rows_of(source, ending_tokenizer)


def test_what_is_not_json_or_not_there_is_refused(tmp_path, ending_tokenizer):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(PosttrainingError, match="line 2: not valid JSON"):
        rows_of(str(path), ending_tokenizer)
    with pytest.raises(PosttrainingError, match="cannot read .*missing.txt"):
        rows_of(str(tmp_path / "missing.txt"), ending_tokenizer)


@pytest.fixture(scope="module")
def masking_tokenizer(ending_tokenizer):
    """Its mask token is an ordinary word of the texts."""
    return naming_mask(
        ending_tokenizer, ending_tokenizer.encode(" drink", add_special_tokens=False)[0]
    )


def test_a_text_that_holds_the_mask_token_is_refused_for_an_mdm_and_read_by_an_arm(
    tmp_path, ending_tokenizer, masking_tokenizer
):
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    mask = masking_tokenizer.mask_token_id
    message = (
        rf"texts.jsonl, line 2, 'text': holds the mask token .*drink' \({mask}\), as 1 of 2 texts"
        r" do, 1 times in all; choose a token that no text has \(--mask-token\)"
    )
    with pytest.raises(PosttrainingError, match=message):
        rows_of(source, masking_tokenizer)
    arms = build_corpus(source, masking_tokenizer, "arm", num_examples=0, seed=0, context_length=4)
    assert torch.equal(arms.ids, rows_of(source, ending_tokenizer).ids)


def test_a_text_file_and_a_response_with_the_mask_token_are_refused_too(
    tmp_path, masking_tokenizer
):
    path = tmp_path / "book.txt"
    path.write_text(" ".join([TEXTS[1]] * 3), encoding="utf-8")
    with pytest.raises(PosttrainingError, match="book.txt: holds the mask token .* 3 times in all"):
        rows_of(str(path), masking_tokenizer)
    lines = [{"prompt": "Mary found", "response": " a drink"}]
    with pytest.raises(PosttrainingError, match="line 1, 'response': holds the mask token"):
        rows_of(write_lines(tmp_path / "asked.jsonl", lines), masking_tokenizer, context_length=9)


def test_a_mask_token_that_also_ends_every_text_is_refused(tmp_path, ending_tokenizer):
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    ending = naming_mask(ending_tokenizer, ending_tokenizer.eos_token_id)
    with pytest.raises(PosttrainingError, match="ends every text with its mask token '<unk>'"):
        rows_of(source, ending)
