import pytest
import torch

from mechshift.posttraining.noising import (
    context_weights,
    inverse_noise,
    mask_targets,
    noise_levels,
)

MIN_NOISE = 1e-3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_levels_lie_between_the_smallest_and_one():
    generator = seeded()
    levels = torch.cat([noise_levels(5, generator, min_noise=MIN_NOISE) for _ in range(2000)])
    assert levels.min() >= MIN_NOISE and levels.max() <= 1.0
    assert levels.min() < 0.01 and levels.max() > 0.99


def test_noise_levels_fall_one_into_each_part_of_the_range():
    generator = seeded()
    for num_rows in (1, 2, 7, 192):
        levels = noise_levels(num_rows, generator, min_noise=MIN_NOISE)
        gaps = levels.sort().values.diff()
        torch.testing.assert_close(
            gaps, torch.full_like(gaps, (1 - MIN_NOISE) / num_rows), rtol=0, atol=1e-6
        )


def test_the_weights_are_unbiased():
    """Masked with chance t and weighed by 1/t, every target counts once in the mean."""
    generator = seeded()
    noise = noise_levels(4000, generator, min_noise=MIN_NOISE)
    ids = torch.zeros(4000, 50, dtype=torch.long)
    _, masked = mask_targets(
        ids,
        torch.ones(4000, 50, dtype=torch.bool),
        noise[:, None],
        mask_token_id=1,
        generator=generator,
    )
    # Variance 1/t - 1, which over t averages ln(1 / MIN_NOISE) - 1 = 5.9; four standard errors.
    mean = inverse_noise(masked, noise[:, None]).mean().item()
    assert mean == pytest.approx(1.0, abs=4 * (5.9 / 200_000) ** 0.5)


def test_only_targets_are_masked_and_at_the_rate_of_their_row():
    ids = torch.arange(3 * 40_000).reshape(3, -1)
    is_target = torch.zeros_like(ids, dtype=torch.bool)
    is_target[:, ::2] = True
    before = ids.clone()
    noised, masked = mask_targets(
        ids, is_target, torch.tensor([[0.1], [0.5], [0.9]]), mask_token_id=-7, generator=seeded()
    )
    assert not masked[~is_target].any()
    assert torch.equal(noised == -7, masked)
    assert torch.equal(noised[~masked], before[~masked]) and torch.equal(ids, before)
    # 20,000 targets a row: four standard errors are at most 0.0142.
    rates = masked.sum(dim=1) / 20_000
    torch.testing.assert_close(rates, torch.tensor([0.1, 0.5, 0.9]), rtol=0, atol=0.0142)


def test_at_full_noise_every_target_is_masked():
    is_target = torch.tensor([[False, True, True, False]])
    noised, _ = mask_targets(
        torch.tensor([[5, 6, 7, 8]]),
        is_target,
        torch.tensor([[1.0]]),
        mask_token_id=3,
        generator=seeded(),
    )
    assert noised.tolist() == [[5, 3, 3, 8]]


# CART.


def test_the_context_weights_by_hand():
    """p = 1/2, so a visible token at distance d gives 1/4 times 1/2 to the power d - 1."""
    masked = torch.tensor([[False, True, True, False, False]])
    present = torch.tensor([[1, 1, 1, 1, 0]])
    weights = context_weights(masked, present, p=0.5)
    # Token 1: token 0 at 1 and token 3 at 2. Token 2: token 0 at 2 and token 3 at 1.
    assert weights.tolist() == [[0.0, 1 / 4 + 1 / 8, 1 / 8 + 1 / 4, 0.0, 0.0]]


def test_a_token_with_nothing_visible_counts_nothing_and_more_context_counts_more():
    alone = torch.ones(1, 6, dtype=torch.bool)
    present = torch.ones(1, 6, dtype=torch.long)
    assert not context_weights(alone, present, p=0.1).any()
    near, far = (torch.tensor([[m != k for m in range(6)]]) for k in (1, 5))
    assert context_weights(near, present, p=0.1)[0, 0] > context_weights(far, present, p=0.1)[0, 0]
