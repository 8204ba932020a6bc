"""A Llama small enough to train in a test, with the embedded pair's tokenizer."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.posttraining import PosttrainConfig, tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def micro_llama(tokenizer):
    """A function that makes a random Llama of 16 dimensions over the tiny vocabulary."""

    def make(*, seed=0, attention="sdpa", **overrides):
        torch.manual_seed(seed)
        settings = dict(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=None,
            attn_implementation=attention,
        )
        return LlamaForCausalLM(LlamaConfig(**(settings | overrides)))

    return make


@pytest.fixture
def micro_config():
    """A function that makes a recipe of three steps on a few examples of two tasks."""

    def make(**overrides):
        settings = dict(
            mixture=(("ioi", 1.0, 6), ("infilling", 1.0, 4)),
            num_steps=3,
            batch_size=4,
            warmup_steps=1,
            annealing_steps=2,
            learning_rate=1e-2,
            log_every=1,
            num_evaluated=0,
        )
        return PosttrainConfig(**(settings | overrides))

    return make
