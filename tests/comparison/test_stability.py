"""Stability: membership counted by hand, bounds that noise widens, laws of identical models."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.comparison import CORE, ComparisonSettings, circuit_stability
from mechshift.errors import ComparisonError
from mechshift.statistics import bootstrap_weights
from mechshift.testing import Noise, planted_pair


@pytest.fixture
def settings(quick: ComparisonSettings) -> ComparisonSettings:
    return replace(quick, circuit_size=12, sizes=(12,), num_resamples=40)


def test_an_edges_share_is_that_of_the_resamples_whose_circuit_holds_it(
    settings: ComparisonSettings,
) -> None:
    pair = planted_pair("rewired", num_examples=20, noise=Noise(own=2.0))
    found = circuit_stability(pair.arm, pair.mdm, settings)
    weights = bootstrap_weights(20, 40, settings.seed)
    for scores, shares in ((pair.arm, found.arm), (pair.mdm, found.mdm)):
        counts = np.zeros(scores.graph.num_edges)
        for row in weights @ scores.values.sum(axis=1):
            counts[select_top_edges(scores.graph, row, 12).edges] += 1
        np.testing.assert_allclose(shares, counts[found.edges] / 40, rtol=0, atol=1e-12)
    outside = np.setdiff1d(np.arange(pair.arm.graph.num_edges), found.edges)
    assert (counts[outside] == 0).all()


def test_what_is_kept_is_counted_in_every_resample_with_the_core_fixed(
    settings: ComparisonSettings,
) -> None:
    pair = planted_pair("moved", num_examples=20, noise=Noise(own=1.0))
    found = circuit_stability(pair.arm, pair.mdm, settings)
    core = found.edges[found.arm >= CORE]
    for weights, share in zip(
        bootstrap_weights(20, 40, settings.seed), found.kept_draws, strict=True
    ):
        row = weights @ pair.mdm.values.sum(axis=1)
        held = select_top_edges(pair.mdm.graph, row, 12).edges
        assert share == pytest.approx(np.isin(core, held).mean())
    assert found.kept_draws.mean() == pytest.approx(found.mdm[np.isin(found.edges, core)].mean())


def test_a_model_keeps_its_own_core(settings: ComparisonSettings) -> None:
    pair = planted_pair("identical", num_examples=20, noise=Noise(own=0.5))
    found = circuit_stability(pair.arm, pair.arm, settings)
    assert found.core_overlap == 1
    assert found.kept is not None
    assert (found.kept.value, found.kept.interval.low, found.kept.interval.high) == (1, 1, 1)
    np.testing.assert_array_equal(found.arm, found.mdm)


def test_a_core_that_lies_elsewhere_is_lost_for_certain(settings: ComparisonSettings) -> None:
    pair = planted_pair("rewired", num_examples=40, noise=Noise(own=0.2))
    found = circuit_stability(pair.arm, pair.mdm, settings)
    assert found.kept is not None and found.kept.interval.high < 0.5


def test_noise_in_one_model_widens_the_bounds_and_shrinks_its_core(
    settings: ComparisonSettings,
) -> None:
    """The same circuit in both, and an MDM ten times as noisy."""
    quiet, noisy = (
        circuit_stability(pair.arm, pair.mdm, settings)
        for factor in (1.0, 10.0)
        for pair in [
            planted_pair("identical", num_examples=40, noise=Noise(own=0.5, mdm_factor=factor))
        ]
    )
    assert quiet.kept is not None and noisy.kept is not None
    width = [one.interval.high - one.interval.low for one in (quiet.kept, noisy.kept)]
    assert width[1] > width[0]
    assert noisy.smaller_core < 0.5 <= quiet.smaller_core


def test_scores_of_different_examples_are_refused(settings: ComparisonSettings) -> None:
    first, second = (planted_pair("identical", num_examples=n) for n in (12, 14))
    with pytest.raises(ComparisonError, match="score both on the same pool"):
        circuit_stability(first.arm, second.mdm, settings)
