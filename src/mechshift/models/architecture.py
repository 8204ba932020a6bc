"""Where are the parts of one architecture that mechshift reads and hooks?

The stock Hugging Face modules are used as they are; this file only says which of them is which.
A class that keeps the names of Llama needs one line in `READERS`; a class with other names needs
one more function beside `read_llama_layout`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM, Qwen3ForCausalLM

from mechshift.errors import ModelError


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerParts:
    """The modules of one pre-norm transformer block."""

    attention: nn.Module
    attention_norm: nn.Module
    """Norm of the residual stream that feeds `query`, `key` and `value`."""
    query: nn.Linear
    """d_model -> num_heads * head_dim, before any per-head norm and before rotation."""
    key: nn.Linear
    """d_model -> num_key_value_heads * head_dim."""
    value: nn.Linear
    """d_model -> num_key_value_heads * head_dim."""
    output: nn.Linear
    """num_heads * head_dim -> d_model; its input is z, the heads' outputs side by side."""
    mlp: nn.Module
    """Its output is what the MLP adds to the residual stream."""
    mlp_norm: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderParts:
    """The modules of one decoder, and the sizes that describe its heads."""

    decoder: nn.Module
    """Everything but the unembedding. Called with `inputs_embeds` or `input_ids`, `attention_mask`
    and `position_ids`; its `last_hidden_state` is taken after `final_norm`."""
    embedding: nn.Module
    layers: tuple[LayerParts, ...]
    final_norm: nn.Module
    unembedding: nn.Linear
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    d_model: int


def read_llama_layout(module: PreTrainedModel) -> DecoderParts:
    """Parts of a class that names its modules as `LlamaForCausalLM` does."""
    decoder, config = module.model, module.config
    return DecoderParts(
        decoder=decoder,
        embedding=decoder.embed_tokens,
        layers=tuple(_read_llama_layer(layer) for layer in decoder.layers),
        final_norm=decoder.norm,
        unembedding=module.lm_head,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=decoder.layers[0].self_attn.head_dim,
        d_model=config.hidden_size,
    )


def _read_llama_layer(layer: Any) -> LayerParts:
    attention = layer.self_attn
    return LayerParts(
        attention=attention,
        attention_norm=layer.input_layernorm,
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        output=attention.o_proj,
        mlp=layer.mlp,
        mlp_norm=layer.post_attention_layernorm,
    )


READERS: dict[type[PreTrainedModel], Callable[[PreTrainedModel], DecoderParts]] = {
    LlamaForCausalLM: read_llama_layout,
    Qwen2ForCausalLM: read_llama_layout,
    Qwen3ForCausalLM: read_llama_layout,
}
"""The supported classes. Exact types: a subclass may compute something else."""


def supported_architectures() -> str:
    """The names of the supported classes, for messages."""
    return ", ".join(sorted(cls.__name__ for cls in READERS))


def decoder_parts(module: PreTrainedModel) -> DecoderParts:
    """The parts of a supported model.

    Raises:
        ModelError: the class of `module` is not one of `READERS`.
    """
    reader = READERS.get(type(module))
    if reader is None:
        raise ModelError(
            f"cannot read the parts of a {type(module).__name__};"
            f" supported classes: {supported_architectures()}."
        )
    return reader(module)
