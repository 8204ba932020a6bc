"""Effective number without noise: by hand, exact without noise, no larger for being noisy."""

import numpy as np
import pytest

from mechshift.errors import SemanticsError
from mechshift.semantics import noise_free_number
from mechshift.semantics._concentration import effective_number
from mechshift.semantics._noise_free_number import NUM_SPLITS, _carried_over, number_of
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import bootstrap_variance, split_halves

SETTINGS = SemanticsSettings(num_resamples=100)
POOLS = 10


def effects(num_components: int) -> np.ndarray:
    generator = np.random.default_rng(num_components)
    return np.exp(1.2 * generator.normal(size=num_components)) * generator.choice(
        [-1, 1], size=num_components
    )


def drawn(mean: np.ndarray, noise: float, seed: int, num_examples: int = 100) -> np.ndarray:
    """The same noise on every component, as if where nothing is done there were as much of it."""
    return mean + noise * np.random.default_rng(seed).normal(size=(num_examples, len(mean)))


def test_size_and_energy_of_two_halves_by_hand():
    """Halves (2, -1) and (4, 1): the sign of the second is wrong."""
    scores = np.array([[2.0, -1.0], [4.0, 1.0]])
    size, energy = _carried_over(scores, np.full((1, 2), 0.5), np.array([[True, False]]))
    assert size[0] == ((4 - 1) + (2 - 1)) / 2
    assert energy[0] == 2 * 4 - 1
    assert number_of(np.array([[3.0, -1.0, 0.0]]))[0] == 4**2 / 10


def test_without_noise_it_is_the_number_of_equal_components():
    one, four = np.zeros((2, 12, 9))
    one[:, 3], four[:, :4] = -2.0, [1.0, -1.0, 1.0, 1.0]
    found = noise_free_number(one, 5 * four, SETTINGS)
    assert found.arm is not None and found.mdm is not None and found.shift is not None
    assert (found.arm.value, found.mdm.value) == pytest.approx((1, 4))
    np.testing.assert_allclose(found.shift_draws, 3)
    assert found.shift.interval.low == pytest.approx(3) == found.shift_at_equal_noise
    assert found.arm_noise == found.mdm_noise == 0 and found.noise_ratio == 1


@pytest.mark.parametrize("times", [2.0, 4.0])
def test_the_same_effects_with_more_noise_are_never_called_more_distributed(times: float):
    """Where the entropy of |mean score| calls them so in every pool."""
    old, new = 0, 0
    for pool in range(POOLS):
        arm, mdm = (drawn(effects(200), n, 2 * pool + i) for i, n in enumerate((4.0, 4.0 * times)))
        magnitudes = np.abs([arm.mean(axis=0), mdm.mean(axis=0)])
        old += np.diff(effective_number(magnitudes))[0] > 0
        found = noise_free_number(arm, mdm, SETTINGS)
        assert found.shift is not None
        assert found.noise_ratio == pytest.approx(times, rel=0.25)
        new += found.shift.interval.low > 0
    assert old == POOLS and new == 0


def test_intervals_hold_a_shift_that_is_there():
    """At a coverage of 0.95, fewer than 7 of 10 come up once in 970 times."""
    few, many = effects(60), np.sign(effects(60)) * np.abs(effects(60)) ** 0.5
    truth = np.diff(number_of(np.stack([few, many])))[0]
    held, decided = 0, 0
    for pool in range(POOLS):
        found = noise_free_number(drawn(few, 1.0, pool), drawn(many, 1.0, 50 + pool), SETTINGS)
        assert found.shift is not None
        held += found.shift.interval.contains(truth)
        decided += found.shift.interval.low > 0
        assert found.shift_at_equal_noise == pytest.approx(truth, rel=0.3)
    assert held > 6 and decided == POOLS


def number_by_hand(scores: np.ndarray, halves: np.ndarray) -> float:
    """Size² over energy, half by half."""
    size = energy = 0.0
    for half in halves:
        one, two = scores[half].mean(axis=0), scores[~half].mean(axis=0)
        size += np.sum(np.sign(one) * two + np.sign(two) * one) / 2
        energy += one @ two
    return size**2 / energy / len(halves)


def test_intervals_reach_as_far_as_leaving_out_a_block_at_a_time_says():
    """Where weak components' signs depend on chance, the bootstrap alone sees too little."""
    arm, mdm = (drawn(effects(30), 3.0, seed, num_examples=24) for seed in (0, 1))
    found = noise_free_number(arm, mdm, SETTINGS)
    halves = split_halves(24, NUM_SPLITS, SETTINGS.seed)
    without = [
        np.subtract(
            *(
                number_by_hand(np.delete(one, out, axis=0), np.delete(halves, out, axis=1))
                for one in (mdm, arm)
            )
        )
        for out in range(24)
    ]
    # Exactly as far: the bootstrap's own variance is smaller here.
    assert bootstrap_variance(found.shift_draws, 24) == pytest.approx(23 * np.var(without))


def test_a_second_reading_takes_as_few_examples_as_make_the_noise_equal():
    """Whole clusters; twice the noise leaves a quarter, where both models look as distributed."""
    mean = effects(300)
    quiet, noisy = drawn(mean, 6.0, 1, 400), drawn(mean, 12.0, 2, 400)
    clusters = np.repeat(np.arange(200), 2)
    plain = np.diff(number_of(np.stack([quiet.mean(axis=0), noisy.mean(axis=0)])))[0]
    for first, second in ((quiet, noisy), (noisy, quiet)):
        found = noise_free_number(first, second, SETTINGS, clusters=clusters)
        assert abs(found.shift_at_equal_noise) < 0.4 * plain
    assert plain > 3


def test_what_cannot_be_compared_is_refused():
    scores = np.ones((12, 3))
    with pytest.raises(SemanticsError, match=r"shape \(12, 3\) and the MDM's \(12, 2\)"):
        noise_free_number(scores, scores[:, :2], SETTINGS)
    with pytest.raises(SemanticsError, match="every component's score is zero"):
        noise_free_number(scores, 0 * scores, SETTINGS)
