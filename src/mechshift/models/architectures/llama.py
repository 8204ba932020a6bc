"""Classes that name their modules as `LlamaForCausalLM` does.

RMSNorm, rotary positions, a module for each projection, grouped-query attention. Qwen2 has biases
in the q, k and v projections, Qwen3 norms its queries and keys per head, Ministral3 scales its
queries by their position. Qwen3-MoE is Qwen3 with a mixture of experts in place of the MLP.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaForCausalLM,
    Ministral3ForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    Qwen3MoeForCausalLM,
)

from mechshift.models.parts import (
    Architecture,
    DecoderParts,
    LayerParts,
    Mixture,
    Norm,
    Projection,
    narrowest_window,
)


def read_llama_layout(module: PreTrainedModel) -> DecoderParts:
    """Parts of a class that names its modules as `LlamaForCausalLM` does."""
    decoder, config = module.model, module.config
    return DecoderParts(
        decoder=decoder,
        embedding=decoder.embed_tokens,
        layers=tuple(_read_layer(layer) for layer in decoder.layers),
        final_norm=_rms_norm(decoder.norm),
        unembedding=module.lm_head,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=decoder.layers[0].self_attn.head_dim,
        d_model=config.hidden_size,
        max_length=narrowest_window(config),
    )


def _read_layer(layer: Any) -> LayerParts:
    attention = layer.self_attn
    return LayerParts(
        block=layer,
        attention=attention,
        attention_norm=_rms_norm(layer.input_layernorm),
        query=Projection(module=attention.q_proj),
        key=Projection(module=attention.k_proj),
        value=Projection(module=attention.v_proj),
        output=Projection(module=attention.o_proj),
        # The number of heads is read from what the projections return.
        ungrouped=lambda _num_heads: {"num_key_value_groups": 1},
        mlp=layer.mlp,
        mlp_norm=_rms_norm(layer.post_attention_layernorm),
        mlp_down=_last_map(layer.mlp),
        mixture=_mixture(layer.mlp),
    )


def _last_map(mlp: Any) -> Projection | None:
    """None for a mixture of experts, whose last maps are slices of one weight, and no modules."""
    return Projection(module=mlp.down_proj) if hasattr(mlp, "down_proj") else None


def _mixture(mlp: Any) -> Mixture | None:
    """Qwen3-MoE's, whose experts are slices of two weights; None for one MLP."""
    if not hasattr(mlp, "experts"):
        return None
    experts = mlp.experts

    def route(normed: Tensor) -> tuple[Tensor, Tensor]:
        _, weights, chosen = mlp.gate.forward(normed)
        return chosen, weights

    def returned(expert: int, normed: Tensor) -> Tensor:
        gate, up = functional.linear(normed, experts.gate_up_proj[expert]).chunk(2, dim=-1)
        return functional.linear(experts.act_fn(gate) * up, experts.down_proj[expert])

    return Mixture(num_experts=int(experts.num_experts), route=route, returned=returned)


def _rms_norm(module: Any) -> Norm:
    return Norm(module=module, eps=float(module.variance_epsilon), removes_mean=False)


LLAMA_LIKE = tuple(
    Architecture(model_class=model_class, read=read_llama_layout)
    for model_class in (
        LlamaForCausalLM,
        Ministral3ForCausalLM,
        MistralForCausalLM,
        Qwen2ForCausalLM,
        Qwen3ForCausalLM,
        Qwen3MoeForCausalLM,
    )
)
