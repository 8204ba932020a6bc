import math

import pytest
import torch

from mechshift.metrics import log_prob, logit_diff, negative_kl, prob_diff

THREE = math.log(3.0)


def test_logit_diff_is_target_minus_distractor():
    logits = torch.tensor([[1.0, 4.0, -2.0], [0.5, 0.0, 3.0]])
    values = logit_diff(logits, torch.tensor([1, 0]), torch.tensor([2, 2]))
    assert values.tolist() == [6.0, -2.5]


def test_logit_diff_of_a_token_with_itself_is_zero():
    logits = torch.randn(4, 7)
    ids = torch.tensor([0, 1, 2, 3])
    assert (logit_diff(logits, ids, ids) == 0).all()


def test_prob_diff_is_right_mass_minus_wrong_mass():
    # Probabilities 1/6, 3/6, 1/6, 1/6: (3/6 + 1/6) - 1/6, and one token counts for neither.
    logits = torch.tensor([[0.0, THREE, 0.0, 0.0]])
    contrast = torch.tensor([[0.0, 1.0, 1.0, -1.0]])
    torch.testing.assert_close(prob_diff(logits, contrast), torch.tensor([0.5]))


def test_prob_diff_stays_between_minus_one_and_one():
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]])
    contrast = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert prob_diff(logits, contrast).tolist() == [1.0, -1.0]


def test_log_prob_is_in_nats():
    logits = torch.tensor([[0.0, THREE, 0.0, 0.0]])
    torch.testing.assert_close(log_prob(logits, torch.tensor([1])), torch.tensor([math.log(0.5)]))


def test_log_probs_of_all_tokens_sum_to_one():
    logits = torch.randn(1, 5, dtype=torch.float64).expand(5, 5)
    total = log_prob(logits, torch.arange(5)).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64))


def test_negative_kl_is_summed_over_the_vocabulary_in_nats():
    # Clean 1/2, 1/4, 1/4 and current 1/4, 1/2, 1/4: KL = 1/2 log 2 - 1/4 log 2 + 0.
    clean = torch.tensor([[0.5, 0.25, 0.25]]).log()
    current = torch.tensor([[0.25, 0.5, 0.25]]).log()
    torch.testing.assert_close(
        negative_kl(current, clean), torch.tensor([-0.25 * math.log(2.0)]), rtol=1e-6, atol=0
    )


def test_negative_kl_weighs_with_the_clean_distribution():
    # KL(clean || current) of 3/4, 1/4 to 1/2, 1/2; the other direction is 0.1438.
    clean, current = torch.tensor([[THREE, 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert negative_kl(current, clean).item() == pytest.approx(-expected, rel=1e-6)
    assert expected == pytest.approx(0.1308, abs=1e-4)


def test_negative_kl_is_largest_at_the_clean_logits_and_flat_there():
    torch.manual_seed(0)
    clean = torch.randn(3, 7, dtype=torch.float64)
    current = clean.clone().requires_grad_()
    value = negative_kl(current, clean)
    (gradient,) = torch.autograd.grad(value.sum(), current)
    assert value.tolist() == [0.0, 0.0, 0.0]
    assert gradient.abs().max() < 1e-15
    assert (negative_kl(clean + torch.randn_like(clean), clean) < 0).all()


def test_the_gradient_of_negative_kl_is_clean_minus_current_probabilities():
    torch.manual_seed(1)
    clean, current = torch.randn(2, 4, 6, dtype=torch.float64).requires_grad_().unbind()
    to_current, to_clean = torch.autograd.grad(
        negative_kl(current, clean).sum(), (current, clean), allow_unused=True
    )
    torch.testing.assert_close(to_current, clean.softmax(-1) - current.softmax(-1))
    assert to_clean is None


def test_negative_kl_does_not_see_a_shift_of_all_logits():
    torch.manual_seed(2)
    clean, current = torch.randn(2, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(negative_kl(current + 5.0, clean - 3.0), negative_kl(current, clean))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_metrics_work_in_float32_at_least(given, expected):
    logits, ids = torch.randn(2, 5).to(given), torch.tensor([1, 2])
    assert logit_diff(logits, ids, ids).dtype == expected
    assert prob_diff(logits, torch.zeros(2, 5)).dtype == expected
    assert log_prob(logits, ids).dtype == expected
    assert negative_kl(logits, logits).dtype == expected
