import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import (
    LanguageModel,
    decoder_parts,
    freeze,
    probe_attention,
    set_attention,
)

ARCHITECTURES = ["gemma3", "gpt2", "llama", "ministral3", "mistral", "qwen2", "qwen3", "qwen3_moe"]


def language_model(module, tokenizer, **overrides):
    settings = dict(
        name="m",
        kind="mdm",
        module=module,
        tokenizer=tokenizer,
        attention="full",
        shift=True,
        mask_token_id=22,
        weights_hash="0",
    )
    return LanguageModel(**(settings | overrides))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_each_architecture_attends_as_it_is_told(architecture, implementation, tiny_module):
    module = tiny_module(architecture, attn_implementation=implementation)
    for attention in ("full", "causal", "full"):
        set_attention(module, attention)
        probe_attention(module, attention)


def test_a_bidirectional_claim_by_a_causal_model_is_refused(tiny_module):
    module = tiny_module()
    set_attention(module, "causal")
    with pytest.raises(ModelError, match="token 7 left the logits .* not full. Is it causal"):
        probe_attention(module, "full")


def test_a_causal_claim_by_a_bidirectional_model_is_refused(tiny_module):
    module = tiny_module()
    set_attention(module, "full")
    with pytest.raises(ModelError, match="token 7 moved the logits at position 0 by .* not causal"):
        probe_attention(module, "causal")


@pytest.mark.parametrize("attention", ["full", "causal"])
def test_the_probe_works_in_bfloat16(attention, tiny_module):
    module = tiny_module().to(torch.bfloat16)
    set_attention(module, attention)
    probe_attention(module, attention)


def test_weights_that_are_not_finite_are_refused(tiny_module):
    module = tiny_module()
    with torch.no_grad():
        module.lm_head.weight[3, 0] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        probe_attention(module, "causal")


def test_the_probe_leaves_the_random_state_alone(tiny_module):
    module = tiny_module()
    before = torch.random.get_rng_state()
    probe_attention(module, "causal")
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_attention_is_refused(tiny_module):
    with pytest.raises(
        ModelError, match="unknown attention 'block'; known: causal, full, block-causal"
    ):
        set_attention(tiny_module(), "block")


def test_a_frozen_model_evaluates_and_has_no_trainable_parameter(tiny_module):
    module = tiny_module().train()
    freeze(module)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_graph_has_one_key_and_value_per_query_head_unless_grouped(tiny_module, word_tokenizer):
    model = language_model(tiny_module(), word_tokenizer())
    assert model.graph().num_key_value_groups == 4
    assert model.graph(grouped=True).num_key_value_groups == 2
    assert (model.graph().num_layers, model.graph().num_heads) == (2, 4)
    assert (model.dtype, model.device.type, model.vocab_size) == (torch.float32, "cpu", 23)


@pytest.mark.parametrize("mask_token_id", [-1, 23])
def test_a_mask_token_outside_the_embeddings_is_refused(mask_token_id, tiny_module, word_tokenizer):
    with pytest.raises(ModelError, match=f"mask token {mask_token_id} .* 23 embeddings"):
        language_model(tiny_module(), word_tokenizer(), mask_token_id=mask_token_id)


def test_an_mdm_without_a_mask_token_is_refused(tiny_module, word_tokenizer):
    with pytest.raises(ModelError, match="MDM without a mask token; set mask_token_id"):
        language_model(tiny_module(), word_tokenizer(), mask_token_id=None)


