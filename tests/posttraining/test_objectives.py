import math

import pytest
import torch

from mechshift.posttraining.block_diffusion import predicted_from
from mechshift.posttraining.noising import context_weights, inverse_noise
from mechshift.posttraining.objectives import weighted_cross_entropy

LN2 = math.log(2)
SHIFTED = torch.tensor([0, 0, 1])
"""Position i predicts token i + 1, and nothing predicts token 0."""


# The loss by hand. Two rows of three tokens, three words. Position i predicts token i + 1, with the
# probabilities below; position 2 predicts nothing.

PROBABILITIES = [
    [[1 / 4, 1 / 4, 1 / 2], [1 / 2, 1 / 4, 1 / 4], [1 / 3, 1 / 3, 1 / 3]],
    [[1 / 8, 3 / 4, 1 / 8], [1 / 4, 1 / 2, 1 / 4], [1 / 3, 1 / 3, 1 / 3]],
]
IDS = [[0, 2, 1], [0, 0, 1]]
# So the tokens 1 and 2 of row 0 have the probabilities 1/2 and 1/4, and those of row 1 1/8 and 1/2.


def loss_of(logits, ids, weights, num_targets):
    return weighted_cross_entropy(
        logits, ids, torch.tensor(weights), predicted_from=SHIFTED, num_targets=num_targets
    )


def loss_and_gradient(weights, num_targets):
    logits = torch.tensor(PROBABILITIES).log().requires_grad_()
    loss = weighted_cross_entropy(
        logits,
        torch.tensor(IDS),
        torch.tensor(weights),
        predicted_from=SHIFTED,
        num_targets=num_targets,
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
    whole = weighted_cross_entropy(
        logits, ids, torch.tensor(weights), predicted_from=SHIFTED, num_targets=4
    )
    parts = [
        weighted_cross_entropy(
            logits[[row]], ids[[row]], torch.tensor([w]), predicted_from=SHIFTED, num_targets=4
        )
        for row, w in enumerate(weights)
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_without_the_shift_position_i_predicts_token_i():
    # Tokens 0 and 1 of row 0 have the probabilities 1/4 and 1/4, and token 1 of row 1 has 1/4.
    logits = torch.tensor(PROBABILITIES).log().requires_grad_()
    weights = torch.tensor([[1.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    loss = weighted_cross_entropy(
        logits, torch.tensor(IDS), weights, predicted_from=torch.arange(3), num_targets=2
    )
    assert loss.item() == pytest.approx((2 + 2 + 3 * 2) * LN2 / 2, rel=1e-6)
    loss.backward()
    # 3 (p - 1 at the right word, p elsewhere) / 2.
    torch.testing.assert_close(logits.grad[1, 1], torch.tensor([-9 / 8, 3 / 4, 3 / 8]))
    assert not logits.grad[1, [0, 2]].any()


def test_the_cart_loss_weighs_by_what_is_visible():
    # Token 1 of row 0 is masked; tokens 0 and 2, both at distance 1, give 1/4 each with p = 1/2.
    logits = torch.tensor(PROBABILITIES[:1]).log().requires_grad_()
    masked = torch.tensor([[False, True, False]])
    weights = context_weights(masked, torch.ones(1, 3, dtype=torch.long), p=0.5)
    loss = weighted_cross_entropy(
        logits, torch.tensor(IDS[:1]), weights, predicted_from=SHIFTED, num_targets=1
    )
    assert loss.item() == pytest.approx(LN2 / 2, rel=1e-6)
    loss.backward()
    expected = torch.tensor([[[1 / 8, 1 / 8, -1 / 4], [0.0] * 3, [0.0] * 3]])
    torch.testing.assert_close(logits.grad, expected)


def test_the_block_loss_reads_the_first_token_of_a_block_in_the_clean_half():
    # Blocks of two: token 1 at t = 1/2 is read at noised place 0, and token 2, which begins the
    # second block at t = 1/4, at clean place 1, the fifth of six: 2 ln 2 + 4 x 2 ln 2 over two.
    other = [0.2, 0.3, 0.5]
    places = [PROBABILITIES[0][0], other, other, other, PROBABILITIES[0][1], other]
    logits = torch.tensor([places]).log().requires_grad_()
    masked, noise = torch.tensor([[False, True, True]]), torch.tensor([[0.5, 0.5, 0.25]])
    loss = weighted_cross_entropy(
        logits,
        torch.tensor(IDS[:1]),
        inverse_noise(masked, noise),
        predicted_from=predicted_from(3, 2, shift=True),
        num_targets=2,
    )
    assert loss.item() == pytest.approx(5 * LN2, rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor([1 / 4, 1 / 4, -1 / 2]))
    torch.testing.assert_close(logits.grad[0, 4], torch.tensor([1.0, -3 / 2, 1 / 2]))
    assert not logits.grad[0, [1, 2, 3, 5]].any()
