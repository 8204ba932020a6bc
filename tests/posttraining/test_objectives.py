import math

import pytest
import torch

from mechshift.posttraining.objectives import (
    MIN_NOISE,
    mask_targets,
    noise_levels,
    weighted_cross_entropy,
)

LN2 = math.log(2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The loss by hand. Two rows of three tokens, three words. Position i predicts token i + 1, with the
# probabilities below; position 2 predicts nothing.

PROBABILITIES = [
    [[1 / 4, 1 / 4, 1 / 2], [1 / 2, 1 / 4, 1 / 4], [1 / 3, 1 / 3, 1 / 3]],
    [[1 / 8, 3 / 4, 1 / 8], [1 / 4, 1 / 2, 1 / 4], [1 / 3, 1 / 3, 1 / 3]],
]
IDS = [[0, 2, 1], [0, 0, 1]]
# So the tokens 1 and 2 of row 0 have the probabilities 1/2 and 1/4, and those of row 1 1/8 and 1/2.


def loss_and_gradient(weights, num_targets):
    logits = torch.tensor(PROBABILITIES).log().requires_grad_()
    loss = weighted_cross_entropy(
        logits, torch.tensor(IDS), torch.tensor(weights), num_targets=num_targets
    )
    loss.backward()
    return loss.item(), logits.grad


def test_the_autoregressive_loss_is_the_mean_over_targets():
    # Targets: both tokens of row 0 and the last of row 1; -log p is ln 2, 2 ln 2 and ln 2.
    loss, gradient = loss_and_gradient([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], num_targets=3)
    assert loss == pytest.approx(4 * LN2 / 3, rel=1e-6)
    # (p - 1 at the right word, p elsewhere) / 3 where a target is predicted, 0 elsewhere.
    expected = [
        [[1 / 12, 1 / 12, -1 / 6], [1 / 6, -1 / 4, 1 / 12], [0.0, 0.0, 0.0]],
        [[0.0, 0.0, 0.0], [1 / 12, -1 / 6, 1 / 12], [0.0, 0.0, 0.0]],
    ]
    torch.testing.assert_close(gradient, torch.tensor(expected))


def test_the_masked_diffusion_loss_weighs_by_one_over_t_and_divides_by_all_targets():
    # All four tokens are targets. Row 0 at t = 1/2 lost its last token, row 1 at t = 1/4 its first:
    # 2 x 2 ln 2 + 4 x 3 ln 2 over four targets.
    loss, gradient = loss_and_gradient([[0.0, 0.0, 2.0], [0.0, 4.0, 0.0]], num_targets=4)
    assert loss == pytest.approx(4 * LN2, rel=1e-6)
    expected = [
        [[0.0, 0.0, 0.0], [1 / 4, -3 / 8, 1 / 8], [0.0, 0.0, 0.0]],
        [[-7 / 8, 3 / 4, 1 / 8], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    ]
    torch.testing.assert_close(gradient, torch.tensor(expected))


def test_a_batch_in_which_nothing_was_masked_costs_nothing_and_moves_nothing():
    loss, gradient = loss_and_gradient([[0.0] * 3] * 2, num_targets=4)
    assert loss == 0.0 and not gradient.any()


def test_parts_of_a_batch_add_up_to_the_whole():
    weights = [[0.0, 2.0, 0.5], [0.0, 0.0, 4.0]]
    logits, ids = torch.tensor(PROBABILITIES).log(), torch.tensor(IDS)
    whole = weighted_cross_entropy(logits, ids, torch.tensor(weights), num_targets=4)
    parts = [
        weighted_cross_entropy(logits[[row]], ids[[row]], torch.tensor([w]), num_targets=4)
        for row, w in enumerate(weights)
    ]
    torch.testing.assert_close(sum(parts), whole)


# Noise.


def test_noise_levels_lie_between_the_smallest_and_one():
    generator = seeded()
    levels = torch.cat([noise_levels(5, generator) for _ in range(2000)])
    assert levels.min() >= MIN_NOISE and levels.max() <= 1.0
    assert levels.min() < 0.01 and levels.max() > 0.99


def test_noise_levels_fall_one_into_each_part_of_the_range():
    generator = seeded()
    for num_rows in (1, 2, 7, 192):
        levels = noise_levels(num_rows, generator)
        gaps = levels.sort().values.diff()
        torch.testing.assert_close(
            gaps, torch.full_like(gaps, (1 - MIN_NOISE) / num_rows), rtol=0, atol=1e-6
        )


def test_the_weights_are_unbiased():
    """Masked with chance t and weighed by 1/t, every target counts once in the mean."""
    generator = seeded()
    noise = noise_levels(4000, generator)
    ids = torch.zeros(4000, 50, dtype=torch.long)
    _, masked = mask_targets(
        ids, torch.ones(4000, 50, dtype=torch.bool), noise, mask_token_id=1, generator=generator
    )
    # Variance 1/t - 1, which over t averages ln(1 / MIN_NOISE) - 1 = 5.9; four standard errors.
    mean = (masked / noise[:, None]).mean().item()
    assert mean == pytest.approx(1.0, abs=4 * (5.9 / 200_000) ** 0.5)


def test_only_targets_are_masked_and_at_the_rate_of_their_row():
    ids = torch.arange(3 * 40_000).reshape(3, -1)
    is_target = torch.zeros_like(ids, dtype=torch.bool)
    is_target[:, ::2] = True
    before = ids.clone()
    noised, masked = mask_targets(
        ids, is_target, torch.tensor([0.1, 0.5, 0.9]), mask_token_id=-7, generator=seeded()
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
        torch.tensor([1.0]),
        mask_token_id=3,
        generator=seeded(),
    )
    assert noised.tolist() == [[5, 3, 3, 8]]
