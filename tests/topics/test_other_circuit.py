"""Whether the other's circuit serves: the rule, and how often it errs where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.graph import Graph
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED
from mechshift.statistics import Estimate, Interval, centred_estimate
from mechshift.testing import AdditiveRuns, additive_runs
from mechshift.topics.decisions import by_sign
from mechshift.topics.other_circuit import OtherCircuit, rediscovered
from mechshift.topics.topic import Measured

GRAPH = Graph(num_layers=4, num_heads=2, num_key_value_groups=2)
SIZE = 20
NUM_POOLS = 40
SETTINGS = ComparisonSettings(num_resamples=200)
WORDS = {"suffices": "suffices", "falls_short": "no longer"}


def measured(low: float, high: float, caution: str = "") -> Measured:
    interval = Interval(low=low, high=high, level=0.95)
    estimate = Estimate(value=(low + high) / 2, interval=interval)
    return Measured(estimate=estimate, caution=caution)


def served(low: float, high: float, half: tuple[float, float] = (-0.9, -0.8), lost=0.0):
    return OtherCircuit(
        minus_own=measured(low, high), minus_half=measured(*half), half_minus_own=lost
    )


@pytest.mark.parametrize(
    ("low", "high", "decided"),
    [
        (-0.3, -0.06, "no longer"),
        (-0.3, -0.04, NOT_DECIDED),  # within the home advantage
        (-0.04, 0.04, "suffices"),
        (-0.06, 0.04, NOT_DECIDED),
        (0.01, 0.9, "suffices"),
        (-0.3, 0.9, NOT_DECIDED),
    ],
)
def test_the_interval_decides_beyond_the_home_advantage(low, high, decided):
    assert served(low, high).decides(**WORDS) == decided


def test_it_falls_short_only_of_own_circuits_that_are_as_noisy():
    assert served(-0.3, -0.1, half=(-0.2, -0.01)).decides(**WORDS) == "no longer"
    assert served(-0.3, -0.1, half=(-0.2, 0.01)).decides(**WORDS) == NOT_DECIDED
    found = served(-0.3, -0.1)
    noisier = replace(found, minus_half=measured(-0.9, -0.8, caution="the ARM's is noisier"))
    assert noisier.decides(**WORDS) == NOT_DECIDED
    assert noisier.caution == "the ARM's is noisier"
    # What serves in spite of more noise serves.
    good = replace(served(-0.01, 0.01), minus_half=noisier.minus_half)
    assert good.decides(**WORDS) == "suffices"


def test_it_suffices_only_where_noise_has_not_cost_the_own_circuit_much():
    assert served(-0.01, 0.2, lost=-0.03).decides(**WORDS) == "suffices"
    assert served(-0.01, 0.2, lost=-0.05).decides(**WORDS) == NOT_DECIDED
    assert served(-0.06, 0.2, lost=0.1).decides(**WORDS) == NOT_DECIDED


def test_a_caution_decides_nothing_whatever_the_interval():
    for low, high in ((-0.3, -0.1), (-0.01, 0.01)):
        found = replace(served(low, high), minus_own=measured(low, high, caution="few"))
        assert found.decides(**WORDS) == NOT_DECIDED and found.caution == "few"
    missing = replace(served(-0.3, -0.1), minus_own=Measured(reason="not run"))
    assert missing.decides(**WORDS) == NOT_MEASURED


def pool(seed: int, *, same: bool, arm_factor: float = 1.0, num_rows: int = 60) -> AdditiveRuns:
    """Log-normal effects; scores scatter by 6 median effects, those of the ARM by more."""
    generator = np.random.default_rng([seed, 5])
    effects = np.exp(1.2 * generator.normal(size=GRAPH.num_edges))
    arms = effects if same else generator.permutation(effects)
    noise = 6.0 * generator.normal(size=(2, num_rows, GRAPH.num_edges))
    scores = {
        "arm": arms + arm_factor * arms**0.5 * noise[0],
        "mdm": effects + effects**0.5 * noise[1],
    }
    held_out = effects + 2.0 * generator.normal(size=(80, GRAPH.num_edges))
    return additive_runs(GRAPH, scores, held_out, SIZE, seed=seed)


def decided(runs: AdditiveRuns) -> str:
    return rediscovered(runs.metrics, runs.rediscovery, "mdm", SETTINGS).decides(**WORDS)


def decided_by_held_out_alone(runs: AdditiveRuns) -> str:
    """The rule before: an interval over held-out examples that leaves out 0."""
    own, other = (runs.metrics[owner].curve() for owner in ("mdm", "arm"))
    drawn = [one.resampled(num_resamples=200)[:, 0] for one in (own, other)]
    value = float(other.faithfulness[0] - own.faithfulness[0])
    return by_sign(centred_estimate(value, drawn[1] - drawn[0]), above="better", below="no longer")


def test_a_model_against_itself_is_not_called_changed():
    """Old: one in three is decided, in either direction, where one in twenty should be."""
    pools = [pool(seed, same=True) for seed in range(NUM_POOLS)]
    old = [decided_by_held_out_alone(one) for one in pools]
    assert sum(one != NOT_DECIDED for one in old) >= 0.3 * NUM_POOLS
    new = [decided(one) for one in pools]
    assert new.count("no longer") <= 0.05 * NUM_POOLS


def test_nor_is_it_where_one_side_is_three_times_as_noisy():
    pools = [pool(seed, same=True, arm_factor=3.0) for seed in range(NUM_POOLS)]
    assert [decided_by_held_out_alone(one) for one in pools].count("no longer") > 0.9 * NUM_POOLS
    assert [decided(one) for one in pools].count("no longer") <= 0.05 * NUM_POOLS


def test_another_circuit_is_found_and_never_said_to_suffice():
    pools = [decided(pool(seed, same=False)) for seed in range(NUM_POOLS)]
    assert pools.count("no longer") >= 0.8 * NUM_POOLS
    assert "suffices" not in pools


def test_with_many_examples_a_model_is_said_to_inherit_its_own_circuit():
    pools = [decided(pool(seed, same=True, num_rows=1500)) for seed in range(10)]
    assert pools.count("suffices") >= 9


def test_the_interval_holds_the_truth():
    """The truth of a model against itself: 0, as the two samples differ by chance alone."""
    found = [
        rediscovered(one.metrics, one.rediscovery, "mdm", SETTINGS).minus_own.estimate
        for one in (pool(seed, same=True) for seed in range(NUM_POOLS))
    ]
    assert sum(one is not None and one.interval.contains(0.0) for one in found) >= 37


def test_few_clusters_of_discovery_examples_decide_nothing():
    runs = pool(0, same=False)
    few = replace(runs.rediscovery, num_clusters=19)
    found = rediscovered(runs.metrics, few, "mdm", SETTINGS)
    assert found.caution == "the circuits rest on 19 clusters of discovery examples"
    assert found.decides(**WORDS) == NOT_DECIDED
    enough = replace(runs.rediscovery, num_clusters=20)
    assert rediscovered(runs.metrics, enough, "mdm", SETTINGS).decides(**WORDS) == "no longer"
