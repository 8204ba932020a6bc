"""Edge scores made by hand, and settings that make a comparison quick."""

from collections.abc import Callable

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import ComparisonSettings
from mechshift.graph import Graph

MakeScores = Callable[..., EdgeScores]


@pytest.fixture
def quick() -> ComparisonSettings:
    return ComparisonSettings(
        num_resamples=60,
        num_splits=20,
        num_splits_per_resample=2,
        num_shuffles=20,
        num_exchanges=60,
    )


@pytest.fixture
def edge_scores() -> MakeScores:
    """Make `EdgeScores` of [example, step, edge] values; metrics are 0 unless given."""

    def make(graph: Graph, values: np.ndarray, **given: np.ndarray) -> EdgeScores:
        num_examples, num_steps, _ = values.shape
        fields = {
            "num_steps": np.full(num_examples, num_steps),
            **dict.fromkeys(
                ("clean_metric", "corrupted_metric", "input_score"),
                np.zeros((num_examples, num_steps)),
            ),
        }
        return EdgeScores(graph=graph, values=values, **{**fields, **given})

    return make
