"""Sweeps repeat the comparison point by point, and leave out what cannot be measured."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import (
    ComparisonSettings,
    depth_profile,
    sweep_over_denoising_steps,
    sweep_over_halves,
    sweep_over_sizes,
)
from mechshift.graph import Graph
from mechshift.statistics import split_halves

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def pools(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.normal(size=(2, GRAPH.num_edges))
    noise = 0.3 * generator.normal(size=(2, *shape, GRAPH.num_edges))
    return tuple(truth + draws for truth, draws in zip(truths, noise, strict=True))


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
            # For all sizes at once: no narrower than by itself.
            assert curve.centre_of_mass.low[point] <= shift.interval.low + 1e-9
            assert curve.early_share.high[point] >= profiles.thirds_shift.high[0] - 1e-9
            assert curve.distance.value[point] == pytest.approx(profiles.distance.value.value)
            assert curve.noise_distance.value[point] == pytest.approx(profiles.distance.noise.value)


def test_a_single_size_has_the_interval_of_itself_or_of_its_standard_error(
    quick: ComparisonSettings,
) -> None:
    """A band over one point is no band; it differs by what quantiles and normal ones differ."""
    arm, mdm = pools(0, 20)
    settings = replace(quick, circuit_size=12, sizes=(12,), num_resamples=1000)
    wide = sweep_over_sizes(GRAPH, arm, mdm, settings).source.centre_of_mass
    alone = depth_profile(GRAPH, arm, mdm, settings).source.centre_of_mass_shift
    assert wide.low[0] <= alone.interval.low <= alone.interval.high <= wide.high[0]
    assert wide.high[0] - wide.low[0] < 1.5 * (alone.interval.high - alone.interval.low)


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
