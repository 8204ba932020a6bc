"""GPT-2: LayerNorm, learned positions, one fused module for q, k and v, biases everywhere.

Its `Conv1D` modules store weights as [in, out]. The positions are added to the token embeddings
before layer 0, so they belong to what `input` writes and cancel in its differences.
"""

from typing import Any

from transformers import GPT2LMHeadModel, PreTrainedModel

from mechshift.models.parts import Architecture, DecoderParts, LayerParts, Norm, Projection


def read_gpt2_layout(module: PreTrainedModel) -> DecoderParts:
    """Parts of a class that names its modules as `GPT2LMHeadModel` does."""
    decoder: Any = module.transformer
    config = module.config
    return DecoderParts(
        decoder=decoder,
        embedding=decoder.wte,
        layers=tuple(_read_layer(layer) for layer in decoder.h),
        final_norm=_layer_norm(decoder.ln_f),
        unembedding=module.lm_head,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
        head_dim=decoder.h[0].attn.head_dim,
        d_model=config.hidden_size,
        max_length=config.max_position_embeddings,
    )


def _read_layer(layer: Any) -> LayerParts:
    attention, width = layer.attn, layer.attn.embed_dim

    def fused(index: int) -> Projection:
        features = slice(index * width, (index + 1) * width)
        return Projection(module=attention.c_attn, features=features, transposed=True)

    return LayerParts(
        block=layer,
        attention=attention,
        attention_norm=_layer_norm(layer.ln_1),
        query=fused(0),
        key=fused(1),
        value=fused(2),
        output=Projection(module=attention.c_proj, transposed=True),
        # The fused output is split into parts of this many features.
        ungrouped=lambda num_heads: {"split_size": num_heads * attention.head_dim},
        mlp=layer.mlp,
        mlp_norm=_layer_norm(layer.ln_2),
        mlp_down=Projection(module=layer.mlp.c_proj, transposed=True),
    )


def _layer_norm(module: Any) -> Norm:
    return Norm(module=module, eps=float(module.eps), removes_mean=True)


GPT2 = Architecture(model_class=GPT2LMHeadModel, read=read_gpt2_layout)
