"""A comparison of scores in shards: the same circuits, and intervals that rest on whole shards."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import EdgeScores, average_over_shards
from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    circuit_shift,
    compare,
    depth_profile,
    step_profile,
)
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.testing import Noise, planted_pair

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
NUM_EXAMPLES = 48


@pytest.fixture(scope="module")
def stepwise() -> list[EdgeScores]:
    """Scores of both models; examples of one shard have one, two or three steps."""
    num_steps = np.arange(NUM_EXAMPLES) % 3 + 1
    has_step = np.arange(3) < num_steps[:, None]
    made = []
    for seed in (0, 1):
        generator = np.random.default_rng(seed)
        circuit = generator.normal(size=(1, 3, GRAPH.num_edges))
        values = circuit + 0.5 * generator.normal(size=(NUM_EXAMPLES, 3, GRAPH.num_edges))
        clean, corrupted, from_input = (
            has_step * generator.normal(size=(NUM_EXAMPLES, 3)) for _ in range(3)
        )
        made.append(
            EdgeScores(
                graph=GRAPH,
                values=values * has_step[..., None],
                num_steps=num_steps,
                clean_metric=clean,
                corrupted_metric=corrupted,
                input_score=from_input,
            )
        )
    return made


@pytest.fixture(scope="module")
def settings() -> ComparisonSettings:
    return ComparisonSettings(
        circuit_size=20,
        sizes=(20,),
        num_resamples=30,
        num_splits=10,
        num_splits_per_resample=2,
        num_shuffles=10,
        num_exchanges=20,
    )


@pytest.fixture(scope="module")
def both(stepwise: list[EdgeScores], settings: ComparisonSettings) -> tuple[Comparison, Comparison]:
    """The same scores compared as examples, and in 12 shards of 4."""
    shards = [average_over_shards(scores, 4) for scores in stepwise]
    return compare("t", *stepwise, settings), compare("t", *shards, settings)


def test_whatever_is_estimated_on_the_whole_pool_is_what_it_is_from_examples(both) -> None:
    examples, shards = both
    for name in ("arm_scores", "mdm_scores"):
        np.testing.assert_allclose(
            getattr(shards, name), getattr(examples, name), rtol=0, atol=1e-12
        )
    for get in (
        lambda found: found.overlap.edges.value,
        lambda found: found.agreement.rank.value.value,
        lambda found: found.circuit_depth.source.mdm.share.value,
        lambda found: found.circuit_depth.source.thirds_shift.value,
        lambda found: found.all_depth.destination.centre_of_mass_shift.value,
    ):
        np.testing.assert_allclose(get(shards), get(examples), rtol=0, atol=1e-9)


def test_a_step_that_some_examples_of_a_shard_lack_has_the_circuit_of_those_that_have_it(
    both,
) -> None:
    examples, shards = both
    for side in ("source", "destination"):
        found, expected = (getattr(one.step_sweep, side) for one in (shards, examples))
        for name in ("early_share", "centre_of_mass", "distance"):
            np.testing.assert_allclose(
                getattr(found, name).value, getattr(expected, name).value, rtol=0, atol=1e-9
            )
    np.testing.assert_allclose(shards.arm_steps.share, examples.arm_steps.share, atol=1e-12)
    # Every shard has an example of three steps; of single examples, a third has them.
    assert shards.step_sweep.num_examples.tolist() == [12, 12, 12]
    assert examples.step_sweep.num_examples.tolist() == [48, 32, 16]


def test_what_needs_single_examples_has_them_and_the_same_intervals(both) -> None:
    examples, shards = both
    assert shards.arm_completeness == examples.arm_completeness
    for name in ("clean_metric", "corrupted_metric"):
        for side in ("value", "low", "high"):
            np.testing.assert_array_equal(
                getattr(getattr(shards.mdm_steps, name), side),
                getattr(getattr(examples.mdm_steps, name), side),
            )
    np.testing.assert_array_equal(shards.mdm_steps.num_examples, [48, 32, 16])


def test_both_models_have_the_same_examples_in_a_shard(settings: ComparisonSettings) -> None:
    """What examples do to both models alike cancels, as it does example by example."""
    pair = planted_pair("identical", num_examples=60, noise=Noise(own=0.0, shared=2.0))
    arm, mdm = (average_over_shards(scores, 4) for scores in (pair.arm, pair.mdm))
    found = circuit_shift("t", arm, mdm, settings)
    shift = found.circuit_depth.source.centre_of_mass_shift
    assert (shift.interval.low, shift.interval.high) == pytest.approx((0, 0), abs=1e-9)
    assert found.circuit_depth.source.arm.centre_of_mass.interval.high > (
        found.circuit_depth.source.arm.centre_of_mass.interval.low + 0.1
    )
    others = replace(mdm, values=mdm.values[::-1])
    apart = circuit_shift("t", arm, others, settings).circuit_depth.source.centre_of_mass_shift
    assert apart.interval.high - apart.interval.low > 0.1


def test_intervals_from_shards_of_five_are_as_wide_as_those_from_examples() -> None:
    settings = ComparisonSettings(
        circuit_size=10, num_resamples=150, num_splits_per_resample=2, num_exchanges=1
    )
    widths: dict[int, list[float]] = {1: [], 5: []}
    num_missed = 0
    for seed in range(8):
        pair = planted_pair("moved", num_examples=100, noise=Noise(own=3.0), seed=seed)
        for size, found in widths.items():
            arm, mdm = (
                average_over_shards(one, size).values.sum(axis=1) for one in (pair.arm, pair.mdm)
            )
            side = depth_profile(pair.arm.graph, arm, mdm, settings).source
            shift = side.cross_fitted_shift("centre_of_mass")
            found.append(shift.interval.high - shift.interval.low)
            num_missed += size == 5 and shift.excludes(-2.0)
    # A width from 20 units scatters by 1 / sqrt(2 * 19) = 16 %, and the mean of 8 by 6 %.
    assert np.mean(widths[5]) == pytest.approx(np.mean(widths[1]), rel=0.15)
    assert num_missed <= 2  # of 8 at level 0.95: three or more have probability 0.006


def test_a_step_in_too_few_shards_has_no_interval(stepwise, settings) -> None:
    examples = step_profile(stepwise[0], settings)
    assert np.isfinite(examples.share_low[2]).all()
    few = replace(stepwise[0], num_steps=np.where(np.arange(NUM_EXAMPLES) < 36, 3, 1))
    shares = step_profile(average_over_shards(few, 4), settings)  # 9 shards have a second step
    assert np.isnan(shares.share_low[1]).all() and np.isfinite(shares.share_low[0]).all()


def test_models_in_different_shards_are_refused(stepwise, settings) -> None:
    arm, mdm = average_over_shards(stepwise[0], 4), average_over_shards(stepwise[1], 2)
    with pytest.raises(ComparisonError, match="over 4 examples each and the MDM's over 2; pair"):
        compare("t", arm, mdm, settings)


def test_fewer_than_ten_shards_are_refused(stepwise, settings) -> None:
    shards = [average_over_shards(scores, 6) for scores in stepwise]
    with pytest.raises(ComparisonError, match="8 shards are too few .* at least 10 shards"):
        compare("t", *shards, settings)
