"""The planted pairs are what they say, before anything is measured of them."""

import numpy as np
import pytest

from mechshift.errors import ConfigError
from mechshift.testing import PLANTS, Noise, planted_pair
from mechshift.testing.planted_scores import MDM_UNIT

SILENT = Noise(own=0.0)


def edges(pair, circuit):
    return {pair.arm.graph.edge_name(edge) for edge in np.flatnonzero(circuit)}


def layers_written(pair, circuit):
    """|score| by writing layer, `input` first."""
    layer = pair.arm.graph.source_layer[pair.arm.graph.edge_source] + 1
    return np.bincount(layer, weights=np.abs(circuit), minlength=7)


def test_an_identical_pair_differs_by_its_unit_alone():
    pair = planted_pair("identical", noise=SILENT)
    np.testing.assert_allclose(pair.mdm.values, MDM_UNIT * pair.arm.values)
    assert len(edges(pair, pair.arm_circuit)) == 10


def test_a_moved_circuit_has_every_edge_two_layers_earlier():
    pair = planted_pair("moved", noise=SILENT)
    arm, mdm = (layers_written(pair, c) for c in (pair.arm_circuit, pair.mdm_circuit))
    np.testing.assert_allclose(MDM_UNIT * arm[3:], mdm[1:5])
    assert "a2.h0->a3.h1<k>" in edges(pair, pair.arm_circuit)
    assert "a0.h0->a1.h1<k>" in edges(pair, pair.mdm_circuit)


def test_a_rewired_circuit_shares_no_edge_and_every_layer():
    pair = planted_pair("rewired", noise=SILENT)
    assert not edges(pair, pair.arm_circuit) & edges(pair, pair.mdm_circuit)
    arm, mdm = (layers_written(pair, c) for c in (pair.arm_circuit, pair.mdm_circuit))
    np.testing.assert_allclose(MDM_UNIT * arm, mdm)


def test_a_distributed_circuit_keeps_every_edge_and_spreads_its_score():
    pair = planted_pair("distributed", noise=SILENT)
    assert edges(pair, pair.arm_circuit) < edges(pair, pair.mdm_circuit)
    arm, mdm = (layers_written(pair, c) for c in (pair.arm_circuit, pair.mdm_circuit))
    np.testing.assert_allclose(MDM_UNIT * arm, mdm)
    strongest = [np.abs(c).max() / np.abs(c).sum() for c in (pair.arm_circuit, pair.mdm_circuit)]
    assert strongest[1] < strongest[0]


@pytest.mark.parametrize("plant", PLANTS)
def test_examples_scatter_around_the_circuits(plant):
    pair = planted_pair(plant, num_examples=4000, noise=Noise(own=1.0, shared=2.0), seed=1)
    arm, mdm = pair.arm.values[:, 0], pair.mdm.values[:, 0] / MDM_UNIT
    np.testing.assert_allclose(arm.mean(axis=0), pair.arm_circuit, atol=0.2)
    np.testing.assert_allclose(mdm.mean(axis=0), pair.mdm_circuit / MDM_UNIT, atol=0.2)
    assert arm.std(axis=0).mean() == pytest.approx(np.sqrt(5), rel=0.02)
    together = ((arm - arm.mean(axis=0)) * (mdm - mdm.mean(axis=0))).mean()
    assert together == pytest.approx(4, rel=0.05)


def test_an_unknown_plant_is_refused():
    with pytest.raises(ConfigError, match="no planted pair 'upside-down'; known: identical, moved"):
        planted_pair("upside-down")
