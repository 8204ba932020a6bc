import pytest
import torch

from mechshift.models import set_attention
from mechshift.models.visible_keys import additive_mask
from mechshift.posttraining.annealing import annealing_ratio, visible_positions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_share_of_visible_later_positions_grows_by_equal_steps_and_stays_at_one():
    ratios = [annealing_ratio(step, 4) for step in range(6)]
    assert ratios == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_annealing_steps_attention_is_open_at_once():
    assert annealing_ratio(0, 0) == 1.0
    assert annealing_ratio(0, 1) == 1.0


def test_a_ratio_of_zero_is_causal_and_of_one_bidirectional():
    by_hand = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert visible_positions(0.0, 3, seeded()).int().tolist() == by_hand
    for seed in range(20):
        assert visible_positions(1.0, 30, seeded(seed)).all()


def test_in_between_all_earlier_and_the_stated_share_of_later_positions_are_visible():
    visible = visible_positions(0.3, 400, seeded())
    earlier = torch.ones(400, 400, dtype=torch.bool).tril()
    assert visible[earlier].all()
    # 79,800 later positions: four standard errors are 0.0065.
    assert visible[~earlier].float().mean().item() == pytest.approx(0.3, abs=0.0065)


@pytest.fixture(params=["sdpa", "eager"])
def padded(request, micro_llama):
    """A model, and two rows of 7 and 4 tokens padded on the right."""
    present = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    ids = torch.randint(4, 90, (2, 7), generator=seeded()) * present
    return micro_llama(attention=request.param).eval(), ids, present


@torch.no_grad()
def token_logits(module, ids, attention_mask, present):
    return module(input_ids=ids, attention_mask=attention_mask).logits[present.bool()]


@pytest.mark.parametrize(("ratio", "attention"), [(0.0, "causal"), (1.0, "full")])
def test_at_its_ends_annealing_is_the_models_own_attention(padded, ratio, attention):
    module, ids, present = padded
    set_attention(module, attention)
    own = token_logits(module, ids, present, present)
    set_attention(module, "full")  # as the trainer leaves it while attention opens up
    visible = visible_positions(ratio, 7, seeded()) & present.bool()[:, None, :]
    mask = additive_mask(visible, module.dtype)
    assert torch.equal(token_logits(module, ids, mask, present), own)


def test_causal_and_full_attention_differ_by_more_than_the_tolerance_above(padded):
    module, ids, present = padded
    set_attention(module, "causal")
    causal = token_logits(module, ids, present, present)
    set_attention(module, "full")
    assert (token_logits(module, ids, present, present) - causal).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_in_one_layer_a_position_depends_on_exactly_the_visible_ones(micro_llama, implementation):
    module = micro_llama(attention=implementation, num_hidden_layers=1).eval()
    set_attention(module, "full")
    visible = visible_positions(0.5, 6, seeded(3))
    assert 0 < visible.triu(1).sum() < 15
    mask = additive_mask(visible[None], module.dtype)
    ids = torch.tensor([[10, 11, 12, 13, 14, 15]])
    logits = module(input_ids=ids, attention_mask=mask).logits[0]
    for key in range(6):
        changed = ids.clone()
        changed[0, key] = 50
        after = module(input_ids=changed, attention_mask=mask).logits[0]
        moved = (after - logits).abs().amax(dim=-1) > 0
        assert torch.equal(moved, visible[:, key])
