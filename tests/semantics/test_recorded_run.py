"""What components write, against the stock module's hidden states and its output projections."""

import pytest
import torch

from mechshift.semantics.recorded_run import clean_run, layer_outputs, residual_stream
from mechshift.testing import ARCHITECTURES, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_the_residual_stream_is_the_stock_modules_hidden_states(
    architecture, kind, batch_of, stock_output
):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    found = residual_stream(clean_run(model, batch), batch)
    states = stock_output(model, batch, output_hidden_states=True).hidden_states
    # The last of Hugging Face's states is taken after the final norm.
    found = [*found.unbind(1)[:-1], model.parts.final_norm(found[:, -1])]
    for level, state in zip(found, states, strict=True):
        expected = state[batch.readout_row, batch.readout_position]
        torch.testing.assert_close(level, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_heads_mlp_and_bias_make_up_what_a_layer_adds(architecture, kind, batch_of):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    batch = batch_of(model)
    run = clean_run(model, batch)
    stream = residual_stream(run, batch)
    for index, layer in enumerate(model.parts.layers):
        added = layer_outputs(run, batch, index).sum(dim=1)
        if layer.output.bias is not None:
            added = added + layer.output.bias
        torch.testing.assert_close(added, stream[:, index + 1] - stream[:, index])


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_a_heads_output_is_what_the_projection_makes_of_its_z_alone(architecture, batch_of):
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    batch = batch_of(model)
    run = clean_run(model, batch)
    layer, recorded = model.parts.layers[1], run.record.layers[1]
    readouts = batch.readout_row, batch.readout_position
    for head in range(model.parts.num_heads):
        alone = torch.zeros_like(recorded.z).unflatten(-1, (model.parts.num_heads, -1))
        alone[..., head, :] = recorded.z.unflatten(-1, (model.parts.num_heads, -1))[..., head, :]
        projected = layer.output.module(alone.flatten(-2))
        projected = projected - layer.output.module(torch.zeros_like(recorded.z))
        found = layer_outputs(run, batch, 1)[:, head]
        torch.testing.assert_close(found, projected[readouts])


def test_no_hook_stays_behind_and_no_gradient_is_kept(batch_of):
    model = random_language_model("qwen2", "mdm")
    run = clean_run(model, batch_of(model))
    hooks = [
        hook
        for part in model.module.modules()
        for hook in (*part._forward_hooks, *part._forward_pre_hooks)
    ]
    assert not hooks
    assert not run.hidden.requires_grad
