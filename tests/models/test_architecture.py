import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechshift.errors import ModelError
from mechshift.models import decoder_parts


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_the_parts_recombine_into_the_hugging_face_logits(architecture, tiny_module):
    module = tiny_module(architecture)
    parts = decoder_parts(module)
    ids = torch.tensor([[3, 1, 4, 1, 5]])

    written, read = {}, {}

    def record(place, key):
        return lambda _module, args, output: place.__setitem__(key, (args, output))

    for layer, part in enumerate(parts.layers):
        part.output.register_forward_hook(record(written, f"a{layer}"))
        part.mlp.register_forward_hook(record(written, f"m{layer}"))
        part.attention_norm.register_forward_hook(record(read, f"a{layer}"))
        part.mlp_norm.register_forward_hook(record(read, f"m{layer}"))
    parts.final_norm.register_forward_hook(record(read, "logits"))
    with torch.no_grad():
        expected = module(ids).logits
        residual = parts.embedding(ids)
        for name, (args, _) in read.items():
            torch.testing.assert_close(args[0], residual)
            if name != "logits":
                residual = residual + written[name][1]
        logits = parts.unembedding(parts.final_norm(residual))
    assert list(read) == ["a0", "m0", "a1", "m1", "logits"]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_the_decoder_ends_after_the_final_norm(architecture, tiny_module):
    module = tiny_module(architecture)
    parts = decoder_parts(module)
    ids = torch.tensor([[3, 1, 4]])
    with torch.no_grad():
        hidden = parts.decoder(inputs_embeds=parts.embedding(ids)).last_hidden_state
        torch.testing.assert_close(parts.unembedding(hidden), module(ids).logits)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_the_projections_have_the_sizes_of_the_heads(architecture, tiny_module):
    parts = decoder_parts(tiny_module(architecture))
    assert (parts.num_heads, parts.num_key_value_heads) == (4, 2)
    assert (parts.head_dim, parts.d_model) == (4, 16)
    for layer in parts.layers:
        assert layer.query.out_features == layer.output.in_features == 16
        assert layer.key.out_features == layer.value.out_features == 8


def test_a_head_size_that_is_not_d_model_over_heads_is_read_from_the_module(tiny_module):
    assert decoder_parts(tiny_module("qwen3", head_dim=6)).head_dim == 6


def test_an_unsupported_class_is_refused_with_the_supported_ones():
    module = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=4, n_layer=1, n_head=1))
    with pytest.raises(
        ModelError,
        match="GPT2LMHeadModel.*LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM",
    ):
        decoder_parts(module)
