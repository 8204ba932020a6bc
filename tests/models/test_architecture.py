import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from mechshift.errors import ModelError
from mechshift.models import decoder_parts

ARCHITECTURES = ["gemma3", "gpt2", "llama", "ministral3", "mistral", "qwen2", "qwen3", "qwen3_moe"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_parts_recombine_into_the_hugging_face_logits(architecture, tiny_module):
    module = tiny_module(architecture)
    parts = decoder_parts(module)
    ids = torch.tensor([[3, 1, 4, 1, 5]])

    written, read = {}, {}

    def record(place, key):
        return lambda _module, args, output: place.__setitem__(key, (args, output))

    for layer, part in enumerate(parts.layers):
        norm = part.attention_post_norm
        writer = part.output.module if norm is None else norm.module
        writer.register_forward_hook(record(written, f"a{layer}"))
        part.mlp_writer.register_forward_hook(record(written, f"m{layer}"))
        part.attention_norm.module.register_forward_hook(record(read, f"a{layer}"))
        part.mlp_norm.module.register_forward_hook(record(read, f"m{layer}"))
    parts.final_norm.module.register_forward_hook(record(read, "logits"))
    with torch.no_grad():
        expected = module(ids).logits
        residual = parts.embedding(ids)
        if architecture == "gpt2":
            residual = residual + module.transformer.wpe.weight[:5]
        for name, (args, _) in read.items():
            torch.testing.assert_close(args[0], residual)
            if name != "logits":
                residual = residual + written[name][1]
        logits = parts.unembedding(parts.final_norm(residual))
    assert list(read) == ["a0", "m0", "a1", "m1", "logits"]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_decoder_ends_after_the_final_norm(architecture, tiny_module):
    module = tiny_module(architecture)
    parts = decoder_parts(module)
    ids = torch.tensor([[3, 1, 4]])
    with torch.no_grad():
        hidden = parts.decoder(inputs_embeds=parts.embedding(ids)).last_hidden_state
        torch.testing.assert_close(parts.unembedding(hidden), module(ids).logits)


def test_a_mixture_of_experts_has_no_hidden_neurons_that_a_map_of_its_own_reads(tiny_module):
    parts = decoder_parts(tiny_module("qwen3_moe"))
    assert all(layer.mlp_down is None for layer in parts.layers) and parts.num_neurons == 0
    mixed = decoder_parts(tiny_module("qwen3_moe", mlp_only_layers=[0]))
    assert mixed.layers[0].mlp_down is not None and mixed.num_neurons == 0


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "qwen3_moe"])
def test_the_hidden_neurons_are_what_the_last_map_of_the_mlp_reads(architecture, tiny_module):
    parts = decoder_parts(tiny_module(architecture))
    assert parts.num_neurons == 24
    for layer in parts.layers:
        hidden = []
        layer.neuron_map.projection.module.register_forward_pre_hook(
            lambda _, args, kept=hidden: kept.append(*args)
        )
        with torch.no_grad():
            written = layer.run_mlp(torch.randn(1, 2, parts.d_model))
            torch.testing.assert_close(layer.neuron_map(hidden[0]), written)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "qwen3_moe"])
@torch.no_grad()
def test_the_parts_of_what_a_block_writes_add_up_to_it_but_for_a_bias(architecture, tiny_module):
    """Also behind a norm, which divides all parts by one number of their sum."""
    layer = decoder_parts(tiny_module(architecture)).layers[1]
    for block in (layer.head_map, layer.neuron_map):
        if block.norm is not None:
            block.norm.module.weight.normal_()
        features = torch.randn(2, 3, block.weight.shape[1])
        parts = block.scaled(features)[..., None, :] * block.weight
        written = parts.sum(dim=-1)
        if block.projection.bias is not None:
            written = written + block.projection.bias
        torch.testing.assert_close(written, block(features))
        returned = block.projection.module(features)
        by_hand = returned if block.norm is None else block.norm.module(returned)
        torch.testing.assert_close(block(features), by_hand)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_projections_have_the_sizes_of_the_heads(architecture, tiny_module):
    parts = decoder_parts(tiny_module(architecture))
    num_key_value_heads = 4 if architecture == "gpt2" else 2
    assert (parts.num_heads, parts.num_key_value_heads) == (4, num_key_value_heads)
    assert (parts.head_dim, parts.d_model) == (4, 16)
    for layer in parts.layers:
        assert layer.query.weight.shape == layer.output.weight.shape == (16, 16)
        assert layer.key.weight.shape == layer.value.weight.shape == (4 * num_key_value_heads, 16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_projection_computes_its_share_of_what_its_module_returns(architecture, tiny_module):
    layer, x = decoder_parts(tiny_module(architecture)).layers[1], torch.randn(2, 3, 16)
    for parameter in (layer.query.bias, layer.output.bias):
        if parameter is not None:
            parameter.normal_()  # the stock classes start with biases of zero
    for projection in (layer.query, layer.key, layer.value, layer.output):
        share = projection.taken_from(projection.module(x))
        torch.testing.assert_close(projection(x), share)


def test_a_part_of_a_fused_output_is_exchanged_alone_and_may_change_its_size(tiny_module):
    layer = decoder_parts(tiny_module("gpt2")).layers[0]
    output = torch.arange(48.0)
    assert layer.key.taken_from(output).tolist() == list(range(16, 32))
    exchanged = layer.key.put_into(output, torch.tensor([-1.0, -2.0]))
    assert exchanged.tolist() == [*range(16), -1, -2, *range(32, 48)]
    assert torch.equal(layer.output.put_into(output, torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_norm_is_weight_times_centred_over_divisor_plus_bias(architecture, tiny_module):
    norm, x = decoder_parts(tiny_module(architecture)).final_norm, torch.randn(2, 3, 16)
    norm.module.weight.normal_()
    if norm.bias is not None:
        norm.bias.normal_()
    assert (norm.bias is not None) == norm.removes_mean == (architecture == "gpt2")
    centred = norm.centred(x)
    by_hand = norm.weight * centred / norm.divisor(centred) + (
        norm.bias if norm.bias is not None else 0
    )
    torch.testing.assert_close(norm.module(x), by_hand)
    torch.testing.assert_close(norm(x), by_hand)


@torch.no_grad()
def test_weights_are_views_that_follow_the_module(tiny_module):
    layer = decoder_parts(tiny_module("gpt2")).layers[0]
    layer.value.weight[3, 5] = 7.0
    assert float(layer.value.module.weight[5, 32 + 3]) == 7.0
    layer.value.module.double()
    assert layer.value.weight.dtype == torch.float64


def test_a_head_size_that_is_not_d_model_over_heads_is_read_from_the_module(tiny_module):
    assert decoder_parts(tiny_module("qwen3", head_dim=6)).head_dim == 6


def test_an_unsupported_class_is_refused_with_the_supported_ones():
    config = GPTNeoConfig(
        vocab_size=11, hidden_size=4, num_layers=1, num_heads=1, attention_types=[[["global"], 1]]
    )
    module = GPTNeoForCausalLM(config)
    names = "GPT2LMHeadModel, Gemma3ForCausalLM, LlamaForCausalLM, Ministral3ForCausalLM, Mistral"
    message = f"GPTNeoForCausalLM; .*: {names}"
    with pytest.raises(ModelError, match=message):
        decoder_parts(module)
