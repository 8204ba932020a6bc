"""Small random models of every supported class, and examples for them.

Weights are drawn so that no term of the computation is idle: biases and norm weights are not at
their initial 0 and 1, attention is not uniform, and Mistral, Qwen2 and Qwen3 share each KV head
between query heads. The same seed gives the same model on any machine of one torch version.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
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
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.pytorch_utils import Conv1D

from mechshift.denoising import Contrast, EncodedExample
from mechshift.errors import ModelError
from mechshift.models import Attention, Kind, LanguageModel, freeze, set_attention
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS, toy_tokenizer

NUM_WORDS = 19
VOCAB_SIZE = len(SPECIAL_TOKENS) + NUM_WORDS
MASK_TOKEN_ID = SPECIAL_TOKENS.index("<mask>")
BLOCK_LENGTH = 4
"""Positions in a block of a random model with block-causal or causal-prefix attention."""

ARCHITECTURES: dict[str, tuple[Callable[..., Any], type[PreTrainedModel]]] = {
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM),
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "ministral3": (Ministral3Config, Ministral3ForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
}
"""Name -> configuration and class. GPT-2 and Llama have one KV head per query head."""

SIZES: dict[str, dict[str, object]] = {
    "gemma3": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        # Every other layer sees a window, which covers short texts, and has angles of its own.
        "sliding_window": 48,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 5,
    },
    "gpt2": {"num_attention_heads": 2, "n_inner": 24},
    "llama": {"num_attention_heads": 2, "num_key_value_heads": 2},
    "ministral3": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        # Queries are scaled anew every few positions, so that short texts have several scales.
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 16.0,
            "original_max_position_embeddings": 4,
            "llama_4_scaling_beta": 0.5,
        },
    },
    "mistral": {"num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": None},
    "qwen2": {"num_attention_heads": 4, "num_key_value_heads": 2},
    # A head_dim of its own: heads need not split d_model evenly.
    "qwen3": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6},
    "qwen3_moe": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "norm_topk_prob": True,
    },
}


def random_language_model(
    architecture: str = "llama",
    kind: Kind = "arm",
    *,
    attention: Attention | None = None,
    dtype: torch.dtype = torch.float32,
    num_layers: int = 2,
    gain: float = 1.5,
    options: Mapping[str, object] | None = None,
    seed: int = 0,
) -> LanguageModel:
    """A random model with a vocabulary of 23 tokens and 16 dimensions.

    An ARM attends causally and an MDM in both directions unless `attention` says otherwise; both
    keep the logit shift. In float64 the norms compute in float64 too, so that laws can be tested to
    more than single precision. A projection multiplies the size of a vector by about `gain`: at 1.5
    attention and gates are far from linear, well below 1 the model is smooth.

    `options` are settings of the class's config.json that differ from ours.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"no random model of architecture '{architecture}'; known: {known}.")
    config_class, model_class = ARCHITECTURES[architecture]
    settings: dict[str, object] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": num_layers,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
        "bos_token_id": SPECIAL_TOKENS.index("<bos>"),
        "eos_token_id": None,
        **SIZES[architecture],
    }
    config = config_class(**(settings | dict(options or {})))
    module = model_class(config)
    randomise(module, gain, seed)
    cast(module, dtype)
    words = [f"w{index}" for index in range(NUM_WORDS)]
    chosen: Attention = attention or ("causal" if kind == "arm" else "full")
    return as_language_model(module, words, f"random-{architecture}-{kind}", kind, chosen)


