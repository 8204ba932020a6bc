"""Tiny language models: random ones, and ones whose next token can be read off a table."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
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
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from mechshift.denoising import EncodedExample
from mechshift.models import LanguageModel, freeze, set_attention

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
OPTIONS = {
    "gemma3": {"sliding_window": 48, "sliding_window_pattern": 2, "query_pre_attn_scalar": 5},
    "ministral3": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "llama_4_scaling_beta": 0.1,
        }
    },
    # The default product of all experts at once takes no float64.
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "experts_implementation": "eager",
    },
}


def wrap(module, *, kind, shift=True, attention=None, mask_token_id=None):
    attention = attention or {"arm": "causal", "mdm": "full"}[kind]
    set_attention(module, attention)
    freeze(module)
    vocabulary = {f"w{i}": i for i in range(module.config.vocab_size)}
    return LanguageModel(
        name=kind,
        kind=kind,
        module=module,
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="w0"))
        ),
        attention=attention,
        shift=shift,
        mask_token_id=module.config.vocab_size - 1 if mask_token_id is None else mask_token_id,
        weights_hash="0",
    )


def module_of(architecture, vocab_size, **overrides):
    module_class, config_class = CLASSES[architecture]
    settings = dict(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        initializer_range=0.5,
        attn_implementation="sdpa",
    )
    settings |= OPTIONS.get(architecture, {})
    return module_class(config_class(**(settings | overrides))).eval()


@pytest.fixture
def random_model():
    """A function that makes a random float64 model with 13 tokens; the mask is token 12."""

    def make(kind="mdm", architecture="llama", *, seed=0, **options):
        torch.manual_seed(seed)
        return wrap(module_of(architecture, 13).double(), kind=kind, **options)

    return make


@pytest.fixture
def table_model():
    """A function that makes a model whose logits at a position are a table's row for its token.

    Attention and MLP write nothing, embeddings are one-hot, and the norm's factor is undone.
    """

    def make(table, kind="mdm", **options):
        table = torch.as_tensor(table, dtype=torch.float64)
        size = len(table)
        module = module_of(
            "llama",
            size,
            hidden_size=size,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        ).double()
        with torch.no_grad():
            module.model.embed_tokens.weight.copy_(torch.eye(size))
            module.model.layers[0].self_attn.o_proj.weight.zero_()
            module.model.layers[0].mlp.down_proj.weight.zero_()
            module.lm_head.weight.copy_(table.T / size**0.5)
        return wrap(module, kind=kind, **options)

    return make


@pytest.fixture
def example():
    """A function that makes an encoded example of the given parts."""

    def make(prefix=(1, 2), target=(5, 6), suffix=(), **overrides):
        settings = dict(
            id="e",
            task="t",
            prefix_ids=tuple(prefix),
            target_ids=tuple(target),
            suffix_ids=tuple(suffix),
            corrupted_prefix_ids=tuple((t + 1) % 11 for t in prefix),
            corrupted_suffix_ids=tuple((t + 1) % 11 for t in suffix),
            distractor_ids=tuple((t + 1) % 11 for t in target),
        )
        return EncodedExample(**(settings | overrides))

    return make


@pytest.fixture
def exact_norms(monkeypatch):
    """Let RMSNorm work in the model's precision; transformers always rounds it to float32."""

    def forward(self, hidden):
        variance = hidden.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden * torch.rsqrt(variance + self.variance_epsilon)

    for norm in (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(norm, "forward", forward)
