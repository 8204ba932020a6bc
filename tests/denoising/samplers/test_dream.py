import math

import pytest

from mechshift.denoising.samplers import SAMPLERS, StepState
from mechshift.denoising.samplers.dream import Dream
from mechshift.errors import DenoisingError

RULES = ["maskgit_plus", "topk_margin", "entropy"]


@pytest.fixture
def contest(logits_of):
    """Three positions over six tokens; each rule prefers another one."""
    return logits_of(
        (0.52, 0.16, 0.16, 0.16, 0.0, 0.0),  # the most probable token: 0.52 against 0.51 and 0.5
        (0.09, 0.51, 0.10, 0.10, 0.10, 0.10),  # the largest margin: 0.41 against 0.36 and 0
        (0.0, 0.0, 0.5, 0.5, 0.0, 0.0),  # the least entropy: 0.69 against 1.22 and 1.48
    )


@pytest.mark.parametrize("alg", RULES)
@pytest.mark.parametrize(
    ("num_targets", "num_steps", "counts"),
    [
        (5, 5, [0, 1, 1, 1, 2]),
        (32, 32, [0, *[1] * 30, 2]),
        (10, 4, [2, 2, 2, 4]),
        (6, 3, [1, 2, 3]),
        (32, 16, [1, *[2] * 14, 3]),
        (32, 512, [*[0] * 481, *[1] * 30, 2]),
        (3, 1, [3]),
    ],
)
def test_counts_are_the_published_ones(alg, num_targets, num_steps, counts):
    sampler, left, made = Dream(alg=alg), num_targets, []
    for step in range(num_steps):
        state = StepState(
            step=step, num_steps=num_steps, num_targets=num_targets, masked=tuple(range(left))
        )
        made.append(sampler.num_commits(state))
        left -= made[-1]
    assert made == counts


@pytest.mark.parametrize(
    ("alg", "trace"),
    [
        # Three tokens in three steps go 0, 1, 2.
        ("maskgit_plus", [((), ()), ((0,), (0,)), ((1, 2), (1, 2))]),
        ("topk_margin", [((), ()), ((1,), (1,)), ((0, 2), (0, 2))]),
        ("entropy", [((), ()), ((2,), (2,)), ((0, 1), (0, 1))]),
    ],
)
def test_each_rule_takes_the_position_it_is_surest_of(alg, trace, run, contest):
    assert run(Dream(alg=alg), contest) == trace
    assert run(Dream(alg=alg), contest, seed=7, example=3) == trace  # nothing is drawn


def test_one_token_per_step_is_512_steps_without_the_idle_ones(run, contest):
    short = [step for step in run(Dream(alg="entropy"), contest) if step[0]]
    long = [step for step in run(Dream(alg="entropy"), contest, 512) if step[0]]
    assert short == long


@pytest.mark.parametrize("alg", RULES)
def test_ties_go_to_the_leftmost_position_and_the_lowest_token(alg, run, logits_of):
    even = logits_of(*[(0.25, 0.25, 0.25, 0.25)] * 4)
    # Four tokens in three steps: floor(4 * 0.333) = 1, floor(3 * 0.499) = 1, 2.
    assert run(Dream(alg=alg), even, 3) == [((0,), (0,)), ((1,), (0,)), ((2, 3), (0, 0))]


def test_origin_writes_each_position_with_the_chance_of_its_interval(logits_of, agrees):
    logits = logits_of(*[(0.9, 0.1)] * 2)
    written = {step: [] for step in range(4)}
    for step in written:
        for example in range(800):
            state = StepState(step=step, num_steps=4, num_targets=2, masked=(0, 1), example=example)
            commit = Dream(alg="origin").commit(state, logits)
            assert set(commit.tokens) <= {0}
            written[step] += [position in commit.positions for position in (0, 1)]
    # Times 1, 0.75025, 0.5005, 0.25075, 0.001.
    agrees(written[0], 0.24975)
    agrees(written[1], 0.24975 / 0.75025)
    agrees(written[2], 0.24975 / 0.5005)
    assert all(written[3])


def last_step_tokens(sampler, logits, count, **state):
    """The token that each of many examples takes at the only position, in one step."""
    return [
        sampler.commit(
            StepState(step=0, num_steps=1, num_targets=1, masked=(0,), example=example, **state),
            logits,
        ).tokens[0]
        for example in range(count)
    ]


