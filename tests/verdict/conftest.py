"""Evidence of pairs whose difference was put there."""

import numpy as np
import pytest
from mechshift.verdict import ControlEvidence, Evidence

from mechshift.comparison import ComparisonSettings, circuit_shift, compare
from mechshift.semantics import SemanticsSettings, concentration_shift, resample_magnitudes
from mechshift.statistics import Estimate, Interval
from mechshift.testing import Noise, planted_pair

QUICK = ComparisonSettings(
    num_resamples=100,
    num_splits=20,
    num_splits_per_resample=2,
    num_shuffles=20,
    num_exchanges=60,
    circuit_size=12,
    sizes=(12,),
)


def node_scores(scores):
    """[example, node]: the sum over the edges that leave the node; without `input`."""
    leaves = np.arange(scores.graph.num_sources)[:, None] == scores.graph.edge_source
    return scores.values.sum(axis=1) @ leaves.T[:, 1:]


def concentration_of(arm, mdm):
    settings = SemanticsSettings(num_resamples=100)
    return concentration_shift(
        *(resample_magnitudes(node_scores(scores), settings) for scores in (arm, mdm))
    )


@pytest.fixture(scope="session")
def evidence_of():
    """A function that measures a planted pair, with room for further evidence."""
    found = {}

    def measure(plant, **further):
        if plant not in found:
            pair = planted_pair(plant, noise=Noise(own=0.5))
            found[plant] = {
                "comparison": compare(plant, pair.arm, pair.mdm, QUICK),
                "concentration": concentration_of(pair.arm, pair.mdm),
            }
        return Evidence(**found[plant], **further)

    return measure


@pytest.fixture(scope="session")
def control_of():
    """A function that makes a control which differs from the ARM as a planted pair's MDM does."""

    def measure(name, plant):
        pair = planted_pair(plant, noise=Noise(own=0.5), seed=1)
        return ControlEvidence(
            name=name,
            accuracy=Estimate(value=1.0, interval=Interval(low=0.9, high=1.0, level=0.95)),
            shift=circuit_shift(plant, pair.arm, pair.mdm, QUICK),
            concentration=concentration_of(pair.arm, pair.mdm),
        )

    return measure
