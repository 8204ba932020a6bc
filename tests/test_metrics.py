import math

import pytest
import torch

from mechshift.metrics import log_prob, logit_diff, prob_diff

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