def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Change the precision of every weight, in place."""
    module.to(dtype=dtype)


def as_language_model(
    module: PreTrainedModel, words: list[str], name: str, kind: Kind, attention: Attention
) -> LanguageModel:
    """Wrap a hand-made module: frozen, attention set, logits shifted, with a toy tokenizer."""
    freeze(module)
    set_attention(module, attention)
    if module.dtype == torch.float64:
        _compute_in_float64(module)
    return LanguageModel(
        name=name,
        kind=kind,
        module=module,
        tokenizer=toy_tokenizer(words),
        attention=attention,
        shift=True,
        block_length=BLOCK_LENGTH if attention in ("block-causal", "causal-prefix") else None,
        mask_token_id=MASK_TOKEN_ID if kind == "mdm" else None,
        weights_hash=f"made in memory: {name}",
    )


def random_examples(
    num_examples: int = 6,
    *,
    kind: Kind = "arm",
    num_targets: int = 2,
    prefix_lengths: tuple[int, ...] = (4, 5, 7),
    suffix_length: int = 0,
    contrasts: bool = False,
    seed: int = 0,
) -> list[EncodedExample]:
    """Random token sequences whose corruption changes half of the prefix and suffix.

    Args:
        num_examples: how many.
        kind: an ARM's examples have no suffix, whatever `suffix_length` says.
        num_targets: target tokens of each example.
        prefix_lengths: used in turn, so that batches need padding; one length needs none.
        suffix_length: tokens after the target.
        contrasts: also name right and wrong tokens, for `prob_diff`.
        seed: of the tokens.
    """
    generator = np.random.default_rng(seed)
    suffix_length = 0 if kind == "arm" else suffix_length
    examples = []
    for row in range(num_examples):
        prefix = _draw(generator, prefix_lengths[row % len(prefix_lengths)])
        suffix = _draw(generator, suffix_length)
        targets = _draw(generator, num_targets)
        # A rotation by a non-zero amount: the distractor is never the target.
        distractors = (targets - len(SPECIAL_TOKENS) + generator.integers(1, NUM_WORDS)) % NUM_WORDS
        distractors = distractors + len(SPECIAL_TOKENS)
        pairs = zip(targets.tolist(), distractors.tolist(), strict=True)
        examples.append(
            EncodedExample(
                id=f"random-{row}",
                task="random",
                prefix_ids=tuple(prefix.tolist()),
                target_ids=tuple(targets.tolist()),
                suffix_ids=tuple(suffix.tolist()),
                corrupted_prefix_ids=_corrupt(generator, prefix),
                corrupted_suffix_ids=_corrupt(generator, suffix),
                distractor_ids=tuple(distractors.tolist()),
                contrasts=tuple(Contrast((t,), (d,)) for t, d in pairs) if contrasts else None,
            )
        )
    return examples


def _draw(generator: np.random.Generator, length: int) -> Int[np.ndarray, " token"]:
    return generator.integers(len(SPECIAL_TOKENS), VOCAB_SIZE, size=length)


def _corrupt(generator: np.random.Generator, ids: Int[np.ndarray, " token"]) -> tuple[int, ...]:
    """The same ids with every other one drawn again."""
    return tuple(np.where(np.arange(len(ids)) % 2 == 0, _draw(generator, len(ids)), ids).tolist())


def randomise(module: PreTrainedModel, gain: float, seed: int) -> None:
    """Draw every parameter anew, in place; norm weights around 1, the rest around 0.

    A projection then multiplies the size of a vector by about `gain`. Another kind of device draws
    other numbers of the same seed.
    """
    generator = torch.Generator(module.device).manual_seed(seed)
    for name, parameter in module.named_parameters():
        owner_name, _, kind = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        noise = torch.randn(parameter.shape, generator=generator, device=module.device)
        if isinstance(owner, nn.Embedding):
            values = noise
        elif parameter.ndim == 1:
            # Only norms have a weight of one axis; Gemma's is stored less 1.
            around = float(kind == "weight" and not isinstance(owner, Gemma3RMSNorm))
            values = 0.3 * noise + around
        else:
            # The experts of a mixture lie on an axis before their maps.
            fan_in = parameter.shape[0 if isinstance(owner, Conv1D) else -1]
            values = gain * noise / fan_in**0.5
        parameter.data.copy_(values)


def _compute_in_float64(module: PreTrainedModel) -> None:
    """Let norms, routers and experts work in float64, in place.

    The stock norms and routers round to float32 in any precision, and the product of all experts at
    once takes no float64.
    """
    if module._can_set_experts_implementation():
        module.set_experts_implementation("eager")
    made = {"Gemma3RMSNorm": _gemma_norm_of, "Qwen3MoeTopKRouter": _router_of}
    for submodule in module.modules():
        name = type(submodule).__name__
        make = made.get(name, _rms_norm_of if name.endswith("RMSNorm") else None)
        if make is not None:
            submodule.forward = make(submodule)


def _rms_norm_of(norm: Any) -> Callable[..., Float[Tensor, "*axes d"]]:
    def forward(hidden_states: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return norm.weight * (hidden_states * torch.rsqrt(variance + norm.variance_epsilon))

    return forward


def _gemma_norm_of(norm: Any) -> Callable[..., Float[Tensor, "*axes d"]]:
    def forward(x: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
        variance = x.pow(2).mean(-1, keepdim=True)
        return (1 + norm.weight) * (x * torch.rsqrt(variance + norm.eps))

    return forward


def _router_of(router: Any) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    def forward(hidden_states: Float[Tensor, "*axes d"]) -> tuple[Tensor, Tensor, Tensor]:
        logits = functional.linear(hidden_states.reshape(-1, router.hidden_dim), router.weight)
        weights, chosen = logits.softmax(dim=-1).topk(router.top_k, dim=-1)
        if router.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return logits, weights, chosen

    return forward
