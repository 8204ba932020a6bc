"""Folders with the settings and the weight names that checkpoints are published with, at toy size.

Each is written from a random model of the stock class, renamed by tables of this file's own, and
must load with equal logits while none of its code runs.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from mechshift.errors import ModelError
from mechshift.models import (
    MdmEntry,
    ModelSource,
    PairEntry,
    load_language_model,
    load_mdm,
    load_pair,
    set_attention,
)

IDS = torch.tensor([[1, 2, 3, 4, 5, 6]])
VOCAB = 23

QWEN_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "attention_dropout": 0.0,
    "use_cache": True,
    "vocab_size": VOCAB,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.2",
}
DREAM = QWEN_SIZES | {
    "architectures": ["DreamModel"],
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "model_type": "Dream",
    "bos_token_id": 0,
    "eos_token_id": 0,
    "mask_token_id": 21,
    "pad_token_id": 0,
    "max_window_layers": 2,
    "rope_scaling": None,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_mrope": False,
    "use_sliding_window": False,
}
A2D_QWEN3 = QWEN_SIZES | {
    "architectures": ["A2DQwen3LMHeadModel"],
    "auto_map": {"AutoModelForMaskedLM": "modeling_qwen3.A2DQwen3LMHeadModel"},
    "model_type": "a2d-qwen3",
    "attention_bias": False,
    "head_dim": 6,
    "tie_word_embeddings": True,
    "layer_types": ["full_attention", "full_attention"],
    "max_window_layers": 2,
    "sliding_window": None,
    "use_sliding_window": False,
}
SDAR = QWEN_SIZES | {
    "architectures": ["SDARForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_sdar.SDARConfig",
        "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM",
    },
    "model_type": "sdar",
    "attention_bias": False,
    "block_size": 4,
    "head_dim": 6,
    "mask_token_id": 21,
    "max_window_layers": 2,
    "sliding_window": None,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
}
EXPERTS = {
    "decoder_sparse_step": 1,
    "head_dim": 6,
    "max_window_layers": 2,
    "mlp_only_layers": [],
    "moe_intermediate_size": 8,
    "norm_topk_prob": True,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
SDAR_MOE = QWEN_SIZES | {
    "architectures": ["SDARMoeForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_sdar_moe.SDARMoeConfig",
        "AutoModelForCausalLM": "modeling_sdar_moe.SDARMoeForCausalLM",
    },
    "model_type": "sdar_moe",
    "attention_bias": False,
    "mask_token_id": 21,
    "sliding_window": None,
    **EXPERTS,
}
RND1 = QWEN_SIZES | {
    "architectures": ["RND1LM"],
    "auto_map": {"AutoModel": "modeling_rnd.RND1LM"},
    "model_type": "rnd1",
    "attention_bias": False,
    "mask_token_id": 21,
    "moe_backend": "hf",
    "num_diffusion_steps": 256,
    "rope_scaling": False,
    "sliding_window": False,
    **EXPERTS,
}
FAST_DLLM = QWEN_SIZES | {
    "architectures": ["Fast_dLLM_QwenForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration.Fast_dLLM_QwenConfig",
        "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM",
    },
    "model_type": "Fast_dLLM_Qwen",
    "bd_size": 32,
    "layer_types": ["full_attention", "full_attention"],
    "tie_word_embeddings": True,
}
STABLE_DIFFCODER = QWEN_SIZES | {
    "architectures": ["StableDiffcoderForCausalLM"],
    "auto_map": {
        "AutoModel": "modeling_stable_diffcoder.StableDiffcoderForCausalLM",
        "AutoModelForCausalLM": "modeling_stable_diffcoder.StableDiffcoderForCausalLM",
    },
    "attention_bias": False,
    "attention_dropout": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "initializer_range": 0.009882118,
    "layer_norm_eps": None,
    "mlp_bias": False,
    "model_type": "llama",
    "resid_pdrop": 0.1,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "transformers_version": "5.3.0",
}
CODA = QWEN_SIZES | {
    "architectures": ["CoDALanguageModel"],
    "auto_map": {
        "AutoConfig": "model_config.CoDAConfig",
        "AutoModel": "modeling_coda.CoDALanguageModel",
    },
    "attention_bias": False,
    "attention_kernel": "flash_attention",
    "block_masking_probability": [0.25, 0.5, 0.5, 0.75, 0.25],
    "head_dim": 6,
    "mask_block_sizes": [4, 8, 16, 32],
    "mask_token_id": 21,
    "max_window_layers": 2,
    "model_type": "CoDA",
    "pad_token_id": 0,
    "prefix_probability": 0,
    "rope_scaling": None,
    "sampling_eps": [0.001, 0.25, 0.5, 0.25, 0.001],
    "sliding_window": None,
    "torch_dtype": "float32",
    "truncate_probability": 0,
    "use_sliding_window": False,
}
ILLADA = QWEN_SIZES | {
    "architectures": ["ILLaDAForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_illada.ILLaDAForCausalLM"},
    "attention_bias": False,
    "layer_norm_eps": None,
    "mlp_bias": False,
    "model_type": "illada",
    "resid_pdrop": 0.0,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
}
SDLM = QWEN_SIZES | {
    "architectures": ["SDLMQwen2ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_sdlm.SDLMQwen2Config",
        "AutoModelForCausalLM": "modeling_sdlm.SDLMQwen2ForCausalLM",
    },
    "attn_implementation": "sdpa",
    "block_size": 4,
    "causal_attn": False,
    "max_window_layers": 2,
    "model_type": "qwen2",
    "sliding_window": 64,
    "text_mask_token": "<text_mask>",
    "text_mask_token_id": 21,
    "tie_word_embeddings": False,
    "transformers_version": "4.37.2",
    "use_sliding_window": False,
}
NEMOTRON = QWEN_SIZES | {
    "architectures": ["NemotronLabsDiffusionModel"],
    "auto_map": {
        "AutoConfig": "configuration_nemotron_labs_diffusion.NemotronLabsDiffusionConfig",
        "AutoModel": "modeling_nemotron_labs_diffusion.NemotronLabsDiffusionModel",
    },
    "ar_loss_weight": 1.0,
    "attention_bias": False,
    "block_size": 32,
    "dlm_loss_weight": 0.3,
    "dlm_paradigm": "bidirectional",
    "dp_varying_mask_ratio": False,
    "head_dim": 4,
    "mask_token_id": 21,
    "mlp_bias": False,
    "model_type": "nemotron_labs_diffusion",
    "rms_norm_eps": 1e-05,
    "rope_parameters": {
        "factor": 4.0,
        "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 16,
        "rope_theta": 1000000.0,
        "rope_type": "yarn",
    },
    "sliding_window": None,
    "tie_word_embeddings": False,
}
WEDLM_QWEN3 = QWEN_SIZES | {
    "architectures": ["WeDLMForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_wedlm.WeDLMForCausalLM"},
    "model_type": "wedlm",
    "attention_bias": False,
    "qk_norm": True,
    "head_dim": 6,
    "layer_types": ["full_attention", "full_attention"],
    "max_window_layers": 2,
    "sliding_window": None,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
}
WEDLM_QWEN2 = WEDLM_QWEN3 | {"attention_bias": True, "qk_norm": False, "head_dim": 4}
GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 0,
    "embd_pdrop": 0.1,
    "eos_token_id": 0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 64,
    "n_embd": 16,
    "n_head": 4,
    "n_layer": 2,
    "n_positions": 64,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": VOCAB,
}
LLADA = {
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "architectures": ["LLaDAModelLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "attention_layer_norm_with_affine": True,
    "auto_map": {
        "AutoConfig": "configuration_llada.LLaDAConfig",
        "AutoModel": "modeling_llada.LLaDAModelLM",
    },
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 16,
    "embedding_dropout": 0.0,
    "embedding_size": VOCAB,
    "eos_token_id": 0,
    "flash_attention": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": 21,
    "max_sequence_length": 64,
    "mlp_hidden_size": 24,
    "mlp_ratio": 4,
    "model_type": "llada",
    "multi_query_attention": None,
    "n_heads": 4,
    "n_kv_heads": 4,
    "n_layers": 2,
    "pad_token_id": 0,
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-05,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "vocab_size": 22,
    "weight_tying": False,
}


def same(name):
    return name


def llada_name(name):
    """The name that a weight of Llama has in LLaDA's checkpoint."""
    outside = {
        "model.embed_tokens.weight": "model.transformer.wte.weight",
        "model.norm.weight": "model.transformer.ln_f.weight",
        "lm_head.weight": "model.transformer.ff_out.weight",
    }
    if name in outside:
        return outside[name]
    _, _, layer, module = name.removesuffix(".weight").split(".", maxsplit=3)
    inside = {
        "self_attn.q_proj": "q_proj",
        "self_attn.k_proj": "k_proj",
        "self_attn.v_proj": "v_proj",
        "self_attn.o_proj": "attn_out",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ff_norm",
        "mlp.gate_proj": "ff_proj",
        "mlp.up_proj": "up_proj",
        "mlp.down_proj": "ff_out",
    }
    return f"model.transformer.blocks.{layer}.{inside[module]}.weight"


