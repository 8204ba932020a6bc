"""Every quantity finds the shift that was planted, in its size, and none that was not.

Without noise the numbers are exact; with noise the tests decide.
"""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import EdgeScores, eap_ig
from mechshift.comparison import Comparison, ComparisonSettings, compare
from mechshift.testing import Noise, PathStrengths, Placement, known_circuit, planted_pair

SIZE = 10  # as many edges as the planted circuit has


@pytest.fixture(scope="module")
def settings() -> ComparisonSettings:
    return ComparisonSettings(
        circuit_size=SIZE,
        sizes=(SIZE,),
        num_resamples=120,
        num_splits=20,
        num_splits_per_resample=2,
        num_shuffles=120,
        num_exchanges=120,
    )


def compared(plant: str, settings: ComparisonSettings, noise: Noise) -> Comparison:
    pair = planted_pair(plant, num_examples=60, noise=noise, seed=3)
    return compare(plant, pair.arm, pair.mdm, settings)


@pytest.fixture(scope="module")
def exact(settings: ComparisonSettings) -> dict[str, Comparison]:
    names = ("identical", "moved", "rewired", "distributed")
    few = replace(settings, num_resamples=15, num_splits=5, num_shuffles=15, num_exchanges=15)
    return {name: compared(name, few, Noise(own=0.0)) for name in names}


@pytest.fixture(scope="module")
def noisy(settings: ComparisonSettings) -> dict[str, Comparison]:
    names = ("identical", "moved", "rewired")
    return {name: compared(name, settings, Noise(own=1.0)) for name in names}


def overlap_of(found: Comparison) -> tuple[float, float, float]:
    overlap = found.overlap
    return (overlap.edges.value[0], overlap.layout_p[0], overlap.noise_p[0])


@pytest.mark.parametrize(
    ("plant", "overlap", "weighted"),
    [("identical", 1, 1), ("moved", 0, 0), ("rewired", 0, 0)],
)
def test_overlaps_are_all_or_nothing(exact, plant: str, overlap: int, weighted: int) -> None:
    found = exact[plant]
    assert found.overlap.edges.value[0] == overlap
    assert found.overlap.ratio.value[0] == overlap
    for place in (0, 2):  # the circuit, and all edges
        assert found.agreement.weighted.value.value[place] == pytest.approx(weighted)


def test_a_distributed_circuit_overlaps_in_the_weights_it_kept(exact) -> None:
    """By hand: |score| is 25.7 in both models, and the MDM spreads each edge over 2 or 4."""
    ends = (2.0, 1.0, 3.5, 5.0)  # from input or to logits: half stays
    inner = (3.0, 1.5, 2.0, 4.0, 2.5, 1.2)  # between heads: a quarter stays
    shared = sum(ends) / 2 + sum(inner) / 4
    total = sum(ends) + sum(inner)
    expected = shared / (2 * total - shared)
    found = exact["distributed"].agreement
    assert found.weighted.value.value[2] == pytest.approx(expected)
    assert found.sign.value.value[0] == 1


