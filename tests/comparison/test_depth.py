"""Depth profiles on graphs small enough to add up by hand, and shifts that were planted."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, depth_profile
from mechshift.errors import ComparisonError, ConfigError
from mechshift.graph import Graph
from mechshift.statistics import bootstrap_variance, split_halves

GRAPH = Graph(num_layers=3, num_heads=1, num_key_value_groups=1)
DEEP = Graph(num_layers=9, num_heads=2, num_key_value_groups=2)

BY_HAND = {"input->m0": 2.0, "m0->m1": 3.0, "m1->m2": -4.0, "m2->logits": 1.0}


def pool_of(graph: Graph, scores: dict[str, float], noise: float = 0.0) -> np.ndarray:
    """Twenty examples with these scores, and noise on these edges."""
    pool = np.zeros((20, graph.num_edges))
    draws = np.random.default_rng(0).normal(size=(20, len(scores)))
    for column, (name, score) in enumerate(scores.items()):
        pool[:, graph.edge_index(name)] = score + noise * draws[:, column]
    return pool


def chain(first_layer: int) -> dict[str, float]:
    """Strengths 1 to 4 along m{l} -> m{l+1}, from this layer on."""
    return {f"m{first_layer + i}->m{first_layer + i + 1}": 1.0 + i for i in range(4)}


def test_shares_thirds_and_centre_of_mass_by_hand(quick: ComparisonSettings) -> None:
    pool = pool_of(GRAPH, BY_HAND)
    profiles = depth_profile(GRAPH, pool, pool, quick, scope="all")
    assert profiles.circuit_size == GRAPH.num_edges
    source, destination = profiles.source.arm, profiles.destination.arm
    np.testing.assert_allclose(source.share.value, [0.2, 0.3, 0.4, 0.1])  # input, 0, 1, 2
    np.testing.assert_allclose(destination.share.value, [0.2, 0.3, 0.4, 0.1])  # 0, 1, 2, logits
    np.testing.assert_allclose(source.thirds.value, [3 / 8, 4 / 8, 1 / 8])
    np.testing.assert_allclose(destination.thirds.value, [2 / 9, 3 / 9, 4 / 9])
    assert source.centre_of_mass.value == pytest.approx((4 + 2 * 1) / 8)
    assert destination.centre_of_mass.value == pytest.approx((3 + 2 * 4) / 9)


def test_a_circuits_profile_counts_its_own_edges_only(quick: ComparisonSettings) -> None:
    pool = pool_of(GRAPH, BY_HAND)
    profiles = depth_profile(GRAPH, pool, pool, replace(quick, circuit_size=2))
    assert profiles.circuit_size == 2
    np.testing.assert_allclose(profiles.source.arm.share.value, [0, 3 / 7, 4 / 7, 0])


def test_identical_models_do_not_shift_and_the_intervals_say_so(quick: ComparisonSettings) -> None:
    pool = np.random.default_rng(1).normal(size=(20, DEEP.num_edges))
    profiles = depth_profile(DEEP, pool, pool.copy(), quick)
    for side in (profiles.source, profiles.destination):
        shift = side.centre_of_mass_shift
        assert (shift.value, shift.interval.low, shift.interval.high) == (0, 0, 0)
        for bound in (side.thirds_shift.value, side.thirds_shift.low, side.thirds_shift.high):
            np.testing.assert_array_equal(bound, 0)


def test_scores_moved_one_layer_earlier_shift_the_centre_by_minus_one(
    quick: ComparisonSettings,
) -> None:
    profiles = depth_profile(DEEP, pool_of(DEEP, chain(3)), pool_of(DEEP, chain(2)), quick)
    for side in (profiles.source, profiles.destination):
        assert side.centre_of_mass_shift.value == pytest.approx(-1)
    # The ARM's edges weigh 1 to 4 from layers 3 to 6; the MDM's first comes from layer 2.
    np.testing.assert_allclose(profiles.source.arm.thirds.value, [0, 0.6, 0.4])
    np.testing.assert_allclose(profiles.source.thirds_shift.value, [0.1, 0.3, -0.4])


def test_a_planted_shift_is_found_through_noise(quick: ComparisonSettings) -> None:
    arm, mdm = pool_of(DEEP, chain(3), noise=0.5), pool_of(DEEP, chain(2), noise=0.5)
    mdm += 0.02 * np.random.default_rng(2).normal(size=mdm.shape)
    shift = depth_profile(DEEP, arm, mdm, replace(quick, circuit_size=4)).source
    assert shift.centre_of_mass_shift.excludes(0.0)
    assert shift.centre_of_mass_shift.interval.contains(-1.0)
    late = shift.thirds_shift.at(2)
    assert late is not None and late.excludes(0.0) and late.value < 0


def test_exchanging_the_models_turns_the_shift_round(quick: ComparisonSettings) -> None:
    arm, mdm = np.random.default_rng(3).normal(size=(2, 20, DEEP.num_edges))
    there = depth_profile(DEEP, arm, mdm, quick).source
    back = depth_profile(DEEP, mdm, arm, quick).source
    assert there.centre_of_mass_shift.value == -back.centre_of_mass_shift.value
    np.testing.assert_array_equal(there.thirds_shift.value, -back.thirds_shift.value)


@pytest.mark.parametrize("scope", ["circuit", "all"])
def test_shares_and_thirds_sum_to_one(quick: ComparisonSettings, scope) -> None:
    arm, mdm = np.random.default_rng(4).normal(size=(2, 20, DEEP.num_edges))
    profiles = depth_profile(DEEP, arm, mdm, quick, scope=scope)
    for side in (profiles.source, profiles.destination):
        for profile in (side.arm, side.mdm):
            assert profile.share.value.sum() == pytest.approx(1)
            assert profile.thirds.value.sum() == pytest.approx(1)
            assert (profile.share.low <= profile.share.value).all()
            assert (profile.share.value <= profile.share.high).all()
        assert side.thirds_shift.value.sum() == pytest.approx(0, abs=1e-12)


def test_intervals_of_cross_fitted_shifts_are_those_of_their_draws(
    quick: ComparisonSettings,
) -> None:
    """The central 95 % of the draws, moved so that their mean is the value."""
    pools = pool_of(DEEP, chain(3), noise=0.5), pool_of(DEEP, chain(2), noise=0.5)
    there, back = (depth_profile(DEEP, *pair, quick, scope="all") for pair in (pools, pools[::-1]))
    for side in (there.source, there.destination):
        draws, shift = side.cross_fitted_draws, side.cross_fitted
        assert draws.shape == (quick.num_resamples, 4)
        low, high = np.percentile(draws, [2.5, 97.5], axis=0) + shift.value - draws.mean(axis=0)
        np.testing.assert_allclose(shift.low, np.minimum(low, shift.value))
        np.testing.assert_allclose(shift.high, np.maximum(high, shift.value))
        np.testing.assert_allclose(draws[:, :3].mean(axis=0).sum(), 0, atol=1e-12)
    np.testing.assert_allclose(
        there.source.cross_fitted_draws, -back.source.cross_fitted_draws, atol=1e-15
    )


def centre_without(scores: np.ndarray, kept: np.ndarray, halves: np.ndarray, size: int) -> float:
    """Cross-fitted centre of mass of the sources of one model, written out edge by edge."""
    sums = np.zeros(DEEP.num_layers)
    for half in halves:
        one, two = (scores[kept & side].mean(axis=0) for side in (half, ~half))
        for chosen_on, added in ((one, two), (two, one)):
            for edge in np.argsort(-np.abs(chosen_on), kind="stable")[:size]:
                layer = DEEP.source_layer[DEEP.edge_source[edge]]
                if layer >= 0:
                    sums[layer] += np.sign(chosen_on[edge]) * added[edge]
    return float(sums @ np.arange(DEEP.num_layers) / sums.sum())


def test_cross_fitted_shifts_reach_as_far_as_leaving_out_a_block_at_a_time_says(
    quick: ComparisonSettings,
) -> None:
    """Twenty examples are twenty blocks; their order does not matter to a sum of squares."""
    settings = replace(quick, circuit_size=6, num_resamples=400)
    effects = np.random.default_rng(5).standard_t(2, size=(2, 1, DEEP.num_edges))
    arm, mdm = effects + np.random.default_rng(6).normal(size=(2, 20, DEEP.num_edges)) * 4
    side = depth_profile(DEEP, arm, mdm, settings).source
    halves = split_halves(20, settings.num_splits_per_resample, settings.seed + 1)
    without = [
        np.subtract(*(centre_without(one, np.arange(20) != out, halves, 6) for one in (mdm, arm)))
        for out in range(20)
    ]
    jackknife = 19 * np.var(without)
    at_least = bootstrap_variance(side.cross_fitted_draws[:, 3], 20)
    assert at_least >= jackknife * (1 - 1e-9)
    assert at_least == pytest.approx(jackknife)  # for the bootstrap alone is narrower here


def test_a_circuit_that_touches_no_layer_has_no_depth(quick: ComparisonSettings) -> None:
    pool = pool_of(GRAPH, BY_HAND)
    ends = pool_of(GRAPH, {"input->logits": 9.0, "m0->m1": 1.0})
    with pytest.raises(ComparisonError, match="the MDM's circuit joins `input` to `logits` only"):
        depth_profile(GRAPH, pool, ends, replace(quick, circuit_size=1))


def test_a_circuit_larger_than_the_graph_is_refused(quick: ComparisonSettings) -> None:
    pool = pool_of(GRAPH, BY_HAND)
    with pytest.raises(ConfigError, match="900 edges does not fit a graph of"):
        depth_profile(GRAPH, pool, pool, replace(quick, circuit_size=900))
