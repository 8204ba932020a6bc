"""Tiny random models of every supported class, and folders that hold them."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 23
CLASSES = {
    "gpt2": (GPT2LMHeadModel, GPT2Config),
    "llama": (LlamaForCausalLM, LlamaConfig),
    "mistral": (MistralForCausalLM, MistralConfig),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
}


@pytest.fixture
def tiny_module():
    """A function that makes a random module of one architecture."""

    def make(architecture="llama", *, seed=0, **overrides):
        module_class, config_class = CLASSES[architecture]
        settings = dict(
            vocab_size=VOCAB,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            initializer_range=0.5,
            attn_implementation="sdpa",
        )
        if architecture == "gpt2":
            settings |= dict(n_inner=24)
        else:
            settings |= dict(intermediate_size=24, num_key_value_heads=2, head_dim=4)
        if architecture == "mistral":
            settings |= dict(sliding_window=None)
        config = config_class(**(settings | overrides))
        torch.manual_seed(seed)
        return module_class(config).eval()

    return make


@pytest.fixture
def word_tokenizer():
    """A function that makes a tokenizer of the words w0, w1, ... with the last one as mask."""

    def make(size=VOCAB, *, mask_token="[MASK]", words=None):
        words = list(words or [f"w{i}" for i in range(size - 1)] + ["[MASK]"])
        vocabulary = {word: i for i, word in enumerate(words)}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="w0"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="w0", mask_token=mask_token
        )

    return make


@pytest.fixture
def model_folder(tmp_path, tiny_module, word_tokenizer):
    """A function that writes a complete Hugging Face folder and returns it."""

    def write(name="model", architecture="llama", *, mask_token="[MASK]", **overrides) -> Path:
        folder = tmp_path / name
        tiny_module(architecture, **overrides).save_pretrained(folder)
        word_tokenizer(mask_token=mask_token).save_pretrained(folder)
        return folder

    return write
