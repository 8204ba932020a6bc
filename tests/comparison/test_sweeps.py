"""Sweeps repeat the comparison point by point, and leave out what cannot be measured."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import (
    ComparisonSettings,
    circuit_shift,
    compare,
    depth_profile,
    sweep_over_denoising_steps,
    sweep_over_halves,
    sweep_over_num_steps,
    sweep_over_sizes,
)
from mechshift.comparison.profile_distance import wasserstein
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Interval, split_halves

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def pools(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.normal(size=(2, GRAPH.num_edges))
    noise = 0.3 * generator.normal(size=(2, *shape, GRAPH.num_edges))
    return tuple(truth + draws for truth, draws in zip(truths, noise, strict=True))


def test_the_distance_between_profiles_by_hand() -> None:
    """Half of the mass moves up two layers; then everything moves one."""
    one = np.array([[2.0, 0, 0], [0, 3.0, 0]])
    other = np.array([[4.0, 0, 4.0], [0, 0, 1.0]])
    np.testing.assert_allclose(wasserstein(one, other), [1, 1])
    np.testing.assert_allclose(wasserstein(other, one), [1, 1])
    assert np.isnan(wasserstein(one[:1], np.zeros((1, 3))))


def test_a_sweep_over_sizes_holds_the_shift_of_each_size(quick: ComparisonSettings) -> None:
    arm, mdm = pools(0, 20)
    found = sweep_over_sizes(GRAPH, arm, mdm, replace(quick, circuit_size=12, sizes=(6, 30)))
    assert found.points.tolist() == [6, 12, 30, GRAPH.num_edges]
    for point, size in enumerate(found.points):
        alone = depth_profile(GRAPH, arm, mdm, replace(quick, circuit_size=int(size)))
        for side in ("source", "destination"):
            curve, profiles = getattr(found, side), getattr(alone, side)
            shift = profiles.centre_of_mass_shift
            assert curve.centre_of_mass.value[point] == pytest.approx(shift.value)
            assert curve.centre_of_mass.low[point] == pytest.approx(shift.interval.low)
            assert curve.early_share.high[point] == pytest.approx(profiles.thirds_shift.high[0])
            assert curve.distance.value[point] == pytest.approx(profiles.distance.value.value)
            assert curve.noise_distance.value[point] == pytest.approx(profiles.distance.noise.value)


def test_the_two_halves_are_measured_apart(quick: ComparisonSettings) -> None:
    arm, mdm = pools(1, 24)
    found = sweep_over_halves(GRAPH, arm, mdm, quick)
    (first,) = split_halves(24, 1, quick.seed)
    for point, half in enumerate((first, ~first)):
        alone = depth_profile(GRAPH, arm[half], mdm[half], quick).source.centre_of_mass_shift
        assert found.source.centre_of_mass.value[point] == pytest.approx(alone.value)
    assert found.num_examples.tolist() == [12, 12]
    assert found.notes == ()


def test_halves_too_small_to_resample_have_no_shift_and_say_so(quick: ComparisonSettings) -> None:
    found = sweep_over_halves(GRAPH, *pools(2, 12), quick)
    assert np.isnan(found.source.centre_of_mass.value).all()
    assert found.notes[0].startswith("half 1, 2: no shift in depth, or no interval; fewer than 10")


def test_each_step_is_compared_on_the_examples_that_have_it(
    edge_scores, quick: ComparisonSettings
) -> None:
    arm, mdm = pools(3, 30, 3)
    num_steps = np.repeat([3, 2, 1], [4, 16, 10])
    present = (np.arange(3) < num_steps[:, None])[..., None]
    scores = [edge_scores(GRAPH, one * present, num_steps=num_steps) for one in (arm, mdm)]
    found = sweep_over_denoising_steps(*scores, quick)
    assert found.num_examples.tolist() == [30, 20, 4]
    second = depth_profile(GRAPH, arm[:20, 1], mdm[:20, 1], quick).source
    assert found.source.centre_of_mass.value[1] == pytest.approx(second.centre_of_mass_shift.value)
    assert np.isnan(found.source.centre_of_mass.value[2])
    assert found.notes[0].startswith("denoising step 2: no shift")


def test_comparisons_line_up_by_their_number_of_steps(
    edge_scores, quick: ComparisonSettings
) -> None:
    def compared(seed: int, num_steps: int, task: str = "countdown"):
        scores = (edge_scores(GRAPH, one) for one in pools(seed, 20, num_steps))
        return compare(task, *scores, quick)

    four, one = compared(4, 4), compared(5, 1)
    found = sweep_over_num_steps({4: four, 1: one})
    assert found.depth.points.tolist() == [1, 4]
    for point, comparison in enumerate((one, four)):
        index = comparison.overlap.index_of(comparison.circuit_size)
        assert found.overlap.value[point] == comparison.overlap.edges.value[index]
        assert found.noise_p[point] == comparison.overlap.noise_p[index]
        shift = comparison.circuit_depth.source.centre_of_mass_shift
        assert found.depth.source.centre_of_mass.value[point] == shift.value
        assert found.depth.source.centre_of_mass.low[point] == shift.interval.low
        for side in ("source", "destination"):
            crossed = getattr(comparison.circuit_depth, side).cross_fitted
            np.testing.assert_array_equal(getattr(found, side).high[point], crossed.high)
    assert found.effective_number is None
    with pytest.raises(ComparisonError, match=r"must have one task, not \['countdown', 'ioi'\]"):
        sweep_over_num_steps({4: four, 1: compared(5, 1, "ioi")})
    with pytest.raises(ComparisonError, match="needs at least one comparison"):
        sweep_over_num_steps({})


def test_comparisons_of_the_compared_size_alone_line_up_with_their_concentration(
    edge_scores, quick: ComparisonSettings
) -> None:
    """`circuit_shift` measures less than `compare`, and the sweep says the same of both."""
    scores = [edge_scores(GRAPH, one) for one in pools(4, 20, 2)]
    lean, full = circuit_shift("countdown", *scores, quick), compare("countdown", *scores, quick)
    spread = Estimate(value=2.0, interval=Interval(low=1.0, high=4.0, level=0.95))
    found = sweep_over_num_steps({2: lean}, {2: spread})
    expected = sweep_over_num_steps({2: full})
    assert found.ratio.value == pytest.approx(expected.ratio.value)
    np.testing.assert_allclose(found.source.value, expected.source.value)
    assert found.depth.num_examples.tolist() == [20]
    assert found.effective_number is not None
    assert [float(getattr(found.effective_number, name)[0]) for name in ("value", "low")] == [2, 1]
    with pytest.raises(ComparisonError, match=r"at \[4\] steps do not belong to .* at \[2\] steps"):
        sweep_over_num_steps({2: lean}, {4: spread})