def test_an_arm_needs_no_mask_token_but_the_shift(tiny_module, word_tokenizer):
    language_model(tiny_module(), word_tokenizer(), kind="arm", mask_token_id=None)
    with pytest.raises(ModelError, match="ARM with shift=False"):
        language_model(tiny_module(), word_tokenizer(), kind="arm", shift=False)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["causal", "full"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_on_the_left_is_never_nan_and_gives_finite_gradients(
    architecture, attention, implementation, tiny_module, word_tokenizer
):
    module = tiny_module(architecture, attn_implementation=implementation)
    set_attention(module, attention)
    freeze(module)
    model = language_model(module, word_tokenizer(), attention=attention)
    mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])
    embeddings = model.parts.embedding(torch.randint(23, (2, 5))).requires_grad_()
    hidden = model.parts.decoder(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    ).last_hidden_state
    assert torch.isfinite(hidden).all()
    (gradient,) = torch.autograd.grad(hidden[:, -1].square().sum(), embeddings)
    assert torch.isfinite(gradient).all()
    assert (gradient[0, :3] == 0).all()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_block_causal_attention_sees_its_own_block_and_all_earlier_ones(
    architecture, implementation, tiny_module, word_tokenizer
):
    module = tiny_module(architecture, attn_implementation=implementation)
    set_attention(module, "block-causal")
    probe_attention(module, "block-causal", 3)
    model = language_model(module, word_tokenizer(), attention="block-causal", block_length=3)
    ids, ones = torch.randint(23, (1, 8)), torch.ones(1, 8, dtype=torch.long)
    positions = torch.arange(8)[None]
    seen = torch.zeros(8, 8, dtype=torch.bool)
    with torch.no_grad():
        before = model.hidden(ids, ones, positions)
        for key in range(8):
            changed = ids.clone()
            changed[0, key] = (ids[0, key] + 1) % 23
            moved = (model.hidden(changed, ones, positions) - before).abs().amax(dim=-1)
            # In a mixture of experts another token may round a token's product differently.
            seen[:, key] = moved[0] > (1e-5 if architecture == "qwen3_moe" else 0)
    ends = [3, 3, 3, 6, 6, 6, 8, 8]  # position i sees the keys before ends[i]
    assert seen.sum(dim=1).tolist() == ends
    assert all(seen[query, : ends[query]].all() for query in range(8))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_are_counted_from_the_first_token_that_is_not_padding(
    architecture, tiny_module, word_tokenizer
):
    module = tiny_module(architecture).double()
    if architecture == "qwen3_moe":
        module.set_experts_implementation("eager")  # the default takes no float64
    set_attention(module, "block-causal")
    model = language_model(module, word_tokenizer(), attention="block-causal", block_length=3)
    ids = torch.randint(23, (1, 7))
    padded = torch.cat([torch.zeros(1, 2, dtype=torch.long), ids], dim=1)
    mask = torch.tensor([[0, 0] + [1] * 7])
    with torch.no_grad():
        alone = model.hidden(ids, mask[:, 2:], torch.arange(7)[None])
        found = model.hidden(padded, mask, (mask.cumsum(1) - 1).clamp(min=0))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 2:], alone)


def test_one_block_over_the_whole_canvas_is_full_attention(tiny_module, word_tokenizer):
    module = tiny_module().double()
    set_attention(module, "full")
    full = language_model(module, word_tokenizer())
    block = language_model(module, word_tokenizer(), attention="block-causal", block_length=9)
    ids, ones = torch.randint(23, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    positions = torch.arange(9)[None].expand(2, 9)
    torch.testing.assert_close(
        block.hidden(ids, ones, positions), full.hidden(ids, ones, positions)
    )


def test_the_probe_refuses_a_causal_and_a_full_model_that_claim_to_attend_in_blocks(tiny_module):
    module = tiny_module()
    parts = decoder_parts(module)
    for attention, message in (("causal", "token 2 left"), ("full", "token 3 moved")):
        set_attention(module, attention)
        with pytest.raises(ModelError, match=f"changing {message} .* not block-causal"):
            with pytest.MonkeyPatch.context() as patch:
                # The mask of blocks does not reach the decoder.
                patch.setattr(
                    "mechshift.models.language_model.MaskedDecoder",
                    lambda decoder, visible: parts.decoder,
                )
                probe_attention(module, "block-causal", 3)


def test_more_tokens_than_learned_positions_are_refused(tiny_module, word_tokenizer):
    ids, ones = torch.zeros(1, 65, dtype=torch.long), torch.ones(1, 65, dtype=torch.long)
    positions = torch.arange(65)[None]
    gpt2 = language_model(tiny_module("gpt2"), word_tokenizer())
    assert gpt2.hidden(ids[:, :64], ones[:, :64], positions[:, :64]).shape == (1, 64, 16)
    with pytest.raises(ModelError, match="65 tokens is too long for 'm', which reads at most 64"):
        gpt2.hidden(ids, ones, positions)
    # Rotary positions are computed, so that none is missing.
    llama = language_model(tiny_module("llama"), word_tokenizer())
    assert llama.hidden(ids, ones, positions).shape == (1, 65, 16)
