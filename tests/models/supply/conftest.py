"""A small Llama in a GGUF file, as llama.cpp's converter writes it, and a wheel around it."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.models.supply.packaged_file import PackagedFile

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<empty_output>")
MERGES = ("Ġ Ġ", "h e", "Ġt he", "Ġ t", "a n", "an d", "Ġ and", "ĠĠ ĠĠ", "l l", "' ll")
"""In this order "Ġt he" never applies at its rank's first chance, as its left half comes later."""
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
QUANTIZED = "mlp.down_proj"
NUM_HEADS, NUM_KEY_VALUE_HEADS = 4, 2


@dataclass(frozen=True, kw_only=True)
class ToyFile:
    path: Path
    module: LlamaForCausalLM
    """With the weights that the file holds."""
    tokens: tuple[str, ...]
    merges: tuple[str, ...]


@pytest.fixture(scope="session")
def toy_gguf(tmp_path_factory):
    tokens = (*SPECIAL, *byte_letters().values(), *(merge.replace(" ", "") for merge in MERGES))
    path = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    module = random_module(len(tokens))
    write_gguf(path, module, tokens)
    return ToyFile(path=path, module=module, tokens=tokens, merges=MERGES)


@pytest.fixture(scope="session")
def toy_package(toy_gguf):
    return PackagedFile(
        package="toy-model",
        version="1.2",
        path="toy_model/toy.gguf",
        sha256=sha256(toy_gguf.path.read_bytes()).hexdigest(),
    )


@pytest.fixture(scope="session")
def toy_wheel(toy_package, toy_gguf, tmp_path_factory):
    path = tmp_path_factory.mktemp("wheels") / "toy_model-1.2-py3-none-any.whl"
    with ZipFile(path, "w") as wheel:
        wheel.write(toy_gguf.path, toy_package.path)
        about = "toy_model-1.2.dist-info"
        wheel.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.2\nRequires-Dist: not-there\n",
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def pip_settings(toy_wheel):
    """The user's configuration of pip: a folder of packages in place of an index."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(toy_wheel.parent),
        "PIP_CONFIG_FILE": os.devnull,
    }


def byte_letters():
    """GPT-2's letter for each byte: itself where it prints, else the next unused from 256 on."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    letters = {byte: chr(byte) for byte in printing}
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


def random_module(vocab_size):
    torch.manual_seed(3)
    module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=NUM_HEADS,
            num_key_value_heads=NUM_KEY_VALUE_HEADS,
            max_position_embeddings=64,
            rope_theta=5000.0,
            rms_norm_eps=1e-5,
            initializer_range=0.5,
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            if QUANTIZED in name:
                packed = quantize(parameter.numpy(), GGMLQuantizationType.Q8_0)
                parameter.copy_(torch.from_numpy(dequantize(packed, GGMLQuantizationType.Q8_0)))
    return module


def write_gguf(path, module, tokens):
    writer, config = GGUFWriter(path, "llama"), module.config
    writer.add_name("toy")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_KEY_VALUE_HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(tokens))
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(list(MERGES))
    for add, token_id in (
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_unk_token_id, 0),
        (writer.add_pad_token_id, 2),
    ):
        add(token_id)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    for layer in range(config.num_hidden_layers):
        for theirs, ours in NAMES.items():
            array = weights[f"model.layers.{layer}.{theirs}.weight"]
            name = f"blk.{layer}.{ours}.weight"
            if theirs == QUANTIZED:
                kind = GGMLQuantizationType.Q8_0
                writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, in_file_order(array, theirs))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_file_order(array, name):
    """Queries and keys stand in pairs that rotate together, not in halves, as transformers' do."""
    heads = {"self_attn.q_proj": NUM_HEADS, "self_attn.k_proj": NUM_KEY_VALUE_HEADS}.get(name)
    if heads is None:
        return array
    halves = array.reshape(heads, 2, -1, array.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))
