"""The other's circuit against the own one: by hand, and in closed form."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from mechshift.evaluation import NUM_FOLDS, CircuitMetrics, Rediscovery, inheritance
from mechshift.models import Kind

NUM_EXAMPLES = 30


def keeping(shares, noise=0.0) -> CircuitMetrics:
    """Circuits of three edges that keep these shares of every example's metric, but for noise."""
    full = np.ones((NUM_EXAMPLES, 1))
    ripple = noise * np.linspace(-1, 1, NUM_EXAMPLES)[:, None]
    return CircuitMetrics(
        sizes=np.full(len(shares), 3),
        live_sizes=np.full(len(shares), 3),
        num_edges=20,
        metric=np.array(shares)[:, None, None] * full + ripple,
        full=full,
        empty=0 * full,
        num_steps=np.ones(NUM_EXAMPLES, dtype=np.int64),
    )


def rediscovery(
    own_without, other_without, halves=(0.75, 0.75), shared: Mapping[Kind, float] | None = None
) -> Rediscovery:
    return Rediscovery(
        without_fold={"mdm": keeping(own_without), "arm": keeping(other_without)},
        halves=keeping(halves),
        shared_by_halves={"arm": 0.8, "mdm": 0.8} if shared is None else shared,
        shared_by_quarters={"arm": 0.7, "mdm": 0.7},
        num_clusters=40,
    )


PAIR: dict[Kind, CircuitMetrics] = {"arm": keeping([0.5]), "mdm": keeping([0.75])}
FIXED = [0.75] * NUM_FOLDS
VARIED = np.array([0.5, 0.54, 0.46, 0.5, 0.52, 0.48, 0.58, 0.42])


def test_without_noise_in_held_out_examples_the_interval_is_the_jackknifes_by_hand():
    found = inheritance(PAIR, rediscovery(FIXED, VARIED), "mdm")
    variance = 7 / 8 * ((VARIED - 0.5) ** 2).sum()
    assert found.discovery_error == pytest.approx(np.sqrt(variance))
    assert found.held_out_error == pytest.approx(0.0, abs=1e-12)
    reach = stats.t.ppf(0.975, 7) * np.sqrt(variance)
    assert found.other_minus_own.value == pytest.approx(-0.25)
    interval = found.other_minus_own.interval
    assert (interval.low, interval.high) == pytest.approx((-0.25 - reach, -0.25 + reach))


def test_what_both_circuits_lose_without_a_fold_is_no_difference():
    found = inheritance(PAIR, rediscovery(VARIED + 0.25, VARIED), "mdm")
    assert found.discovery_error == pytest.approx(0.0, abs=1e-12)


def test_without_noise_of_discovery_the_interval_is_that_of_a_mean():
    """The other's circuit alone ripples over examples: a mean of thirty numbers."""
    pair: dict[Kind, CircuitMetrics] = {"arm": keeping([0.5], noise=0.3), "mdm": keeping([0.75])}
    found = inheritance(pair, rediscovery(FIXED, [0.5] * NUM_FOLDS), "mdm", num_resamples=20_000)
    error = 0.3 * np.linspace(-1, 1, NUM_EXAMPLES).std(ddof=1) / np.sqrt(NUM_EXAMPLES)
    assert found.held_out_error == pytest.approx(error, rel=0.02)
    interval = found.other_minus_own.interval
    reach = stats.t.ppf(0.975, NUM_EXAMPLES - 1) * error
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=0.02)


def test_own_circuits_of_halves_are_the_null_and_add_their_own_spread():
    found = inheritance(PAIR, rediscovery(FIXED, VARIED, halves=(0.55, 0.65)), "mdm")
    assert found.half_minus_own == pytest.approx(-0.15)
    assert found.other_minus_half.value == pytest.approx(-0.1)
    own, half = found.other_minus_own.interval, found.other_minus_half.interval
    variance = 7 / 8 * ((VARIED - 0.5) ** 2).sum()
    wider = np.sqrt((variance + 0.1**2 / 4) / variance)
    assert half.high - half.low == pytest.approx(wider * (own.high - own.low))


def test_the_other_is_noisier_where_its_halves_agree_less_than_own_quarters():
    for of_arm, noisier in ((0.8, False), (0.7, False), (0.6, True)):
        shared: dict[Kind, float] = {"arm": of_arm, "mdm": 0.9}
        found = inheritance(PAIR, rediscovery(FIXED, VARIED, shared=shared), "mdm")
        assert found.other_is_noisier == noisier


def test_the_models_change_places():
    """Run in the other model, the same numbers say the opposite."""
    swapped: dict[Kind, CircuitMetrics] = {"mdm": PAIR["arm"], "arm": PAIR["mdm"]}
    there = inheritance(PAIR, rediscovery(FIXED, VARIED), "mdm")
    back = inheritance(swapped, rediscovery(VARIED, FIXED), "arm")
    assert back.other_minus_own == there.other_minus_own
