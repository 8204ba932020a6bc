"""The double layout against denoising one block after the other."""

from functools import partial

import pytest
import torch

from mechshift.models import decoder_parts, set_attention
from mechshift.models.block_attention import keys_of_blocks
from mechshift.models.visible_keys import MaskedDecoder, Positions, additive_mask
from mechshift.posttraining.block_diffusion import (
    block_noise_levels,
    predicted_from,
    visible_in_both,
)


def test_what_is_visible_by_hand():
    """Three positions in blocks of two: noised 0 1 | 2, then clean 0 1 | 2."""
    assert visible_in_both(3, 2).int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]


def test_where_logits_are_read_by_hand():
    assert predicted_from(5, 2, shift=False).tolist() == [0, 1, 2, 3, 4]
    # Tokens 2 and 4 begin a block: the clean copies of 1 and 3 stand at 5 + 1 and 5 + 3.
    assert predicted_from(5, 2, shift=True)[1:].tolist() == [0, 6, 2, 8]


def test_the_clean_half_attends_as_a_block_causal_model_does():
    present = torch.ones(1, 7, dtype=torch.bool)
    positions = Positions(present=present, position_ids=torch.arange(7)[None], is_masked=None)
    assert torch.equal(visible_in_both(7, 3)[7:, 7:], keys_of_blocks(positions, 3)[0])


@torch.no_grad()
@pytest.mark.parametrize("shift", [True, False])
def test_every_block_gets_the_logits_that_it_has_when_it_is_denoised_alone(micro_llama, shift):
    module = micro_llama().eval()
    set_attention(module, "block-causal")
    ids = torch.randint(4, 90, (1, 7), generator=torch.Generator().manual_seed(0))
    noised = ids.clone()
    noised[0, [1, 3, 4, 6]] = 3
    together = module(
        input_ids=torch.cat([noised, ids], dim=1),
        attention_mask=additive_mask(visible_in_both(7, 3)[None], module.dtype),
        position_ids=torch.arange(7).repeat(2)[None],
    ).logits[0, predicted_from(7, 3, shift=shift)]
    parts = decoder_parts(module)
    decoder = MaskedDecoder(decoder=parts.decoder, visible=partial(keys_of_blocks, block_length=3))
    for token in range(int(shift), 7):
        block = token // 3
        stop = min(7, 3 * block + 3)
        canvas = torch.cat([ids[:, : 3 * block], noised[:, 3 * block : stop]], dim=1)
        hidden = decoder(
            input_ids=canvas,
            attention_mask=torch.ones_like(canvas),
            position_ids=torch.arange(stop)[None],
            use_cache=False,
        ).last_hidden_state[0, token - int(shift)]
        torch.testing.assert_close(together[token], parts.unembedding(hidden), rtol=0, atol=1e-5)


def test_one_noise_level_a_block_spread_over_the_range():
    generator = torch.Generator().manual_seed(0)
    levels = block_noise_levels(4, 7, 3, generator, min_noise=1e-3)
    assert levels.shape == (4, 7)
    for start in (0, 3, 6):
        block = levels[:, start : start + 3]
        assert torch.equal(block, block[:, :1].expand_as(block))
    gaps = levels[:, [0, 3, 6]].flatten().sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, (1 - 1e-3) / 12), rtol=0, atol=1e-6)