def diffugpt_name(name):
    if name == "transformer.wte.weight":
        return "embed_tokens.weight"
    return name.replace("transformer.", "denoise_model.")


def nemotron_name(name):
    """Ministral 3 as the encoder of another class, with a head of another name."""
    if name == "lm_head.weight":
        return "diffusion_head.weight"
    assert name.startswith("model.")
    return "encoder" + name.removeprefix("model")


def hub_gpt2_name(name):
    return name.removeprefix("transformer.")


def each_expert_by_itself(weights):
    """The weights as published: a mixture's experts one by one, where the class stacks them."""
    stored = {}
    for name, weight in weights.items():
        place, _, kind = name.rpartition(".experts.")
        if not place:
            stored[name] = weight
            continue
        for expert, own in enumerate(weight):
            of_kind = (
                {"down_proj": own}
                if kind == "down_proj"
                else dict(zip(("gate_proj", "up_proj"), own.chunk(2), strict=True))
            )
            for projection, part in of_kind.items():
                stored[f"{place}.experts.{expert}.{projection}.weight"] = part.contiguous().clone()
    return stored


LLAMA_OF_LLADA = {"num_key_value_heads": 4, "rope_theta": 5e5, "rms_norm_eps": 1e-5}
QWEN = {"rope_theta": 1e6}
QWEN_MOE = QWEN | {"head_dim": 6, "norm_topk_prob": True}

