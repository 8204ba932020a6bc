"""What tests of samplers need: logits from probabilities, and the loop around a sampler."""

import numpy as np
import pytest
import torch

from mechshift.denoising.samplers import StepState


@pytest.fixture
def logits_of():
    """A function that makes logits whose softmax is the given rows."""

    def make(*rows):
        return torch.tensor(rows, dtype=torch.float64).log()

    return make


@pytest.fixture
def run():
    """A function that runs a sampler on a model that always says the same, step by step.

    It gives the (positions, tokens) of each step of the loop.
    """

    def loop(sampler, logits, requested=None, *, seed=0, example=0):
        num_targets = len(logits)
        num_steps = sampler.num_steps(num_targets, requested)
        masked, steps = set(range(num_targets)), []
        for step in range(num_steps):
            state = StepState(
                step=step,
                num_steps=num_steps,
                num_targets=num_targets,
                masked=tuple(sorted(masked)),
                seed=seed,
                example=example,
            )
            read = range(num_targets) if sampler.reads_committed else state.masked
            commit = sampler.commit(state, logits[list(read)])
            assert sampler.num_commits(state) in (None, len(commit.positions))
            masked = (masked - set(commit.positions)) | set(commit.remasked)
            steps.append((commit.positions, commit.tokens))
        assert not masked
        return steps

    return loop


@pytest.fixture
def agrees():
    """A function that checks a share of successes against its chance, to four standard errors."""

    def check(successes, chance):
        share = np.mean(successes)
        error = (chance * (1 - chance) / len(successes)) ** 0.5
        assert abs(share - chance) <= 4 * error, (share, chance)

    return check
