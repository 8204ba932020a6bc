import numpy as np
import pytest
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from mechshift.denoising import Decoded, left_to_right
from mechshift.tasks import Example, PoolConfig, TaskFile, answer, encode_example
from mechshift.tasks import answers as answers_module
from mechshift.testing import random_language_model, toy_tokenizer

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"

WORDS = ["Mary", "do", "n't", "say", ".", COMPOSED]


def composing_tokenizer() -> PreTrainedTokenizerFast:
    """It composes characters, as every Qwen does, and joins marks to words when it decodes."""
    backend = toy_tokenizer(WORDS).backend_tokenizer
    backend.normalizer = normalizers.NFC()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=True,
    )


@pytest.fixture
def answered(monkeypatch, tmp_path):
    """A function: what is made of a model that writes these words, where a target is asked for."""

    def make(target, distractor, written, judge=None):
        model = random_language_model("llama", "mdm")
        object.__setattr__(model, "tokenizer", composing_tokenizer())
        example = Example(
            id="1",
            task="own",
            prompt="Mary",
            target=target,
            distractor=distractor,
            corrupted_prompt="do",
        )
        task = TaskFile(name="own", path=tmp_path, examples=((1, "discovery", example),))
        if judge is not None:
            monkeypatch.setattr(TaskFile, "is_correct", lambda self, example, text: judge(text))
        length = len(encode_example(task, example, model.tokenizer, "mdm").target_ids)
        ids = tuple(model.tokenizer.convert_tokens_to_ids(written.split()))
        assert len(ids) == length
        wrote = Decoded(tokens=[ids], schedule=left_to_right([length]), traces=[])
        monkeypatch.setattr(answers_module, "decode", lambda *_args, **_options: wrote)
        return answer(model, task, [example], PoolConfig())

    return make


@pytest.mark.parametrize(
    ("target", "distractor", "written"),
    [
        (" do n't .", " say n't .", "do n't ."),
        (f" {DECOMPOSED}", " say", COMPOSED),
        (" say <pad>", " do <pad>", "say <pad>"),
    ],
    ids=["marks are joined to words", "characters are composed", "special tokens are dropped"],
)
def test_the_targets_own_tokens_are_right_whatever_becomes_of_their_text(
    answered, target, distractor, written
):
    np.testing.assert_array_equal(answered(target, distractor, written).correct, [True])
    np.testing.assert_array_equal(answered(target, distractor, distractor.strip()).correct, [False])


def test_other_tokens_are_judged_by_the_task_on_the_text_as_it_was_written(answered):
    texts = []

    def judge(text):
        texts.append(text)
        return text == "say n't ."

    found = answered(" do n't .", " Mary n't .", "say n't .", judge)
    np.testing.assert_array_equal(found.correct, [True])
    assert found.texts == ("say n't .",) and texts == ["say n't ."]