# Name: config.json, stock architecture, its settings, names in the file, and names not stored.
FORMATS = {
    "dream": (DREAM, "qwen2", QWEN, same, ()),
    "a2d-qwen3": (A2D_QWEN3, "qwen3", QWEN | {"head_dim": 6}, same, ()),
    "wedlm of qwen3": (WEDLM_QWEN3, "qwen3", QWEN | {"head_dim": 6}, same, ()),
    "wedlm of qwen2.5": (WEDLM_QWEN2, "qwen2", QWEN, same, ()),
    "sdar": (SDAR, "qwen3", QWEN | {"head_dim": 6}, same, ()),
    "sdar-moe": (SDAR_MOE, "qwen3_moe", QWEN_MOE, same, ()),
    "rnd1": (RND1, "qwen3_moe", QWEN_MOE, same, ()),
    "coda": (CODA, "qwen3", QWEN | {"head_dim": 6}, same, ()),
    "illada": (
        ILLADA,
        "llama",
        {"rope_theta": 5e5, "tie_word_embeddings": True},
        same,
        ("lm_head.weight",),
    ),
    "sdlm": (SDLM, "qwen2", QWEN, same, ()),
    "nemotron-labs": (
        NEMOTRON,
        "ministral3",
        {"rope_parameters": NEMOTRON["rope_parameters"], "rms_norm_eps": 1e-5},
        nemotron_name,
        (),
    ),
    "stable-diffcoder": (STABLE_DIFFCODER, "llama", {"rope_theta": 5e5}, same, ()),
    "stable-diffcoder's older class": (
        STABLE_DIFFCODER
        | {
            "architectures": ["SeedDiffcoderForCausalLM"],
            "auto_map": {
                "AutoModelForCausalLM": "modeling_seed_diffcoder.SeedDiffcoderForCausalLM"
            },
        },
        "llama",
        {"rope_theta": 5e5},
        same,
        (),
    ),
    "fast-dllm": (
        FAST_DLLM,
        "qwen2",
        QWEN | {"tie_word_embeddings": True},
        same,
        ("lm_head.weight",),
    ),
    "gpt2": (
        GPT2,
        "gpt2",
        {"tie_word_embeddings": True, "n_inner": None},
        hub_gpt2_name,
        ("lm_head.weight",),
    ),
    "diffugpt": (
        GPT2 | {"architectures": ["DiscreteDiffusionModel"]},
        "gpt2",
        {"tie_word_embeddings": True, "n_inner": None},
        diffugpt_name,
        ("lm_head.weight",),
    ),
    "diffugpt with its head": (
        GPT2,
        "gpt2",
        {"tie_word_embeddings": True, "n_inner": None},
        diffugpt_name,
        (),
    ),
    "llada": (LLADA, "llama", LLAMA_OF_LLADA, llada_name, ()),
}


