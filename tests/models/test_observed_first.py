"""Observed-first attention against a stock causal model that reads the reordered tokens."""

import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import Attention, LanguageModel, probe_attention, set_attention
from mechshift.models.architecture import decoder_parts
from mechshift.testing import ARCHITECTURES, random_language_model
from mechshift.testing.random_models import MASK_TOKEN_ID

CANVAS = [5, 6, MASK_TOKEN_ID, 7, MASK_TOKEN_ID, MASK_TOKEN_ID, 8, 9]
ORDER = [0, 1, 3, 6, 7, 2, 4, 5]
"""Places of its tokens as WeDLM reads them."""


def model_of(architecture, attention: Attention = "observed-first") -> LanguageModel:
    return random_language_model(architecture, "mdm", attention=attention, dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_causal_attention_over_the_reordered_tokens_with_their_positions(
    architecture, inputs
):
    model, causal = model_of(architecture), model_of(architecture, "causal")
    found = model.hidden(*inputs([CANVAS]))
    ids = torch.tensor([[CANVAS[place] for place in ORDER]])
    lowest = torch.finfo(torch.float64).min
    reordered = causal.parts.decoder(
        input_ids=ids,
        attention_mask=torch.full((1, 1, 8, 8), lowest, dtype=torch.float64).triu(1),
        position_ids=torch.tensor([ORDER]),
        use_cache=False,
    ).last_hidden_state
    torch.testing.assert_close(found[:, ORDER], reordered, rtol=1e-10, atol=1e-12)
    in_order = causal.hidden(*inputs([CANVAS]))
    assert (found - in_order).abs().max() > 1e-2


@torch.no_grad()
def test_embeddings_are_read_in_place_of_the_tokens_which_say_what_is_masked(inputs):
    model = model_of("qwen2")
    ids, mask, positions = inputs([CANVAS])
    embeddings = model.parts.embedding(ids)
    found = model.hidden(ids, mask, positions, embeddings=embeddings)
    torch.testing.assert_close(found, model.hidden(ids, mask, positions))
    other = model.hidden(ids, mask, positions, embeddings=2 * embeddings)
    assert not torch.allclose(found, other)
    # The same embeddings as if the text were observed: other tokens see other tokens.
    observed = model.hidden(ids + (ids == MASK_TOKEN_ID), mask, positions, embeddings=embeddings)
    assert not torch.allclose(found, observed)


def test_the_probe_refuses_a_causal_and_a_full_model_that_claim_it():
    module = random_language_model("qwen2", "mdm").module
    parts = decoder_parts(module)
    for attention, message in (("causal", "left the logits"), ("full", "moved the logits")):
        set_attention(module, attention)
        with pytest.raises(ModelError, match=f"changing token 7 {message} .* not observed-first"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "mechshift.models.language_model.MaskedDecoder",
                    lambda decoder, visible: lambda is_masked, **rest: parts.decoder(**rest),
                )
                probe_attention(module, "observed-first")


def test_an_arm_cannot_attend_so():
    with pytest.raises(ModelError, match="is an ARM, in which no token is masked"):
        random_language_model("qwen2", "arm", attention="observed-first")
