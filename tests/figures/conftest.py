"""A comparison of random scores, and faithfulness curves made by hand."""

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import Comparison, ComparisonSettings, compare
from mechshift.figures import FaithfulnessSeries
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)


def random_scores(seed: int) -> EdgeScores:
    """Twelve examples of three steps; two of them have only the first."""
    generator = np.random.default_rng(seed)
    num_steps = np.repeat([3, 1], [10, 2])
    present = np.arange(3) < num_steps[:, None]
    values = generator.normal(size=(12, 3, GRAPH.num_edges)) * present[..., None]
    clean, corrupted, input_score = generator.normal(size=(3, 12, 3)) * present
    return EdgeScores(
        graph=GRAPH,
        values=values,
        num_steps=num_steps,
        clean_metric=clean,
        corrupted_metric=corrupted,
        input_score=input_score,
    )


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    settings = ComparisonSettings(
        circuit_size=30,
        num_resamples=40,
        num_splits=20,
        num_splits_per_resample=2,
        num_shuffles=10,
        num_exchanges=20,
    )
    return compare("ioi", random_scores(0), random_scores(1), settings)


@pytest.fixture
def series() -> list[FaithfulnessSeries]:
    """Both models on both circuits; the first size of the MDM on the ARM's has no interval."""
    made = []
    for model, circuit, start in (
        ("arm", "arm", 0.5),
        ("arm", "mdm", 0.3),
        ("mdm", "mdm", 0.6),
        ("mdm", "arm", np.nan),
    ):
        middle = np.array([0.4 if np.isnan(start) else start, 0.8, 1.0])
        low = middle - [np.nan if np.isnan(start) else 0.1, 0.05, 0.0]
        made.append(
            FaithfulnessSeries(
                model=model,
                circuit=circuit,
                sizes=np.array([10, 30, 90]),
                faithfulness=middle,
                low=low,
                high=2 * middle - low,
                level=0.95,
                num_examples=12,
                num_edges=GRAPH.num_edges,
            )
        )
    return made