@pytest.fixture
def published(tmp_path, tiny_module, word_tokenizer):
    """A function: name of a format -> its folder and the stock module with the same weights."""

    def write(name):
        config, architecture, settings, rename, absent = FORMATS[name]
        module = tiny_module(architecture, **settings)
        for parameter in module.parameters():
            # Also norms and biases, which start alike, so that no two could be exchanged unseen.
            torch.nn.init.normal_(parameter, std=0.3)
        folder = tmp_path / name
        folder.mkdir()
        weights = {
            rename(key): value.contiguous().clone()
            for key, value in module.state_dict().items()
            if key not in absent
        }
        if architecture == "gpt2":
            # The causal mask, which old versions stored with the weights.
            for layer in (0, 1):
                mask = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
                weights[rename(f"transformer.h.{layer}.attn.bias")] = mask
        weights = each_expert_by_itself(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
        marker = tmp_path / "executed"
        for path in {target for target in config.get("auto_map", {}).values()}:
            code = f"import os\nos.mkdir({str(marker)!r})\n"
            (folder / f"{path.split('.')[0]}.py").write_text(code)
        named = "w21" if config.get("mask_token_id") == 21 else "[MASK]"
        word_tokenizer(VOCAB, mask_token=named).save_pretrained(folder)
        set_attention(module, "full")
        return folder, module, marker

    return write


@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_a_published_folder_gives_the_stock_logits_and_runs_none_of_its_code(name, published):
    folder, module, marker = published(name)
    model = load_language_model(folder, name="m", kind="mdm", attention="full", shift=True)
    torch.testing.assert_close(model.module(IDS).logits, module(IDS).logits, rtol=0, atol=1e-5)
    assert not marker.exists()
    assert model.mask_token_id == FORMATS[name][0].get("mask_token_id", 22)
    if "rope_theta" in FORMATS[name][0]:
        assert model.module.config.rope_parameters["rope_theta"] == FORMATS[name][0]["rope_theta"]
    parts = model.parts
    tied = parts.unembedding.weight.data_ptr() == parts.embedding.weight.data_ptr()
    assert tied == bool(FORMATS[name][2].get("tie_word_embeddings"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"block_type": "sequential"},
            "block_type='sequential' is not what Llama computes.*'llama'",
        ),
        ({"include_qkv_bias": True}, "include_qkv_bias=True is not what Llama computes"),
        ({"alibi": True}, "alibi=True"),
    ],
)
def test_a_llada_that_llama_does_not_compute_is_refused(change, message, published):
    folder, _, _ = published("llada")
    (folder / "config.json").write_text(json.dumps(LLADA | change))
    with pytest.raises(ModelError, match=message):
        load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=False))


