import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from mechshift.posttraining import posttrain
from mechshift.posttraining.adapters import whole_model, with_adapters


@pytest.fixture
def lora(micro_config):
    def make(**overrides):
        return micro_config(**dict(optimizer="adamw", lora_rank=2, lora_alpha=6) | overrides)

    return make


def randomised(model):
    """The adapted model with trained parameters away from their start at zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    return model.eval()


IDS = torch.tensor([[2, 10, 3, 12, 3, 40]])


@torch.no_grad()
def test_the_whole_model_is_the_weights_plus_the_scaled_product(micro_llama, lora):
    plain = micro_llama().eval()
    adapted = randomised(with_adapters(micro_llama(), lora(), mask_token_id=3))
    whole = whole_model(adapted).eval()
    assert type(whole) is LlamaForCausalLM
    layer = adapted.base_model.model.model.layers[1].mlp.up_proj
    change = 6 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = plain.model.layers[1].mlp.up_proj.weight + change
    torch.testing.assert_close(whole.model.layers[1].mlp.up_proj.weight, expected)
    torch.testing.assert_close(whole(IDS).logits, adapted(IDS).logits, rtol=0, atol=1e-4)
    assert (whole(IDS).logits - plain(IDS).logits).abs().max() > 0.1


@torch.no_grad()
def test_only_the_mask_tokens_embedding_is_trained(micro_llama, lora):
    plain = micro_llama()
    whole = whole_model(randomised(with_adapters(micro_llama(), lora(), mask_token_id=3)))
    moved = (whole.model.embed_tokens.weight != plain.model.embed_tokens.weight).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [3]
    arm = with_adapters(micro_llama(), lora(objective="ar"), mask_token_id=3)
    assert not any("token" in name for name, p in arm.named_parameters() if p.requires_grad)


# peft asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_folder_holds_the_whole_model_and_the_adapters_by_themselves(
    micro_llama, tokenizer, lora, tmp_path
):
    parent, out = tmp_path / "parent", tmp_path / "out"
    micro_llama().save_pretrained(parent)
    tokenizer.save_pretrained(parent)
    posttrain(out, parent=str(parent), config=lora(first_checkpoint=1), quiet=True)
    whole = LlamaForCausalLM.from_pretrained(out).eval()
    again = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(parent), out / "adapter")
    again.base_model.model.config.is_causal = False
    before = LlamaForCausalLM.from_pretrained(parent).eval()
    with torch.no_grad():
        whole_logits, merged_later, untrained = (
            m(IDS).logits for m in (whole, again.eval(), before)
        )
    torch.testing.assert_close(whole_logits, merged_later, rtol=0, atol=1e-4)
    assert (whole_logits - untrained).abs().max() > 1e-3
    checkpoint = LlamaForCausalLM.from_pretrained(out / "checkpoints" / "step-000001")
    assert not checkpoint.model.norm.weight.isnan().any()
    assert str(tmp_path) not in (out / "adapter" / "adapter_config.json").read_text("utf-8")


def test_the_same_seed_starts_the_same_adapters(micro_llama, lora):
    one, two, other = (
        with_adapters(micro_llama(), lora(seed=seed), mask_token_id=3).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(one[name].equal(two[name]) for name in one)
    assert any(not one[name].equal(other[name]) for name in one)
