"""The mask of what each query sees, by hand, and laws of all attention that asks what is masked.

Each kind has tests of its own too.
"""

import pytest
import torch

from mechshift.models.language_model import ASKS_WHAT_IS_MASKED
from mechshift.models.visible_keys import additive_mask
from mechshift.testing import ARCHITECTURES, random_language_model
from mechshift.testing.random_models import MASK_TOKEN_ID as M

CANVASES = ([5, 6, M, 7, M, M, 8, 9], [5, 6, 7, M, M, 8, M, 9])


def test_the_additive_mask_by_hand():
    visible = torch.tensor([[[True, False], [True, True]], [[True, False], [False, False]]])
    low = torch.finfo(torch.float32).min
    mask = additive_mask(visible, torch.float32)
    assert mask.tolist() == [[[[0.0, low], [0.0, 0.0]]], [[[0.0, low], [low, low]]]]
    half = additive_mask(visible, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.isfinite(half).all()


def model_of(architecture, attention):
    return random_language_model(architecture, "mdm", attention=attention, dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("attention", ASKS_WHAT_IS_MASKED)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_where_nothing_is_masked_it_is_causal_attention(architecture, attention, inputs):
    text = inputs([[5, 6, 7, 8, 9, 10]])
    found = model_of(architecture, attention).hidden(*text)
    causal = model_of(architecture, "causal").hidden(*text)
    torch.testing.assert_close(found, causal, rtol=1e-10, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("attention", ASKS_WHAT_IS_MASKED)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_and_other_rows_change_nothing(architecture, attention, inputs):
    model = model_of(architecture, attention)
    for canvas in CANVASES:
        alone = model.hidden(*inputs([canvas]))
        others = [list(reversed(canvas)), [M, *canvas[1:]], [5] * len(canvas)]
        padded = model.hidden(*inputs([canvas, *others], padding=3))
        assert torch.isfinite(padded).all()
        torch.testing.assert_close(padded[:1, 3:], alone, rtol=1e-10, atol=1e-12)