@pytest.mark.parametrize("alg", ["origin", *RULES])
def test_temperature_scales_the_logits_before_the_draw(alg, logits_of, agrees):
    # At temperature 2 chances go with the square root: 9 : 4 : 1 becomes 3 : 2 : 1.
    logits = logits_of((9 / 14, 4 / 14, 1 / 14))
    drawn = last_step_tokens(Dream(alg=alg, temperature=2.0), logits, 1000)
    for token, chance in enumerate((1 / 2, 1 / 3, 1 / 6)):
        agrees([each == token for each in drawn], chance)


def test_top_p_keeps_the_token_that_exceeds_it_and_top_k_cuts_further(logits_of, agrees):
    logits = logits_of((0.15, 0.5, 0.05, 0.3))
    sampler = Dream(alg="maskgit_plus", temperature=1.0, top_p=0.6)
    drawn = last_step_tokens(sampler, logits, 800)
    assert set(drawn) == {1, 3}
    agrees([token == 1 for token in drawn], 0.5 / 0.8)
    both = Dream(alg="maskgit_plus", temperature=1.0, top_p=0.6, top_k=1)
    assert set(last_step_tokens(both, logits, 50)) == {1}


def test_confidence_is_taken_after_the_filters(run, contest):
    # Of one kept token everyone is certain, so all tie and the leftmost comes first.
    assert run(Dream(alg="entropy", top_k=1), contest)[1] == ((0,), (0,))
    assert run(Dream(alg="topk_margin", top_p=0.4), contest)[1] == ((0,), (0,))


@pytest.mark.parametrize(
    ("alg", "chance"),
    # maskgit_plus prefers the unsure position exactly when it draws the unlikely token elsewhere.
    [("maskgit_plus", 0.9), ("topk_margin", 1.0), ("entropy", 1.0)],
)
def test_only_maskgit_ranks_by_the_token_that_was_drawn(alg, chance, logits_of, agrees):
    logits = logits_of((0.5, 0.5), (0.9, 0.1), (0.5, 0.5))
    sampler = Dream(alg=alg, temperature=1.0)
    surest_first = []
    for example in range(800):
        # The second of three steps commits floor(3 * 0.4995) = 1.
        state = StepState(step=1, num_steps=3, num_targets=3, masked=(0, 1, 2), example=example)
        (position,) = sampler.commit(state, logits).positions
        surest_first.append(position == 1)
    agrees(surest_first, chance)


def test_alg_temp_draws_positions_by_their_confidence(logits_of, agrees):
    logits = logits_of((0.8, 0.2, 0.0), (0.6, 0.4, 0.0), (0.5, 0.5, 0.0))
    sampler = Dream(alg="maskgit_plus", alg_temp=0.1)
    chosen = []
    for example in range(800):
        state = StepState(step=1, num_steps=3, num_targets=3, masked=(0, 1, 2), example=example)
        (position,) = sampler.commit(state, logits).positions
        chosen.append(position)
    weights = [math.exp(confidence / 0.1) for confidence in (0.8, 0.6, 0.5)]
    for position, weight in enumerate(weights):
        agrees([each == position for each in chosen], weight / sum(weights))


def test_no_alg_temp_and_0_are_the_same(run, contest):
    for alg in RULES:
        assert run(Dream(alg=alg, alg_temp=0.0), contest) == run(Dream(alg=alg), contest)


def test_draws_depend_on_seed_example_and_step_only(logits_of):
    logits = logits_of(*[(0.1,) * 10] * 6)
    sampler = Dream(alg="origin", temperature=1.0)

    def draw(step, seed, example):
        state = StepState(
            step=step,
            num_steps=3,
            num_targets=6,
            masked=tuple(range(6)),
            seed=seed,
            example=example,
        )
        commit = sampler.commit(state, logits)
        return commit.positions, commit.tokens

    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    draws = [draw(*key) for key in keys]
    assert draws == [draw(*key) for key in keys]
    assert len(set(draws)) == len(keys)


def test_published_names_are_offered():
    for alg in ("origin", *RULES):
        assert SAMPLERS[f"dream-{alg}"] == Dream(alg=alg)
        assert f"alg='{alg}'" in SAMPLERS[f"dream-{alg}"].source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alg": "margin"}, "no alg 'margin'; known: origin, maskgit_plus, topk_margin, entropy"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be 0 or more"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1"),
        ({"alg_temp": -0.1}, "alg_temp is -0.1; it must be 0 or more"),
        ({"eps": 1.0}, "eps is 1.0; it must be between 0 and 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(DenoisingError, match=message):
        Dream(**settings)


def test_steps_below_one_are_refused():
    with pytest.raises(DenoisingError, match="num_steps is 0; it must be at least 1"):
        Dream().num_steps(4, 0)
