"""The mask of what each query sees, by hand; each kind of attention has tests of its own."""

import torch

from mechshift.models.visible_keys import additive_mask


def test_the_additive_mask_by_hand():
    visible = torch.tensor([[[True, False], [True, True]], [[True, False], [False, False]]])
    low = torch.finfo(torch.float32).min
    mask = additive_mask(visible, torch.float32)
    assert mask.tolist() == [[[[0.0, low], [0.0, 0.0]]], [[[0.0, low], [low, low]]]]
    half = additive_mask(visible, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.isfinite(half).all()
