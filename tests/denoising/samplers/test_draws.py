import numpy as np
import torch

from mechshift.denoising.samplers.draws import (
    draw_tokens,
    draw_without_replacement,
    highest,
    keep_top_k,
    keep_top_p,
)


def kept(logits):
    return [np.flatnonzero(row).tolist() for row in torch.isfinite(logits).numpy()]


def test_top_p_keeps_the_fewest_tokens_that_exceed_it():
    logits = torch.tensor([[0.125, 0.5, 0.125, 0.25], [0.25, 0.25, 0.25, 0.25]]).log()
    assert kept(keep_top_p(logits, 0.4)) == [[1], [0, 1]]
    # A sum of exactly top_p does not exceed it, so one token more is kept.
    assert kept(keep_top_p(logits, 0.5)) == [[1, 3], [0, 1, 2]]
    assert kept(keep_top_p(logits, 0.8)) == [[0, 1, 3], [0, 1, 2, 3]]
    assert torch.equal(keep_top_p(logits, 1.0), logits)


def test_top_k_keeps_all_that_equal_the_last_one():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0]])
    assert kept(keep_top_k(logits, 1)) == [[1]]
    assert kept(keep_top_k(logits, 2)) == [[1, 2, 3]]
    assert kept(keep_top_k(logits, 9)) == [[0, 1, 2, 3]]


def test_the_highest_scores_are_given_in_order_of_position():
    assert highest([0.1, 0.9, 0.9, 0.5], 2) == [1, 2]
    assert highest([0.5, 0.5, 0.5], 2) == [0, 1]
    assert highest([-np.inf, 0.0], 1) == [1]
    assert highest([1.0], 0) == []


def test_a_token_without_a_chance_is_never_drawn():
    class Extremes(np.random.Generator):
        """The lowest and the highest number that a generator can give."""

        def random(self, size):
            return np.array([[0.0], [1 - 2**-53]])

    probabilities = torch.tensor([[0.0, 0.3, 0.7, 0.0]] * 2)
    drawn = draw_tokens(probabilities, Extremes(np.random.PCG64(0)))
    assert drawn.tolist() == [1, 2]


def test_positions_are_drawn_one_after_another(agrees):
    # Weights 2 : 1 : 1. Without the first: 1/4 * 1/3 in either order of the others, 1/6 together.
    weights = np.log([2.0, 1.0, 1.0]).tolist()
    generator = np.random.default_rng(0)
    pairs = [tuple(draw_without_replacement(weights, 2, generator)) for _ in range(2000)]
    agrees([pair == (1, 2) for pair in pairs], 1 / 6)
    agrees([pair == (0, 1) for pair in pairs], 5 / 12)


def test_a_vanishing_weight_can_still_be_drawn_last():
    generator = np.random.default_rng(0)
    assert draw_without_replacement([0.0, -1e6], 2, generator) == [0, 1]
    assert draw_without_replacement([0.0, -1e6], 1, generator) == [0]
