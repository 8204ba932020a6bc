import pytest
import torch

from mechshift.denoising.samplers import DiffuLLaMARandomKeep, DiffuLLaMATopKMask, StepState
from mechshift.denoising.samplers.least_certain import num_least_certain
from mechshift.errors import DenoisingError


def state(step, num_steps, masked, num_targets=4, **keys):
    return StepState(
        step=step, num_steps=num_steps, num_targets=num_targets, masked=tuple(masked), **keys
    )


def sure(*probabilities):
    """Logits over three tokens whose first has the given probability at each position."""
    rows = [(p, 0.6 * (1 - p), 0.4 * (1 - p)) for p in probabilities]
    return torch.tensor(rows, dtype=torch.float64).log()


def test_random_keep_writes_at_every_step_with_equal_chance(run, agrees):
    # 1/5 at first, 1/4 of the 4/5 that are left, and so on: each step gets a fifth.
    logits = sure(0.9, 0.8)
    written_at = []
    for example in range(800):
        for step, (positions, _) in enumerate(
            run(DiffuLLaMARandomKeep(), logits, 5, example=example)
        ):
            written_at += [step] * len(positions)
    assert len(written_at) == 1600
    for step in range(5):
        agrees([each == step for each in written_at], 1 / 5)


def test_random_keep_draws_at_its_temperature_within_top_p(agrees):
    # Temperature 0.5 squares the chances: 0.5, 0.3, 0.2 become 25 : 9 : 4; 25/38 < 0.7 < 34/38.
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    sampler = DiffuLLaMARandomKeep(temperature=0.5, top_p=0.7)
    drawn = [
        sampler.commit(state(0, 1, (0,), 1, example=example), logits).tokens[0]
        for example in range(800)
    ]
    assert set(drawn) == {0, 1}
    agrees([token == 0 for token in drawn], 25 / 34)


def test_random_keep_at_temperature_0_draws_the_order_only(run):
    logits = sure(0.5, 0.4, 0.9)
    runs = [run(DiffuLLaMARandomKeep(temperature=0.0), logits, example=row) for row in range(30)]
    assert {token for steps in runs for _, tokens in steps for token in tokens} == {0}
    assert len({tuple(steps) for steps in runs}) > 5
    again = [run(DiffuLLaMARandomKeep(temperature=0.0), logits, example=row) for row in range(30)]
    assert again == runs


@pytest.mark.parametrize(
    "sampler", [DiffuLLaMATopKMask(gsm=True), DiffuLLaMATopKMask(temperature=0.0)]
)
def test_top_k_mask_leaves_the_least_certain_masked(sampler, run):
    # 4 targets in 4 steps: 3, 2, 1, 0 stay masked. In 3 steps: floor(8/3) = 2, floor(4/3) = 1, 0.
    logits = sure(0.6, 0.9, 0.7, 0.8)
    four = [((1,), (0,)), ((3,), (0,)), ((2,), (0,)), ((0,), (0,))]
    three = [((1, 3), (0, 0)), ((2,), (0,)), ((0,), (0,))]
    assert run(sampler, logits, 4) == four
    assert run(sampler, logits, 3) == three


def test_top_k_mask_ranks_written_positions_too():
    # Step 1 of 4 masks the two least certain. Position 3 was written before and is now unsure, so
    # only one masked position stays and two are written where one is due.
    sampler = DiffuLLaMATopKMask(gsm=True)
    unsure = sampler.commit(state(1, 4, (0, 1, 2)), sure(0.9, 0.8, 0.7, 0.4))
    assert unsure.positions == (0, 1)
    # Where position 3 stays sure, one is written.
    steady = sampler.commit(state(1, 4, (0, 1, 2)), sure(0.9, 0.8, 0.7, 0.95))
    assert steady.positions == (0,)
    # And none where all that is masked is among the least certain two of four.
    late = sampler.commit(state(1, 4, (0, 2)), sure(0.5, 0.8, 0.6, 0.9))
    assert late.positions == ()
    assert unsure.remasked == steady.remasked == late.remasked == ()


def test_top_k_mask_writes_all_that_tie_at_the_cut():
    sampler = DiffuLLaMATopKMask(gsm=True)
    # Three should stay masked; the score of rank 3 is 0.7, and so is that of ranks 1 and 2.
    tied = sampler.commit(state(0, 4, range(4)), sure(0.7, 0.6, 0.7, 0.7))
    assert tied.positions == (0, 2, 3)
    even = sampler.commit(state(0, 4, range(4)), sure(0.7, 0.7, 0.7, 0.7))
    assert even.positions == (0, 1, 2, 3)


def test_top_k_mask_does_no_more_once_everything_is_written():
    sampler = DiffuLLaMATopKMask()
    assert sampler.num_commits(state(2, 4, ())) == 0
    assert sampler.num_commits(state(2, 4, (1,))) is None


def test_top_k_mask_scores_the_token_that_was_drawn(agrees):
    # Position 1 draws its likely token with 0.9 and then beats position 0 (0.5), else it loses.
    logits = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).log()
    first = []
    for example in range(800):
        commit = DiffuLLaMATopKMask(temperature=1.0).commit(
            state(0, 2, (0, 1), 2, example=example), logits
        )
        (position,), (token,) = commit.positions, commit.tokens
        first.append(position == 1)
        assert position == 0 or token == 0
    agrees(first, 0.9)


def test_the_count_that_stays_masked_is_rounded_as_published():
    # In exact arithmetic 22 * 13 / 22 is 13; the published float32 product falls just below.
    assert num_least_certain(state(8, 22, range(22), 22)) == 12
    assert [num_least_certain(state(i, 5, range(5), 5)) for i in range(5)] == [4, 3, 2, 1, 0]
    assert [num_least_certain(state(i, 4, range(10), 10)) for i in range(4)] == [7, 5, 2, 0]


@pytest.mark.parametrize("sampler", [DiffuLLaMARandomKeep, DiffuLLaMATopKMask])
def test_negative_temperatures_are_refused(sampler):
    with pytest.raises(DenoisingError, match="temperature is -0.5; it must be 0 or more"):
        sampler(temperature=-0.5)
