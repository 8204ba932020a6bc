import pytest

from mechshift.denoising.samplers import LLaDA, StepState
from mechshift.errors import DenoisingError


@pytest.fixture
def six(logits_of):
    """Six positions over three tokens; the surest is the fifth, the least sure the second."""
    surest = (0.6, 0.5, 0.7, 0.8, 0.9, 0.55)
    return logits_of(*[((1 - p) / 2, p, (1 - p) / 2) for p in surest])


def positions(steps):
    return [step[0] for step in steps]


def test_one_block_commits_the_most_confident_positions_first(run, six):
    assert positions(run(LLaDA(), six)) == [(4,), (3,), (2,), (0,), (5,), (1,)]
    assert positions(run(LLaDA(), six, 2)) == [(2, 3, 4), (0, 1, 5)]
    # Six tokens in four steps: the first two take one more.
    assert positions(run(LLaDA(), six, 4)) == [(3, 4), (0, 2), (5,), (1,)]


def test_blocks_are_finished_from_left_to_right(run, six):
    blocks = LLaDA(block_length=3)
    assert positions(run(blocks, six)) == [(2,), (0,), (1,), (4,), (3,), (5,)]
    # Two steps a block: three tokens go 2, 1.
    assert positions(run(blocks, six, 4)) == [(0, 2), (1,), (3, 4), (5,)]
    assert positions(run(LLaDA(block_length=1), six)) == [(0,), (1,), (2,), (3,), (4,), (5,)]


def test_more_steps_than_tokens_leave_the_last_steps_of_a_block_empty(run, six):
    steps = run(LLaDA(block_length=3), six, 10)
    assert positions(steps) == [(2,), (0,), (1,), (), (), (4,), (3,), (5,), (), ()]


def test_ties_go_to_the_leftmost_position_and_the_lowest_token(run, logits_of):
    even = logits_of(*[(0.5, 0.5)] * 3)
    assert run(LLaDA(), even) == [((0,), (0,)), ((1,), (0,)), ((2,), (0,))]


def test_temperature_0_draws_nothing(run, six):
    assert run(LLaDA(), six, seed=1) == run(LLaDA(), six, seed=2, example=5)


def test_the_draw_has_a_temperature_and_the_confidence_has_none(logits_of, agrees):
    # At temperature 2 the chances 9 : 4 : 1 become 3 : 2 : 1. The other position has 0.55 or 0.45,
    # between 9/14 and 4/14, so the first is written exactly when it draws token 0. Confidences at
    # temperature 2 would be 0.5 against 0.525 or 0.475.
    logits = logits_of((9 / 14, 4 / 14, 1 / 14), (0.55, 0.45, 0.0))
    first = []
    for example in range(800):
        state = StepState(step=0, num_steps=2, num_targets=2, masked=(0, 1), example=example)
        commit = LLaDA(temperature=2.0).commit(state, logits)
        first.append(commit.positions == (0,))
        assert commit.positions == (1,) or commit.tokens == (0,)
    agrees(first, 1 / 2)


def test_random_remasking_takes_any_position_of_the_block(logits_of, agrees):
    logits = logits_of(*[(0.9, 0.1), (0.6, 0.4), (0.7, 0.3), (0.9, 0.1)])
    sampler = LLaDA(remasking="random", block_length=2)
    chosen = []
    for example in range(800):
        state = StepState(step=0, num_steps=4, num_targets=4, masked=(0, 1, 2, 3), example=example)
        commit = sampler.commit(state, logits)
        assert commit.tokens == (0,)
        chosen += commit.positions
    assert set(chosen) == {0, 1}
    agrees([position == 0 for position in chosen], 0.5)


@pytest.mark.parametrize(
    ("block_length", "num_targets", "num_steps", "message"),
    [
        (4, 6, None, "target of 6 tokens does not divide into LLaDA's blocks of 4"),
        (8, 6, None, "target of 6 tokens does not divide into LLaDA's blocks of 8"),
        (3, 6, 5, "5 steps do not divide among LLaDA's 2 blocks of 3; choose a multiple of 2"),
        (3, 6, 1, "1 steps do not divide among LLaDA's 2 blocks of 3"),
        (3, 6, 0, "num_steps is 0; it must be at least 1"),
    ],
)
def test_counts_that_do_not_divide_are_refused(block_length, num_targets, num_steps, message):
    with pytest.raises(DenoisingError, match=message):
        LLaDA(block_length=block_length).num_steps(num_targets, num_steps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"remasking": "entropy"}, "no remasking 'entropy'; known: low_confidence, random"),
        ({"temperature": float("nan")}, "temperature is nan; it must be 0 or more"),
        ({"block_length": 0}, "block_length is 0; it must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(DenoisingError, match=message):
        LLaDA(**settings)
