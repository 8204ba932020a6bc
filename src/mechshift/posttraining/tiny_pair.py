"""The recipe of the embedded pair.

1. A Llama of 1.3 M parameters with random weights and the tokenizer of tiny_tokenizer.py.
2. The ARM: trained on the four tasks with its own objective.
3. The MDM: post-trained from exactly those weights, attention annealed, logit shift kept, 1/t loss.
"""

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

INITIAL_SEED = 0

NUMBER_PERIODS = (2, 4, 5, 10, 20, 25, 50, 100, 200)
"""Periods of the waves with which the embedding of a number starts."""

NUMBER_NORM = 1.0
"""Length of that start; a random embedding of this width has a length of 0.23."""


def untrained_tiny_arm(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The embedded pair's architecture with its initial weights: random, but for numbers.

    The embeddings of 0 to 99 start as waves of several periods of their value, as trained language
    models grow them. A random start makes every number a word of its own, and a goal that Countdown
    holds out is then one whose meaning as a goal nothing ever taught (LOG.md has the comparison).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(INITIAL_SEED)
        module = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=6,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=128,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=None,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        _write_number_waves(module.model.embed_tokens.weight, tokenizer)
    return module


@torch.no_grad()
def _write_number_waves(embedding: Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    numbers = torch.arange(100)
    angles = 2 * torch.pi * numbers[:, None] / torch.tensor(NUMBER_PERIODS)
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    directions = torch.linalg.qr(torch.randn(embedding.shape[1], waves.shape[1])).Q
    ids = tokenizer.convert_tokens_to_ids([str(number) for number in numbers.tolist()])
    embedding[ids] = NUMBER_NORM * (waves / len(NUMBER_PERIODS) ** 0.5) @ directions.T
