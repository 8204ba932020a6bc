"""Likeness by weight: the mean over all halvings, unmoved by noise, units and copies."""

from itertools import combinations

import numpy as np
import pytest

from mechshift.comparison import weight_likeness
from mechshift.statistics import bootstrap_weights


def test_it_is_the_cosine_over_all_ways_to_halve_the_examples() -> None:
    """Six of them with four examples, one by one."""
    arm, mdm = np.random.default_rng(0).normal(size=(2, 4, 30)) + np.linspace(-1, 1, 30)
    products = np.zeros(3)
    for half in combinations(range(4), 2):
        other = [example for example in range(4) if example not in half]
        one, two = (
            [scores[list(chosen)].mean(axis=0) for scores in (arm, mdm)] for chosen in (half, other)
        )
        products += [one[0] @ two[0], one[1] @ two[1], one[0] @ two[1]]
    found = weight_likeness(arm, mdm, np.ones((2, 4)) / 4)
    assert found.draws == pytest.approx([products[2] / np.sqrt(products[0] * products[1])] * 2)


@pytest.mark.parametrize("noise", [(1.0, 1.0), (1.0, 6.0), (6.0, 1.0)])
def test_noise_moves_the_plain_cosine_and_not_this_one(noise: tuple[float, float]) -> None:
    """Effects with a cosine of 0.6; 20 pools of 100 examples of 1,000 edges."""
    generator = np.random.default_rng(1)
    plain, found, held = [], [], 0
    for pool in range(20):
        one, two = generator.normal(size=(2, 1000))
        two -= one * (one @ two) / (one @ one)
        two *= np.linalg.norm(one) / np.linalg.norm(two)
        effects = one, 0.6 * one + 0.8 * two
        arm, mdm = (
            effect + 3 * scatter * generator.normal(size=(100, 1000))
            for effect, scatter in zip(effects, noise, strict=True)
        )
        means = arm.mean(axis=0), mdm.mean(axis=0)
        plain.append(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))
        likeness = weight_likeness(arm, 7 * mdm, bootstrap_weights(100, 200, pool)).likeness
        assert likeness is not None
        found.append(likeness.value)
        held += likeness.interval.contains(0.6)
    assert np.mean(found) == pytest.approx(0.6, abs=0.03)
    assert np.mean(plain) < 0.57
    assert held >= 16  # fewer come up once in 390 times at a coverage of 0.95


def test_equal_scores_have_likeness_1_and_opposite_ones_minus_1() -> None:
    scores = 1 + np.random.default_rng(2).normal(size=(20, 40))
    weights = bootstrap_weights(20, 50, 0)
    for unit in (3.0, -3.0):
        found = weight_likeness(scores, unit * scores, weights)
        assert found.likeness is not None
        assert found.likeness.interval.low == pytest.approx(np.sign(unit))
        assert found.likeness.interval.high == pytest.approx(np.sign(unit))


def test_examples_of_a_cluster_are_no_pair_and_copies_of_them_change_nothing() -> None:
    arm, mdm = np.random.default_rng(3).normal(size=(2, 24, 40)) + np.linspace(0, 2, 40)
    clusters = np.repeat(np.arange(12), 2)
    weights = bootstrap_weights(12, 50, 0)[:, clusters] / 2
    plain = weight_likeness(arm, mdm, weights, clusters=clusters)
    doubled = weight_likeness(
        *(np.concatenate([one, one]) for one in (arm, mdm)),
        np.concatenate([weights, weights], axis=1),
        clusters=np.concatenate([clusters, clusters]),
    )
    summed = weight_likeness(arm[::2] + arm[1::2], mdm[::2] + mdm[1::2], weights[:, ::2])
    np.testing.assert_allclose(doubled.draws, plain.draws)
    np.testing.assert_allclose(summed.draws, plain.draws)


def test_scores_that_do_not_carry_over_have_no_likeness() -> None:
    """Two examples of opposite scores: their product is negative."""
    scores = np.tile([[1.0], [-1.0]], (1, 5))
    found = weight_likeness(scores, np.ones((2, 5)), np.ones((3, 2)) / 2)
    assert found.likeness is None and np.isnan(found.draws).all()