def test_a_llada_that_leaves_a_setting_out_is_refused(published):
    folder, _, _ = published("llada")
    left = {key: value for key, value in LLADA.items() if key not in ("rope", "d_model")}
    (folder / "config.json").write_text(json.dumps(left))
    with pytest.raises(ModelError, match="config.json without rope, d_model cannot be read"):
        load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=False))


def test_an_mdm_without_a_parent_loads_by_itself(published):
    folder, _, _ = published("llada")
    model = load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=False))
    assert (model.name, model.kind, model.shift) == ("own-mdm", "mdm", False)
    assert (model.mask_token_id, model.vocab_size) == (21, 23)
    assert model.parts.num_key_value_heads == 4


def test_a_wedlm_that_no_stock_class_computes_is_refused(published):
    """Qwen3 with biases has one at the output, and WeDLM none."""
    folder, _, _ = published("wedlm of qwen3")
    config = WEDLM_QWEN3 | {"attention_bias": True}
    (folder / "config.json").write_text(json.dumps(config))
    message = "'WeDLMForCausalLM' with qk_norm=True and attention_bias=True, which no stock class"
    with pytest.raises(ModelError, match=message):
        load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=False))


def test_an_sdlm_whose_block_is_causal_is_refused(published):
    folder, _, _ = published("sdlm")
    for name in ("causal_attn", "casual_attn"):
        (folder / "config.json").write_text(json.dumps(SDLM | {name: True}))
        with pytest.raises(ModelError, match="causal_attn=true reads its block causally"):
            load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=True))


@torch.no_grad()
def test_one_checkpoint_is_a_pair_that_is_read_in_two_ways(published):
    folder, module, _ = published("nemotron-labs")
    both = ModelSource(path=str(folder))
    pair = load_pair(
        PairEntry(
            name="own",
            arm=both,
            mdm=both,
            shift=False,
            attention="causal-prefix",
            block_length=4,
        )
    )
    assert pair.arm.weights_hash == pair.mdm.weights_hash
    ids = torch.tensor([[1, 2, 3, 21, 21]])
    rest = torch.ones_like(ids), torch.arange(5)[None]
    full = module.base_model(ids).last_hidden_state
    set_attention(module, "causal")
    causal = module.base_model(ids).last_hidden_state
    torch.testing.assert_close(pair.arm.hidden(ids, *rest), causal, rtol=0, atol=1e-5)
    read = pair.mdm.hidden(ids, *rest)
    # What is before the block is the ARM's to the last digit but rounding; the block is not.
    torch.testing.assert_close(read[:, :2], causal[:, :2], rtol=0, atol=1e-5)
    assert (read - causal)[:, 2:].abs().max() > 1e-2 < (read - full)[:, 2:].abs().max()


def test_an_illada_with_norms_that_llama_does_not_compute_is_refused(published):
    folder, _, _ = published("illada")
    (folder / "config.json").write_text(json.dumps(ILLADA | {"layer_norm_eps": 1e-5}))
    with pytest.raises(ModelError, match="layer_norm_eps=1e-05 has norms that Llama does not"):
        load_mdm(MdmEntry(name="own", mdm=ModelSource(path=str(folder)), shift=False))