@pytest.mark.parametrize(
    ("plant", "layers"), [("identical", 0), ("moved", -2), ("rewired", 0), ("distributed", 0)]
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_depth_shifts_are_exactly_those_planted(exact, plant: str, layers: int, side: str) -> None:
    found = getattr(exact[plant].all_depth, side)
    assert found.centre_of_mass_shift.value == pytest.approx(layers, abs=1e-9)
    assert found.distance.value.value == pytest.approx(-layers, abs=1e-9)
    crossed = found.cross_fitted_shift("centre_of_mass")
    assert crossed is not None and crossed.value == pytest.approx(layers, abs=1e-9)
    whole = exact[plant].size_sweep
    last = getattr(whole, side).centre_of_mass.value[-1]
    assert last == pytest.approx(layers, abs=1e-9)


def test_identical_circuits_are_not_told_apart_under_noise(noisy) -> None:
    found = noisy["identical"]
    overlap, layout_p, noise_p = overlap_of(found)
    assert overlap > 0.6 and layout_p < 0.01 and noise_p > 0.05
    ratio = found.overlap.ratio.at(0)
    assert ratio is not None and ratio.interval.contains(1.0)
    side = found.circuit_depth.source
    assert min(side.centre_of_mass_p, side.distance.noise_p) > 0.05
    crossed = side.cross_fitted_shift("centre_of_mass")
    assert crossed is not None and not crossed.excludes(0.0)
    for name in ("nodes", "weighted", "rank", "sign"):
        assert getattr(found.agreement, name).noise_p[0] > 0.05, name


def test_a_moved_circuit_is_found_to_have_moved_two_layers_under_noise(noisy) -> None:
    found = noisy["moved"]
    overlap, _, noise_p = overlap_of(found)
    assert overlap < 0.1 and noise_p < 0.01
    for side in (found.circuit_depth.source, found.circuit_depth.destination):
        assert side.centre_of_mass_shift.value == pytest.approx(-2, abs=0.2)
        assert side.centre_of_mass_shift.excludes(0.0)
        assert max(side.centre_of_mass_p, side.distance.noise_p) < 0.01
        crossed = side.cross_fitted_shift("centre_of_mass")
        assert crossed is not None and crossed.excludes(0.0) and crossed.interval.contains(-2.0)
        excess = side.distance.of_halves("excess")
        assert excess is not None and excess.excludes(0.0)
    for half in (0, 1):
        assert found.half_sweep.source.centre_of_mass.high[half] < 0


def test_a_rewired_circuit_has_other_edges_and_the_same_depth(noisy) -> None:
    found = noisy["rewired"]
    overlap, layout_p, noise_p = overlap_of(found)
    assert overlap < 0.1 and layout_p > 0.05 and noise_p < 0.01
    side = found.circuit_depth.source
    assert min(side.centre_of_mass_p, side.distance.noise_p) > 0.05
    assert not side.centre_of_mass_shift.excludes(0.0)


def test_a_distributed_circuit_is_weighed_otherwise_and_as_deep(settings) -> None:
    """Seen whole, that is: the strongest 10 of its 32 edges alone lie later."""
    whole = compared("distributed", replace(settings, circuit_size=32, sizes=(10,)), Noise(own=0.5))
    assert whole.agreement.weighted.noise_p[0] < 0.01
    crossed = whole.circuit_depth.source.cross_fitted_shift("centre_of_mass")
    assert crossed is not None and not crossed.excludes(0.0)
    assert whole.size_sweep.points[0] == 10
    assert whole.size_sweep.source.centre_of_mass.low[0] > 0


def test_a_noisier_model_looks_moved_until_it_is_cross_fitted(settings) -> None:
    """Noise enlarges |mean score| everywhere; the cross-fitted shift does not see it."""
    loud = replace(settings, circuit_size=40, sizes=(40,))
    found = compared("identical", loud, Noise(own=1.0, mdm_factor=4.0)).all_depth.source
    assert found.centre_of_mass_shift.excludes(0.0)
    crossed = found.cross_fitted_shift("centre_of_mass")
    assert crossed is None or not crossed.excludes(0.0)


def attributed(placement: Placement) -> EdgeScores:
    """Real EAP-IG of a hand-written model on twelve examples."""
    known = known_circuit("arm", strengths=PathStrengths(), placement=placement, num_frames=6)
    return eap_ig(known.model, known.canvases, metric="logit_diff")


@pytest.fixture(scope="module")
def late() -> EdgeScores:
    return attributed(Placement(num_layers=4, first_layer=2))


@pytest.mark.parametrize("first_layer", [0, 1, 2])
def test_models_written_into_other_layers_differ_by_that_many_layers(
    late: EdgeScores, settings: ComparisonSettings, first_layer: int
) -> None:
    early = attributed(Placement(num_layers=4, first_layer=first_layer))
    found = compare("known", late, early, replace(settings, circuit_size=7, sizes=(7,)))
    moved = 2 - first_layer
    for side in (found.circuit_depth.source, found.circuit_depth.destination):
        assert side.centre_of_mass_shift.value == pytest.approx(-moved, abs=1e-4)
        assert side.distance.value.value == pytest.approx(moved, abs=1e-4)
    assert found.overlap.edges.value[0] == (1 if moved == 0 else 0)


def test_models_written_into_other_heads_differ_in_edges_and_not_in_depth(
    late: EdgeScores, settings: ComparisonSettings
) -> None:
    """Of the seven edges two join no head: input->m2 and m3->logits."""
    other = attributed(Placement(num_layers=4, first_layer=2, first_head=0, second_head=1))
    found = compare("known", late, other, replace(settings, circuit_size=7, sizes=(7,)))
    assert found.overlap.edges.value[0] == pytest.approx(2 / 12)
    for side in (found.circuit_depth.source, found.circuit_depth.destination):
        assert side.centre_of_mass_shift.value == pytest.approx(0, abs=1e-4)
        assert side.distance.value.value == pytest.approx(0, abs=1e-4)
    assert np.isfinite(found.agreement.rank.value.value).all()
