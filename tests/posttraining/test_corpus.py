import json

import pytest
import torch

from mechshift.errors import PosttrainingError, TaskError
from mechshift.posttraining.corpus import Mixture, build_corpus, rows_by_weight
from mechshift.posttraining.corpus_rows import Corpus
from mechshift.tasks import load_task

TASKS = ("ioi", "greater-than", "countdown-small", "infilling")


def training_examples(name, tokenizer, num_examples):
    return load_task(name).generate(tokenizer, split="train", num_examples=num_examples, seed=3)


def corpus_of(name, tokenizer, kind, num_examples=8):
    return build_corpus(name, tokenizer, kind, num_examples=num_examples, seed=3, context_length=64)


@pytest.mark.parametrize("name", TASKS)
def test_an_mdm_reads_prompt_target_and_suffix_and_the_marks_hold_the_target(name, tokenizer):
    corpus = corpus_of(name, tokenizer, "mdm")
    examples = training_examples(name, tokenizer, 8)
    for row, example in enumerate(examples):
        ids = corpus.ids[row, corpus.present[row].bool()]
        text = example.prompt + example.target + example.suffix
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer.decode(corpus.ids[row, corpus.is_target[row]]) == example.target


def test_an_arm_reads_the_ending_first_and_nothing_after_the_target(tokenizer):
    corpus = corpus_of("infilling", tokenizer, "arm")
    for row, example in enumerate(training_examples("infilling", tokenizer, 8)):
        ids = corpus.ids[row, corpus.present[row].bool()]
        text = example.causal_prompt + example.target
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        num_targets = int(corpus.is_target[row].sum())
        assert corpus.is_target[row, len(ids) - num_targets : len(ids)].all()
        assert tokenizer.decode(ids[-num_targets:]) == example.target


@pytest.mark.parametrize("name", TASKS)
def test_rows_begin_with_bos_and_end_with_padding_that_is_no_target(name, tokenizer):
    corpus = corpus_of(name, tokenizer, "mdm", num_examples=20)
    absent = corpus.present == 0
    assert (corpus.ids[:, 0] == tokenizer.bos_token_id).all()
    assert (corpus.ids[absent] == tokenizer.pad_token_id).all()
    assert not corpus.is_target[absent].any()
    assert (corpus.present.diff(dim=1) <= 0).all(), "padding only on the right"
    assert corpus.present.sum(dim=1).max() == corpus.ids.shape[1], "no wider than needed"


def test_rows_of_different_length_are_padded(tokenizer):
    corpus = corpus_of("ioi", tokenizer, "mdm", num_examples=20)
    assert corpus.present.sum(dim=1).unique().numel() > 1


def test_asking_for_more_examples_than_a_task_has_is_refused(tokenizer, tmp_path):
    path = tmp_path / "three.jsonl"
    lines = [
        {
            "prompt": f"When {name} and John went to the store, John gave a drink to",
            "target": f" {name}",
            "distractor": " John",
            "corrupted_prompt": f"When {name} and John went to the store, {name} gave a drink to",
            "split": split,
        }
        for name, split in (("Mary", "train"), ("Anna", "train"), ("Emma", "held-out"))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert len(corpus_of(str(path), tokenizer, "arm", num_examples=2).ids) == 2
    with pytest.raises(PosttrainingError, match="has 2 training examples .*, not 3; ask for fewer"):
        corpus_of(str(path), tokenizer, "arm", num_examples=3)


def test_an_unknown_task_is_refused(tokenizer):
    with pytest.raises(TaskError, match="no task 'sudoku'; known are ioi"):
        corpus_of("sudoku", tokenizer, "arm")


# Mixtures.


@pytest.mark.parametrize(
    ("weights", "batch_size", "rows"),
    [
        ([1.0, 3.0], 8, (2, 6)),
        ([1.0, 1.0, 13.0, 1.0], 192, (12, 12, 156, 12)),
        ([0.2, 0.1], 3, (2, 1)),
        ([1.0, 1000.0], 8, (1, 8)),
    ],
)
def test_a_batch_is_shared_out_by_weight_and_every_task_gets_a_row(weights, batch_size, rows):
    assert rows_by_weight(weights, batch_size) == rows


def numbered_corpus(lengths, first):
    """Row r holds the number first + r, as many times as its length, of which the last is target.

    Nothing else tells whether ids, presence and marks stay together.
    """
    width = max(lengths)
    position = torch.arange(width)
    length = torch.tensor(lengths)[:, None]
    number = first + torch.arange(len(lengths))[:, None]
    return Corpus(
        ids=torch.where(position < length, number, 0),
        present=(position < length).long(),
        is_target=position == length - 1,
    )


def test_a_draw_takes_whole_rows_of_each_corpus_and_no_more_columns_than_they_need():
    lengths = [2, 3, 9]
    mixture = Mixture(
        corpora=(numbered_corpus(lengths, 10), numbered_corpus(lengths, 20)), rows=(1, 4)
    )
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        for part, num_rows, first in zip(mixture.draw(generator), (1, 4), (10, 20), strict=True):
            assert len(part.ids) == num_rows
            rows = [int(row) - first for row in part.ids[:, 0]]
            assert part.ids.shape[1] == max(lengths[row] for row in rows)
            for number, *row in zip(rows, part.ids, part.present, part.is_target, strict=True):
                whole = mixture.corpora[first // 10 - 1]
                for got, full in zip(row, (whole.ids, whole.present, whole.is_target), strict=True):
                    assert torch.equal(got, full[number, : part.ids.shape[1]])
            seen |= {first + row for row in rows}
    assert seen == {10, 11, 12, 20, 21, 22}


@pytest.mark.parametrize("rows", [(), (1,), (1, 0)])
def test_a_mixture_without_a_row_for_every_corpus_is_refused(rows):
    corpora = () if not rows else (numbered_corpus([2], 10), numbered_corpus([2], 20))
    with pytest.raises(PosttrainingError, match="at least one row of each task, not "):
        Mixture(corpora=corpora, rows=rows)
