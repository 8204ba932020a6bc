"""Published checkpoints: the stock class that computes each, and its tensors' names.

A checkpoint names its class in config.json. Where that class is remote code, a stock class has the
same computation; some checkpoints also name their weights or their settings differently. That the
classes agree was tested outside this project by loading both (Dream, A2D, LLaDA), or read from
published code (the others); `docs/pairs.md` says which.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    Gemma3ForCausalLM,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    Ministral3ForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    Qwen3MoeForCausalLM,
)

from mechshift.errors import ModelError

Settings = dict[str, Any]
"""The content of a config.json."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFormat:
    """One kind of config.json and weight names."""

    architectures: tuple[str, ...]
    """Names in config.json's `architectures`."""
    model_type: str
    """Its `model_type`, looked at only where it names no architecture but a wrapper."""
    model_class: type[PreTrainedModel]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Regular expression -> replacement, applied to the weights' names one after the other."""
    translate: Callable[[Settings], Settings] = dict
    """config.json -> the settings of the stock class."""
    wants: Mapping[str, Any] = field(default_factory=dict)
    """Settings that config.json must have, where one published class computes what several stock
    classes do."""


LLADA_MEANINGS = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "mlp_hidden_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "weight_tying": "tie_word_embeddings",
}
"""Name of a setting in LLaDA's config.json -> the same setting of Llama."""

LLADA_REQUIRED = {
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "scale_logits": False,
}
"""Settings with which LLaDA's code computes what Llama computes."""


def _llada_settings(config: Settings) -> Settings:
    """LLaDA's settings by Llama's names.

    Raises:
        ModelError: a setting is missing, or has a value that Llama does not compute.
    """
    missing = [name for name in (*LLADA_REQUIRED, *LLADA_MEANINGS) if name not in config]
    if missing:
        raise ModelError(f"a LLaDA config.json without {', '.join(missing)} cannot be read.")
    for name, value in LLADA_REQUIRED.items():
        if config[name] != value:
            raise ModelError(
                f"a LLaDA model with {name}={config[name]!r} is not what Llama computes, which"
                f" takes {value!r}."
            )
    settings = {ours: config[theirs] for theirs, ours in LLADA_MEANINGS.items()}
    settings["num_key_value_heads"] = config.get("n_kv_heads") or config["n_heads"]
    # The number of rows of the embedding matrix, which may be padded.
    settings["vocab_size"] = config.get("embedding_size") or config["vocab_size"]
    return settings


RND1_ABSENT = ("rope_scaling", "sliding_window")
"""Settings that RND1's config.json gives as false where Qwen3-MoE's has null."""


def _rnd1_settings(config: Settings) -> Settings:
    return {
        name: None if name in RND1_ABSENT and value is False else value
        for name, value in config.items()
    }


LLADA_NAMES = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    r"^model\.transformer\.blocks\.": "model.layers.",
    r"\.(q_proj|k_proj|v_proj)\.": r".self_attn.\1.",
    r"\.attn_out\.": ".self_attn.o_proj.",
    r"\.attn_norm\.": ".input_layernorm.",
    r"\.ff_norm\.": ".post_attention_layernorm.",
    r"\.ff_proj\.": ".mlp.gate_proj.",
    r"\.up_proj\.": ".mlp.up_proj.",
    r"\.ff_out\.": ".mlp.down_proj.",
}

NEMOTRON_NAMES = {r"^encoder\.": "model.", r"^diffusion_head\.": "lm_head."}


def _sdlm_settings(config: Settings) -> Settings:
    """SDLM's settings are Qwen2's and its own, which `causal-prefix` attention presupposes.

    Raises:
        ModelError: a model whose block is read causally.
    """
    # The first published files spelt it otherwise.
    if config.get("causal_attn") or config.get("casual_attn"):
        raise ModelError(
            "an SDLM model with causal_attn=true reads its block causally, which no attention here"
            " does; the published ones have false."
        )
    return config


def _illada_settings(config: Settings) -> Settings:
    """Settings of an iLLaDA: they are Llama's, as long as it has Llama's norms.

    Raises:
        ModelError: a model with LayerNorm.
    """
    if config.get("layer_norm_eps") is not None:
        raise ModelError(
            f"an iLLaDA model with layer_norm_eps={config['layer_norm_eps']!r} has norms that Llama"
            " does not compute; with null it has Llama's."
        )
    return config


DIFFUGPT_NAMES = {
    r"^denoise_model\.": "transformer.",
    r"^embed_tokens\.": "transformer.wte.",
}

