"""Noise-free overlap: exact without noise, near the truth with it, blind to what is no change."""

from itertools import pairwise

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, noise_free, overlap_curve
from mechshift.comparison.noise_free import (
    BRIEF,
    VALUE,
    NoiseFreeOverlap,
    _by_rank,
    _extrapolated,
    noise_free_overlap,
)
from mechshift.graph import Graph

GRAPH = Graph(num_layers=6, num_heads=3, num_key_value_groups=3)
SIZE = 40
POOLS = 5


def circuits(shared: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two models' effects; their strongest 40 edges share so many, and the weaker ones are alike.

    Edges that the MDM lost have changed places with any of the weaker ones.
    """
    generator = np.random.default_rng(seed)
    arm = np.sort(np.exp(1.5 * generator.normal(size=GRAPH.num_edges)))[::-1].copy()
    mdm = arm.copy()
    left = generator.permutation(SIZE)[: SIZE - shared]
    joined = SIZE + generator.permutation(GRAPH.num_edges - SIZE)[: SIZE - shared]
    mdm[left], mdm[joined] = arm[joined], arm[left]
    order = generator.permutation(GRAPH.num_edges)
    signs = generator.choice([-1.0, 1.0], size=GRAPH.num_edges)
    return (signs * arm)[order], (signs * mdm)[order]


def drawn(effects: np.ndarray, num_examples: int, noise: float, seed: int) -> np.ndarray:
    """Examples that scatter the more the stronger an edge is."""
    scatter = noise * np.abs(effects) ** 0.8
    draws = np.random.default_rng(seed).standard_t(3, size=(num_examples, len(effects)))
    return effects + scatter * draws


def jaccard(shared: int) -> float:
    return shared / (2 * SIZE - shared)


@pytest.mark.parametrize("shared", [0, 10, 30, 40])
def test_without_noise_the_overlap_is_that_of_the_two_circuits(shared: int) -> None:
    arm, mdm = (np.tile(effects, (20, 1)) for effects in circuits(shared))
    overlap = noise_free_overlap(arm, mdm, SIZE).overlap
    assert overlap is not None
    numbers = overlap.value, overlap.interval.low, overlap.interval.high
    assert numbers == pytest.approx((jaccard(shared),) * 3)


def test_with_less_effort_the_overlap_is_about_the_same_and_its_value_needs_no_jackknife() -> None:
    effects = circuits(20)
    arm, mdm = (drawn(one, 80, 2.0, seed) for seed, one in enumerate(effects))
    whole = noise_free_overlap(arm, mdm, SIZE)
    brief, value = (noise_free_overlap(arm, mdm, SIZE, effort=one) for one in (BRIEF, VALUE))
    assert whole.overlap and brief.overlap and value.overlap
    assert abs(brief.overlap.value - whole.overlap.value) < 2 * whole.overlap.error
    assert brief.one_circuit is None and brief.share_error > 0
    assert value.share == brief.share and value.share_error == 0
    assert value.overlap.interval.low == value.overlap.interval.high == brief.overlap.value
    assert brief.overlap.value == pytest.approx(brief.share / (2 - brief.share))


def test_a_model_and_itself_in_another_unit_overlap_fully() -> None:
    arm = drawn(circuits(0)[0], 50, 4.0, seed=1)
    found = noise_free_overlap(arm, 3 * arm, SIZE)
    assert found.overlap is not None
    assert found.overlap.interval.low == pytest.approx(1) and found.lower_ceiling < 0.9
    np.testing.assert_allclose(found.ratio, 1)


def test_the_ratio_is_read_off_a_line_in_the_logarithm_of_the_ceiling() -> None:
    """Ratio 0.4 - 0.3 log c at three ceilings; each is the mean of one that is 1.25 times as high
    and one that is 1.25 times as low."""
    ceiling = np.array([0.7, 0.55, 0.4])
    shares = np.stack([ceiling * 1.25, ceiling / 1.25, ceiling * (0.4 - 0.3 * np.log(ceiling))])
    assert _extrapolated(shares[..., None]) == pytest.approx(0.4)


def test_noise_free_effects_and_errors_are_those_of_clusters_by_rank() -> None:
    """Two clusters of two examples: sums 8 and 16 around 12, so the mean 6 has the variance
    (4² + 4²) 2 / 1 / 4² = 4; the weaker edge has no noise."""
    scores = np.array([[-1.0, 3.0], [-1.0, 5.0], [-1.0, 7.0], [-1.0, 9.0]])
    effect, error = _by_rank(scores, np.array([0, 0, 1, 1]))
    assert effect == pytest.approx([np.sqrt(6**2 - 4), 1.0])
    assert error == pytest.approx([2.0, 0.0])


@pytest.fixture(scope="module")
def pools() -> dict[int, list[NoiseFreeOverlap]]:
    """Shared edges -> what pools of 120 examples give."""
    return {
        shared: [
            noise_free_overlap(
                *(
                    drawn(effects, 120, 3.0, seed=2 * pool + model)
                    for model, effects in enumerate(circuits(shared, seed=pool))
                ),
                SIZE,
                seed=pool,
            )
            for pool in range(POOLS)
        ]
        for shared in (18, 40)
    }


@pytest.mark.parametrize("shared", [18, 40])
def test_intervals_hold_the_overlap_that_noise_hides(pools, shared: int) -> None:
    """At a coverage of 0.95, fewer than 3 of 5 come up once in 860 times."""
    found = [pool.overlap for pool in pools[shared]]
    assert sum(one.interval.contains(jaccard(shared)) for one in found) > 2
    assert np.mean([one.value for one in found]) == pytest.approx(jaccard(shared), abs=0.05)
    ceilings = [pool.lower_ceiling for pool in pools[shared]]
    assert 0.5 < np.mean(ceilings) < 0.75  # there was noise to be removed


def test_the_ratio_to_the_ceiling_misses_what_the_extrapolation_finds(pools) -> None:
    """A true overlap of 0.29: half of the examples' Jaccard over its ceiling reads it too high."""
    settings = ComparisonSettings(
        circuit_size=SIZE, sizes=(SIZE,), num_resamples=20, num_shuffles=1, num_exchanges=1
    )
    ratios = [
        overlap_curve(
            GRAPH,
            *(
                drawn(effects, 120, 3.0, seed=2 * pool + model)
                for model, effects in enumerate(circuits(18, seed=pool))
            ),
            settings,
        ).ratio.value[0]
        for pool in range(POOLS)
    ]
    assert np.mean(ratios) > jaccard(18) + 0.08
    assert abs(np.mean([one.overlap.value for one in pools[18]]) - jaccard(18)) < 0.05


def test_one_circuit_reads_lower_the_less_equal_the_noise_is() -> None:
    """As the simulated pair says that has the same effects and noise."""
    lowest = []
    for noise in (1.0, 12.0):
        effects, _ = circuits(SIZE, seed=3)
        arm, mdm = drawn(effects, 120, 1.0, seed=4), drawn(effects, 120, noise, seed=5)
        found = noise_free_overlap(arm, mdm, SIZE)
        assert found.one_circuit is not None
        lowest.append(found.one_circuit.interval.low)
    assert lowest[1] < lowest[0] - 0.1


def test_order_of_examples_and_edges_and_copies_within_clusters_change_nothing() -> None:
    arm, mdm = (drawn(effects, 48, 4.0, seed=6 + i) for i, effects in enumerate(circuits(18)))
    clusters = np.repeat(np.arange(24), 2)
    plain = noise_free_overlap(arm, mdm, SIZE, clusters=clusters)
    examples, edges = (np.random.default_rng(8).permutation(n) for n in arm.shape)
    turned = noise_free_overlap(
        arm[examples][:, edges], mdm[examples][:, edges], SIZE, clusters=clusters[examples]
    )
    doubled = noise_free_overlap(
        *(np.concatenate([one, one]) for one in (arm, mdm)),
        SIZE,
        clusters=np.concatenate([clusters, clusters]),
    )
    for one, other in pairwise((plain, turned, doubled)):
        assert one.overlap is not None and other.overlap is not None
        assert one.overlap.value == pytest.approx(other.overlap.value)
        assert one.overlap.interval.low == pytest.approx(other.overlap.interval.low)
        assert one.one_circuit is not None and other.one_circuit is not None
        assert one.one_circuit.value == pytest.approx(other.one_circuit.value)
    single = noise_free_overlap(arm, mdm, SIZE)
    assert single.overlap is not None and plain.overlap is not None
    assert single.overlap.value != plain.overlap.value


def test_too_few_clusters_and_circuits_of_nothing_in_common_have_no_overlap() -> None:
    arm, mdm = (drawn(effects, 21, 4.0, seed=9) for effects in circuits(18))
    few = noise_free_overlap(arm, mdm, SIZE, clusters=np.repeat(np.arange(7), 3))
    assert few.overlap is None and few.one_circuit is None
    assert few.reason == "7 clusters of examples cannot be halved thrice"
    alone = np.eye(32, GRAPH.num_edges)  # every example has an edge of its own
    apart = noise_free_overlap(alone, alone, 1)
    assert apart.reason == "circuits of halves of the examples share no edge"


def test_in_a_large_graph_one_circuit_is_simulated_on_the_edges_that_can_be_in_it(monkeypatch):
    """The others would not have been chosen: mean and spread are those of all edges."""
    graph = Graph(num_layers=10, num_heads=6, num_key_value_groups=6)
    effects = 10 * np.random.default_rng(0).standard_t(1.2, size=graph.num_edges)
    pair = [
        effects * (1 + 0.5 * np.random.default_rng(seed).normal(size=(64, graph.num_edges)))
        for seed in (1, 2)
    ]
    effect, error = noise_free._by_rank(pair[0], np.arange(64))
    few = noise_free._within_reach(effect, error, 20, 16)
    assert 4 * 20 < few.sum() < 0.5 * graph.num_edges
    found = {}
    for taken_apart in (10**9, 1):
        monkeypatch.setattr(noise_free, "TAKEN_APART", taken_apart)
        found[taken_apart] = noise_free_overlap(*pair, 20, seed=3).one_circuit
    whole, apart = found.values()
    spread = (whole.interval.high - whole.interval.low) / 4
    assert whole != apart  # other random numbers
    assert abs(whole.value - apart.value) < 4 * spread * np.sqrt(2 / 39)
