"""Tiny random models of every supported class, and folders that hold them."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

VOCAB = 23
CLASSES = {
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig),
    "gpt2": (GPT2LMHeadModel, GPT2Config),
    "llama": (LlamaForCausalLM, LlamaConfig),
    "ministral3": (Ministral3ForCausalLM, Ministral3Config),
    "mistral": (MistralForCausalLM, MistralConfig),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig),
}


YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "llama_4_scaling_beta": 0.1,
}
"""Ministral3's own angles belong to longer texts."""

LORA_RANK, LORA_ALPHA = 2, 6
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


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
        if architecture == "qwen3_moe":
            settings |= dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8)
        if architecture == "gemma3":
            settings |= dict(sliding_window=48, sliding_window_pattern=2, query_pre_attn_scalar=5)
        if architecture == "ministral3":
            settings |= dict(rope_parameters=YARN)
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


@pytest.fixture
def lora_folder(tmp_path):
    """A function that writes a LoRA adapter of a base with random weights, as training leaves it.

    The weights that it adds are alpha / rank = 3 times the product of its two matrices.
    """

    def write(base, name="adapter", **options) -> Path:
        module = AutoModelForCausalLM.from_pretrained(base)
        settings = dict(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=LORA_TARGETS)
        adapted = get_peft_model(module, LoraConfig(**(settings | options)))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.3)
        adapted.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def inputs():
    """A function: ids, mask and positions of rows, behind so many positions of padding."""

    def of(rows, padding=0):
        ids = torch.tensor([[0] * padding + row for row in rows])
        mask = torch.ones_like(ids)
        mask[:, :padding] = 0
        return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)

    return of
