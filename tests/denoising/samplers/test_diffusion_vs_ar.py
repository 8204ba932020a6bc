import math

import pytest
import torch

from mechshift.denoising.samplers import DiffusionVsAR, StepState
from mechshift.errors import DenoisingError


def sure(*probabilities):
    """Logits over three tokens whose second has the given probability at each position."""
    rows = [(0.6 * (1 - p), p, 0.4 * (1 - p)) for p in probabilities]
    return torch.tensor(rows, dtype=torch.float64).log()


def commit(step, masked, logits, sampler=None, **keys):
    state = StepState(step=step, num_steps=4, num_targets=4, masked=tuple(masked), **keys)
    return (sampler or DiffusionVsAR(noise_scale=0.0)).commit(state, logits)


def test_a_written_token_is_masked_again_once_it_is_unsure():
    # 3, 2, 1, 0 stay masked. Position 1 is written first, and masked again by the second step.
    first = commit(0, range(4), sure(0.6, 0.9, 0.7, 0.8))
    assert (first.positions, first.tokens, first.remasked) == ((1,), (1,), ())
    second = commit(1, (0, 2, 3), sure(0.6, 0.5, 0.7, 0.8))
    assert (second.positions, second.remasked) == ((2, 3), (1,))
    third = commit(2, (0, 1), sure(0.6, 0.5, 0.7, 0.8))
    assert (third.positions, third.remasked) == ((0, 2, 3), ())
    last = commit(3, (1,), sure(0.6, 0.5, 0.7, 0.8))
    assert last.positions == (0, 1, 2, 3)


def test_a_written_token_is_written_over_by_the_latest_prediction():
    logits = sure(0.9, 0.6, 0.6, 0.6)
    logits[0] = logits[0].flip(0) + torch.tensor([5.0, 0.0, 0.0])
    later = commit(3, (1,), logits)
    assert later.tokens == (0, 1, 1, 1)


def test_noise_shrinks_with_the_time_left(agrees):
    # Two scores 1 apart; the better is masked when a logistic variable (the
    # difference of two Gumbels, times scale * t / T) falls below -1.
    worse = 0.6 * math.exp(-1)
    rows = [(0.6, *[0.1] * 4), (worse, *[(1 - worse) / 4] * 4)]
    logits = torch.tensor(rows, dtype=torch.float64).log()
    for num_steps, rate in ((2, 1 / 2), (4, 3 / 4)):
        better = []
        for example in range(800):
            state = StepState(
                step=0, num_steps=num_steps, num_targets=2, masked=(0, 1), example=example
            )
            written = DiffusionVsAR(noise_scale=2.0).commit(state, logits).positions
            better.append(0 in written)
            assert len(written) == 1
        agrees(better, 1 / (1 + math.exp(-1 / (2.0 * rate))))


def test_no_noise_draws_nothing(run):
    logits = sure(0.6, 0.9, 0.7, 0.8)
    plain = DiffusionVsAR(noise_scale=0.0)
    assert run(plain, logits, seed=1) == run(plain, logits, seed=2)


def test_a_negative_noise_is_refused():
    with pytest.raises(DenoisingError, match="noise_scale is -1.0; it must be 0 or more"):
        DiffusionVsAR(noise_scale=-1.0)
