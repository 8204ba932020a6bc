import pytest
import torch
from torch import nn

from mechshift.interventions import removing, ungrouped_heads
from mechshift.testing import ARCHITECTURES, random_language_model


def double(_module, _args, output):
    return 2 * output


def test_hooks_act_inside_the_block_only():
    layer, x = nn.Identity(), torch.ones(2)
    with removing([layer.register_forward_hook(double)]):
        assert layer(x).tolist() == [2.0, 2.0]
    assert layer(x).tolist() == [1.0, 1.0]


def test_hooks_are_removed_on_an_error_inside_the_block():
    layer = nn.Identity()
    with pytest.raises(RuntimeError, match="inside"):
        with removing([layer.register_forward_hook(double)]):
            raise RuntimeError("inside")
    assert not layer._forward_hooks


def test_hooks_registered_before_a_failing_one_are_removed():
    layer = nn.Identity()

    def handles():
        yield layer.register_forward_hook(double)
        raise RuntimeError("the second cannot be registered")

    with pytest.raises(RuntimeError, match="second"):
        with removing(handles()):
            pass
    assert not layer._forward_hooks


@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("implementation", "dtype", "tolerance"),
    # The stock eager attention takes its softmax in float32 whatever the model's precision.
    [("sdpa", torch.float64, 1e-11), ("eager", torch.float32, 1e-4)],
)
def test_a_key_and_value_for_each_query_head_do_not_change_the_logits(
    architecture, kind, implementation, dtype, tolerance, padded_batch, hidden_of
):
    model = random_language_model(architecture, kind, dtype=dtype)
    model.module.set_attn_implementation(implementation)
    batch = padded_batch(model)
    outside = hidden_of(model, batch)
    with ungrouped_heads(model.parts):
        inside = hidden_of(model, batch)
    torch.testing.assert_close(inside, outside, rtol=0, atol=tolerance)


def test_projections_return_one_key_and_value_for_each_query_head_inside_the_block():
    model = random_language_model("qwen3", dtype=torch.float64)
    layer, x = model.parts.layers[1], torch.randn(1, 3, 16, dtype=torch.float64)
    for projection in (layer.key, layer.value):
        outside = projection.module(x).unflatten(-1, (2, 6))
        with ungrouped_heads(model.parts):
            inside = projection.module(x).unflatten(-1, (4, 6))
        assert torch.equal(inside, outside[..., [0, 0, 1, 1], :])


def test_group_size_and_hooks_are_put_back_also_after_an_error(footprint):
    model = random_language_model("qwen2")
    before = footprint(model.module)
    assert model.parts.layers[0].attention.num_key_value_groups == 2
    with pytest.raises(RuntimeError, match="inside"):
        with ungrouped_heads(model.parts):
            assert model.parts.layers[0].attention.num_key_value_groups == 1
            raise RuntimeError("inside")
    assert footprint(model.module) == before


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_without_grouped_attention_nothing_is_touched(architecture, footprint):
    model = random_language_model(architecture)
    before = footprint(model.module)
    with ungrouped_heads(model.parts):
        assert footprint(model.module) == before