FORMATS = (
    CheckpointFormat(
        architectures=("GPT2LMHeadModel",),
        model_type="gpt2",
        model_class=GPT2LMHeadModel,
        renamed=DIFFUGPT_NAMES,
    ),
    CheckpointFormat(
        architectures=(
            "LlamaForCausalLM",
            "StableDiffcoderForCausalLM",
            "SeedDiffcoderForCausalLM",
        ),
        model_type="llama",
        model_class=LlamaForCausalLM,
    ),
    CheckpointFormat(
        architectures=("MistralForCausalLM",), model_type="mistral", model_class=MistralForCausalLM
    ),
    CheckpointFormat(
        architectures=("Qwen2ForCausalLM",), model_type="qwen2", model_class=Qwen2ForCausalLM
    ),
    CheckpointFormat(
        architectures=("Qwen3ForCausalLM",), model_type="qwen3", model_class=Qwen3ForCausalLM
    ),
    CheckpointFormat(
        architectures=("Qwen3MoeForCausalLM",),
        model_type="qwen3_moe",
        model_class=Qwen3MoeForCausalLM,
    ),
    CheckpointFormat(
        architectures=("Ministral3ForCausalLM",),
        model_type="ministral3",
        model_class=Ministral3ForCausalLM,
    ),
    CheckpointFormat(
        architectures=("Gemma3ForCausalLM",),
        model_type="gemma3_text",
        model_class=Gemma3ForCausalLM,
    ),
    CheckpointFormat(
        architectures=("DreamModel",), model_type="Dream", model_class=Qwen2ForCausalLM
    ),
    CheckpointFormat(
        architectures=("A2DQwen2LMHeadModel",),
        model_type="a2d-qwen2",
        model_class=Qwen2ForCausalLM,
    ),
    CheckpointFormat(
        architectures=("A2DQwen3LMHeadModel",),
        model_type="a2d-qwen3",
        model_class=Qwen3ForCausalLM,
    ),
    CheckpointFormat(
        architectures=("SDARForCausalLM",), model_type="sdar", model_class=Qwen3ForCausalLM
    ),
    CheckpointFormat(
        architectures=("WeDLMForCausalLM",),
        model_type="wedlm",
        model_class=Qwen3ForCausalLM,
        # With biases, WeDLM has none at the output, where Qwen3 would.
        wants={"qk_norm": True, "attention_bias": False},
    ),
    CheckpointFormat(
        architectures=("WeDLMForCausalLM",),
        model_type="wedlm",
        model_class=Qwen2ForCausalLM,
        wants={"qk_norm": False, "attention_bias": True},
    ),
    CheckpointFormat(
        architectures=("SDLMQwen2ForCausalLM",),
        model_type="qwen2",
        model_class=Qwen2ForCausalLM,
        translate=_sdlm_settings,
    ),
    CheckpointFormat(
        architectures=("NemotronLabsDiffusionModel",),
        model_type="nemotron_labs_diffusion",
        model_class=Ministral3ForCausalLM,
        renamed=NEMOTRON_NAMES,
    ),
    CheckpointFormat(
        architectures=("CoDALanguageModel",), model_type="CoDA", model_class=Qwen3ForCausalLM
    ),
    CheckpointFormat(
        architectures=("ILLaDAForCausalLM",),
        model_type="illada",
        model_class=LlamaForCausalLM,
        translate=_illada_settings,
    ),
    CheckpointFormat(
        architectures=("SDARMoeForCausalLM",),
        model_type="sdar_moe",
        model_class=Qwen3MoeForCausalLM,
    ),
    CheckpointFormat(
        architectures=("RND1LM",),
        model_type="rnd1",
        model_class=Qwen3MoeForCausalLM,
        translate=_rnd1_settings,
    ),
    CheckpointFormat(
        architectures=("Fast_dLLM_QwenForCausalLM",),
        model_type="Fast_dLLM_Qwen",
        model_class=Qwen2ForCausalLM,
    ),
    CheckpointFormat(
        architectures=("LLaDAModelLM",),
        model_type="llada",
        model_class=LlamaForCausalLM,
        renamed=LLADA_NAMES,
        translate=_llada_settings,
    ),
)
"""The known formats. DiffuGPT keeps GPT-2's settings and wraps its modules in other names.
Stable-DiffCoder's class is Llama's with a `generate` of its own, and was first called otherwise."""

WRAPPERS = ("DiscreteDiffusionModel",)
"""Classes that wrap a stock model; `model_type` then says which (DiffuGPT, DiffuLLaMA)."""

BY_ARCHITECTURE = {
    name: [format for format in FORMATS if name in format.architectures]
    for name in dict.fromkeys(name for format in FORMATS for name in format.architectures)
}
BY_MODEL_TYPE = {
    name: [format for format in FORMATS if format.model_type == name]
    for name in dict.fromkeys(format.model_type for format in FORMATS)
}


def checkpoint_format(config: Settings, where: str) -> CheckpointFormat:
    """The format of the checkpoint that a config.json describes.

    Raises:
        ModelError: neither `architectures` nor `model_type` names a supported class, or it has
            settings with which no stock class computes it.
    """
    architectures = [a for a in config.get("architectures") or [] if a not in WRAPPERS]
    if architectures:
        known, given, key = BY_ARCHITECTURE, architectures[0], "architectures"
    else:
        known, given, key = BY_MODEL_TYPE, config.get("model_type"), "model_type"
    if given not in known:
        raise ModelError(
            f"{where}/config.json says {key} '{given}', which mechshift cannot load;"
            f" known: {', '.join(known)}."
        )
    fitting = [one for one in known[given] if one.wants.items() <= config.items()]
    if not fitting:
        wanted = " or ".join(_settings_text(one.wants) for one in known[given])
        has = _settings_text({name: config.get(name) for name in known[given][0].wants})
        raise ModelError(
            f"{where}/config.json says {key} '{given}' with {has}, which no stock class computes;"
            f" with {wanted} one does."
        )
    return fitting[0]


def _settings_text(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={value}" for name, value in settings.items())
