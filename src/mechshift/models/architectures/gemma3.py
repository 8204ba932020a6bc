"""Gemma 3, text only: norms before and after each block, and every few layers without a window.

Attention and MLP are normed once more before what they return is added to the residual stream
(`OutputMap`). Norms store their weight less 1, embeddings are scaled by their own module, queries
and keys are normed per head, and layers with a window rotate by angles of their own.
"""

from typing import Any

from transformers import Gemma3ForCausalLM, PreTrainedModel

from mechshift.errors import ModelError
from mechshift.models.parts import (
    Architecture,
    DecoderParts,
    LayerParts,
    Norm,
    Projection,
    narrowest_window,
)


def read_gemma3_layout(module: PreTrainedModel) -> DecoderParts:
    """Parts of a `Gemma3ForCausalLM`.

    Raises:
        ModelError: logits that are capped, or projections with biases.
    """
    decoder, config = module.model, module.config
    if config.final_logit_softcapping is not None:
        raise ModelError(
            f"a Gemma 3 model with final_logit_softcapping={config.final_logit_softcapping} caps"
            " its logits, which is not supported; Gemma 3's own checkpoints leave it null."
        )
    if config.attention_bias:
        raise ModelError(
            "a Gemma 3 model with attention_bias=true norms a bias with what its heads write, so"
            " that it belongs to none of them; Gemma 3's own checkpoints have no biases."
        )
    return DecoderParts(
        decoder=decoder,
        embedding=decoder.embed_tokens,
        layers=tuple(_read_layer(layer) for layer in decoder.layers),
        final_norm=_norm(decoder.norm),
        unembedding=module.lm_head,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        d_model=config.hidden_size,
        max_length=narrowest_window(config),
    )


def _read_layer(layer: Any) -> LayerParts:
    attention = layer.self_attn
    return LayerParts(
        block=layer,
        attention=attention,
        attention_norm=_norm(layer.input_layernorm),
        query=Projection(module=attention.q_proj),
        key=Projection(module=attention.k_proj),
        value=Projection(module=attention.v_proj),
        output=Projection(module=attention.o_proj),
        attention_post_norm=_norm(layer.post_attention_layernorm),
        # The number of heads is read from what the projections return.
        ungrouped=lambda _num_heads: {"num_key_value_groups": 1},
        mlp=layer.mlp,
        mlp_norm=_norm(layer.pre_feedforward_layernorm),
        mlp_post_norm=_norm(layer.post_feedforward_layernorm),
        mlp_down=Projection(module=layer.mlp.down_proj),
    )


def _norm(module: Any) -> Norm:
    return Norm(module=module, eps=float(module.eps), removes_mean=False, stores_less_one=True)


GEMMA3 = Architecture(model_class=Gemma3ForCausalLM, read=read_gemma3_layout)
