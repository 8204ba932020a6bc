import pytest

from mechshift.denoising.samplers import MDLM
from mechshift.errors import DenoisingError


def steps_of(steps):
    """The step at which each position was written, and its token."""
    return {
        position: (step, token)
        for step, written in enumerate(steps)
        for position, token in zip(*written, strict=True)
    }


def test_positions_are_written_evenly_over_time_and_noise_removal_takes_the_rest(
    run, logits_of, agrees
):
    # The chance of being masked falls in even steps from 1 to eps = 0.4: 0.2 of all per step, and
    # 0.4 is left for step 3.
    logits = logits_of((0.7, 0.2, 0.1), (0.7, 0.2, 0.1))
    sampler, written = MDLM(eps=0.4), []
    for example in range(800):
        written += steps_of(run(sampler, logits, 3, example=example)).values()
    at = [step for step, _ in written]
    for step, chance in enumerate((0.2, 0.2, 0.2, 0.4)):
        agrees([each == step for each in at], chance)
    # Ancestral steps draw from the model's distribution, noise removal takes its mode.
    drawn = [token for step, token in written if step < 3]
    for token, chance in enumerate((0.7, 0.2, 0.1)):
        agrees([each == token for each in drawn], chance)
    assert {token for step, token in written if step == 3} == {0}


def test_there_is_one_step_more_than_asked_for():
    assert MDLM().num_steps(5, None) == 6
    assert MDLM().num_steps(5, 128) == 129


def test_at_the_published_eps_little_is_left_for_noise_removal(run, logits_of):
    logits = logits_of(*[(0.5, 0.5)] * 20)
    last = [run(MDLM(), logits, 4, example=example)[-1][0] for example in range(20)]
    assert sum(map(len, last)) == 0


def test_a_seed_gives_the_same_sample_again(run, logits_of):
    logits = logits_of(*[(0.25,) * 4] * 5)
    assert run(MDLM(), logits, seed=3) == run(MDLM(), logits, seed=3)
    assert run(MDLM(), logits, seed=3) != run(MDLM(), logits, seed=4)


def test_an_eps_outside_0_to_1_is_refused():
    with pytest.raises(DenoisingError, match="eps is 0.0; it must be between 0 and 1"):
        MDLM(eps=0.0)
    with pytest.raises(DenoisingError, match="num_steps is 0; it must be at least 1"):
        MDLM().num_steps(3, 0)
