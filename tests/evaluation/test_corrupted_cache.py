"""What is kept of the corrupted run, against the stock module's own outputs."""

import pytest
import torch

from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.evaluation import corrupted_cache
from mechshift.interventions import recorded_streams
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
NUM_EXAMPLES = 3


def padded_batch(model):
    examples = random_examples(
        NUM_EXAMPLES, kind=model.kind, prefix_lengths=(3, 6), suffix_length=2
    )
    canvases = build_canvases(model, examples, left_to_right([2] * NUM_EXAMPLES))
    (batch,) = batch_canvases(model, canvases, 99)
    assert (batch.attention_mask == 0).any()
    return canvases, batch


@torch.no_grad()
def corrupted_rows(model, canvases, batch):
    """Each row's canvas alone, without padding: tokens of the batch, and the stock output."""
    ordered = sorted(canvases, key=lambda canvas: len(canvas.clean_ids))
    for row, canvas in enumerate(ordered):
        tokens = batch.attention_mask[row].bool()
        ids = torch.tensor([canvas.corrupted_ids])
        yield row, tokens, canvas, model.module(ids, output_hidden_states=True)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_residual_streams_and_logits_are_the_stock_modules(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases, batch = padded_batch(model)
    cache = corrupted_cache(model, batch)
    layers = cache.activations.layers
    for row, tokens, canvas, output in corrupted_rows(model, canvases, batch):
        for layer, hidden in zip(layers, output.hidden_states, strict=False):
            torch.testing.assert_close(layer.attention_input[row, tokens], hidden[0])
        final = model.parts.final_norm(cache.activations.final_input[row, tokens])
        torch.testing.assert_close(final, output.hidden_states[-1][0])
        positions = [readout.position for readout in canvas.readouts]
        torch.testing.assert_close(
            cache.logits[batch.readout_row == row], output.logits[0, positions]
        )


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "qwen2"])
def test_what_sublayers_write_adds_up_to_the_residual_stream(architecture):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    _, batch = padded_batch(model)
    activations = corrupted_cache(model, batch).activations
    after = [layer.attention_input for layer in activations.layers[1:]] + [activations.final_input]
    for parts, layer, following in zip(model.parts.layers, activations.layers, after, strict=True):
        attention_output = parts.head_map(layer.z)
        torch.testing.assert_close(layer.mlp_input, layer.attention_input + attention_output)
        torch.testing.assert_close(following, layer.mlp_input + layer.mlp_output)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
@torch.no_grad()
def test_the_inputs_difference_is_that_of_the_streams_before_the_first_layer(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    _, batch = padded_batch(model)
    cache, ends = corrupted_cache(model, batch), []
    for ids in (batch.clean_ids, batch.corrupted_ids):
        with recorded_streams(model.parts) as streams:
            model.hidden(ids, batch.attention_mask, batch.position_ids)
        ends.append(streams[0])
    torch.testing.assert_close(cache.input_difference, ends[0] - ends[1])


def test_an_input_that_the_decoder_scales_is_taken_as_scaled():
    model = random_language_model("llama", "mdm", dtype=torch.float64)
    _, batch = padded_batch(model)
    model.parts.layers[0].block.register_forward_pre_hook(lambda _m, args: (3 * args[0], *args[1:]))
    cache, table = corrupted_cache(model, batch), model.parts.embedding
    expected = 3 * (table(batch.clean_ids) - table(batch.corrupted_ids))
    torch.testing.assert_close(cache.input_difference, expected)


@pytest.mark.parametrize(
    ("architecture", "num_key_value_heads"),
    [("gpt2", 2), ("mistral", 1), ("llama", 2), ("qwen2", 2)],
)
def test_keys_and_values_are_kept_once_per_kv_head(architecture, num_key_value_heads):
    model = random_language_model(architecture, "arm", dtype=torch.float64)
    _, batch = padded_batch(model)
    for parts, layer in zip(
        model.parts.layers, corrupted_cache(model, batch).activations.layers, strict=True
    ):
        normed = parts.attention_norm(layer.attention_input)
        torch.testing.assert_close(layer.key, parts.key(normed))
        torch.testing.assert_close(layer.value, parts.value(normed))
        assert layer.key.shape[-1] == num_key_value_heads * model.parts.head_dim


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_the_input_difference_is_where_the_tokens_differ(architecture):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    _, batch = padded_batch(model)
    cache = corrupted_cache(model, batch)
    weight = model.module.get_input_embeddings().weight
    expected = weight[batch.clean_ids] - weight[batch.corrupted_ids]
    torch.testing.assert_close(cache.input_difference, expected)
    changed = cache.input_difference.abs().amax(dim=-1) > 0
    assert torch.equal(changed, batch.clean_ids != batch.corrupted_ids)
    assert changed.any() and not changed[batch.attention_mask == 0].any()


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_the_arguments_call_each_attention_again_with_the_same_result(architecture):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    _, batch = padded_batch(model)
    cache = corrupted_cache(model, batch)
    assert cache.batch is batch
    for parts, layer, arguments in zip(
        model.parts.layers, cache.activations.layers, cache.attention_arguments, strict=True
    ):
        normed = parts.attention_norm(layer.attention_input)
        output, _ = parts.attention(hidden_states=normed, **arguments)
        torch.testing.assert_close(output, layer.mlp_input - layer.attention_input)


def test_nothing_in_the_cache_holds_a_graph():
    model = random_language_model("qwen2", "arm")
    _, batch = padded_batch(model)
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    cache = corrupted_cache(model, batch)
    kept = [cache.input_difference, cache.logits, cache.activations.final_input]
    kept += [tensor for layer in cache.activations.layers for tensor in vars(layer).values()]
    assert len(kept) == 3 + 2 * 8
    assert not any(tensor.requires_grad for tensor in kept)
