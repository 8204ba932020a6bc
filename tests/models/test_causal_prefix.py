"""Causal-prefix attention against stock models that are given what they see, one by one."""

import pytest
import torch

from mechshift.denoising import build_canvases, decode, left_to_right, schedule_from_orders
from mechshift.errors import DenoisingError, ModelError
from mechshift.models import Attention, LanguageModel, probe_attention, set_attention
from mechshift.models.architecture import decoder_parts
from mechshift.models.causal_prefix import denoised_block
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model
from mechshift.testing.random_models import BLOCK_LENGTH, MASK_TOKEN_ID

M = MASK_TOKEN_ID
CANVAS = [5, 6, 7, M, M, 8, M, 9]
SEEN = """
    #.......
    ##......
    ######..
    ######..
    ######..
    ######..
    #######.
    ########
"""
"""What a query (row) sees of it where a block has four positions: the block is 7 M M 8."""


def model_of(architecture, attention: Attention = "causal-prefix") -> LanguageModel:
    return random_language_model(architecture, "mdm", attention=attention, dtype=torch.float64)


def stock_hidden(model, row, seen):
    """The stock decoder with an explicit mask of four axes."""
    lowest = torch.finfo(torch.float64).min
    hidden = torch.tensor([[lowest if cell == "." else 0.0 for cell in line] for line in seen])
    return model.parts.decoder(
        input_ids=torch.tensor([row]),
        attention_mask=hidden.double()[None, None],
        position_ids=torch.arange(len(row))[None],
        use_cache=False,
    ).last_hidden_state


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_the_stock_decoder_with_an_explicit_mask(architecture, inputs):
    model, full = model_of(architecture), model_of(architecture, "full")
    found = model.hidden(*inputs([CANVAS]))
    expected = stock_hidden(full, CANVAS, SEEN.split())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for other in ("full", "causal"):
        read = model_of(architecture, other).hidden(*inputs([CANVAS]))
        assert (found - read)[:, :6].abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "ministral3"])
def test_it_is_what_sdlms_sampler_reads_with_a_cache_of_the_finished_text(architecture, inputs):
    """Finished text causally first, but for its last token; then that token and masks in full."""
    model, causal = model_of(architecture), model_of(architecture, "causal")
    prompt = [5, 6, 7, 8, 9]
    block = [10, M, M, M]
    found = model.hidden(*inputs([[*prompt, *block]]))
    before = causal.parts.decoder(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, 5, dtype=torch.int64),
        position_ids=torch.arange(5)[None],
        use_cache=True,
    )
    torch.testing.assert_close(found[:, :5], before.last_hidden_state, rtol=1e-10, atol=1e-12)
    after = causal.parts.decoder(
        input_ids=torch.tensor([block]),
        attention_mask=torch.zeros(1, 1, 4, 9, dtype=torch.float64),
        position_ids=torch.arange(5, 9)[None],
        past_key_values=before.past_key_values,
        use_cache=True,
    ).last_hidden_state
    torch.testing.assert_close(found[:, 5:], after, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_padding_that_has_the_id_of_the_mask_begins_no_block(inputs):
    model = model_of("qwen2")
    ids, mask, positions = inputs([CANVAS], padding=3)
    ids[:, :3] = M
    alone = model.hidden(*inputs([CANVAS]))
    torch.testing.assert_close(model.hidden(ids, mask, positions)[:, 3:], alone)


@pytest.mark.parametrize(
    ("ids", "block"),
    [
        (CANVAS, range(2, 6)),
        ([M, M, 5], range(3)),  # nothing is before the first mask
        ([5, 6, 7, 8, M], range(3, 5)),
        ([5, 6], range(0)),
    ],
)
def test_the_block_begins_at_the_token_before_the_first_mask(ids, block):
    assert denoised_block(ids, M, 4) == block


def test_all_positions_of_other_models_are_denoised():
    assert model_of("qwen2", "full").denoised(CANVAS) == range(8)
    assert model_of("qwen2").denoised(CANVAS) == range(2, 6)


def test_the_probe_refuses_a_causal_and_a_full_model_that_claim_it():
    module = random_language_model("qwen2", "mdm").module
    parts = decoder_parts(module)
    for attention, message in (("causal", "3 left the logits"), ("full", "4 moved the logits")):
        set_attention(module, attention)
        with pytest.raises(ModelError, match=f"changing token {message} .* not causal-prefix"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "mechshift.models.language_model.MaskedDecoder",
                    lambda decoder, visible: lambda is_masked, **rest: parts.decoder(**rest),
                )
                probe_attention(module, "causal-prefix", BLOCK_LENGTH)


def test_an_arm_cannot_attend_so_and_a_block_has_two_positions():
    with pytest.raises(ModelError, match="in which no token is masked; causal-prefix attention is"):
        random_language_model("qwen2", "arm", attention="causal-prefix")
    module = random_language_model("qwen2", "mdm").module
    with pytest.raises(ModelError, match="causal-prefix attention with block_length=1; give"):
        probe_attention(module, "causal-prefix", 1)


def test_a_step_that_commits_outside_the_block_is_refused():
    model = model_of("qwen2")
    (example,) = random_examples(1, kind="mdm", num_targets=6)
    # The token before the first mask and three masks predict four tokens.
    assert len(build_canvases(model, [example], left_to_right([6], 2))) == 2
    fits = schedule_from_orders([[2, 0, 1, 5, 3, 4]], 2)
    assert len(build_canvases(model, [example], fits)) == 2
    with pytest.raises(DenoisingError, match=r"step 0 commits target token 4 .* of 4 positions"):
        build_canvases(model, [example], schedule_from_orders([[4, 0, 1, 2, 3, 5]], None))
    with pytest.raises(DenoisingError, match="commit from left to right, in more steps"):
        build_canvases(model, [example], left_to_right([6], 1))


@pytest.mark.parametrize("order", ["confidence", "left-to-right", "random"])
def test_decoding_goes_block_by_block_and_its_schedule_can_be_scored(order):
    model = model_of("qwen2")
    examples = random_examples(4, kind="mdm", num_targets=9)
    decoded = decode(model, examples, order=order, batch_size=3)
    for steps in decoded.schedule.commit_step:
        assert sorted(steps.tolist()) == list(range(9))
        for step, target in enumerate(steps.argsort().tolist()):
            first_left = min(t for t in range(9) if steps[t] >= step)
            assert first_left <= target < first_left + 4
    assert build_canvases(model, examples, decoded.schedule)
    alone = [decode(model, [one], order="left-to-right").tokens[0] for one in examples]
    if order == "left-to-right":
        assert alone == decoded.tokens
        assert [decoded.schedule.commit_step[0].tolist()] == [list(range(9))]


def test_steps_and_samplers_that_do_not_fit_a_block_are_refused():
    model = model_of("qwen2")
    examples = random_examples(1, kind="mdm", num_targets=9)
    with pytest.raises(DenoisingError, match="writes 5 tokens .* denoises 4 of them at a time"):
        decode(model, examples, num_steps=2)
    with pytest.raises(DenoisingError, match="masked: .* denoises one block of 4 positions at a"):
        decode(model, examples, order="dream-entropy", num_steps=2)
