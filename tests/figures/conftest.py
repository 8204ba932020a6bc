"""A comparison of random scores, and faithfulness curves made by hand."""

import numpy as np
import pytest
from mechshift.figures import FaithfulnessSeries, MetricSample

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    DirectionOfFlow,
    compare,
    direction_of_flow,
)
from mechshift.denoising import GENERAL_SPANS
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


def random_flow(seed: int, causal: bool) -> PositionFlow:
    """Twelve examples of two steps, three layers; nine of them have both steps."""
    generator = np.random.default_rng(seed)
    num_steps = np.repeat([2, 1], [9, 3])
    present = np.arange(2) < num_steps[:, None]
    arrays = {}
    for name, shape in part_shapes(3, 1 + len(GENERAL_SPANS)).items():
        values = generator.exponential(size=(12, 2, *shape))
        arrays[name] = values * present.reshape(12, 2, *(1 for _ in shape))
    if causal:
        arrays["by_direction"][..., 0] = 0
    return PositionFlow(
        spans=("IO", *GENERAL_SPANS),
        num_steps=num_steps,
        clean_metric=np.zeros((12, 2)),
        corrupted_metric=np.zeros((12, 2)),
        **arrays,
    )


@pytest.fixture(scope="session")
def direction() -> DirectionOfFlow:
    settings = ComparisonSettings(num_resamples=40)
    return direction_of_flow(random_flow(0, causal=True), random_flow(1, causal=False), settings)


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


@pytest.fixture
def baselines() -> list[FaithfulnessSeries]:
    """Random circuits and edges by activation of both models, at one size."""
    return [
        FaithfulnessSeries(
            model=model,
            circuit=circuit,
            sizes=np.array([30]),
            faithfulness=np.array([value]),
            low=np.array([value - 0.1]),
            high=np.array([value + 0.2]),
            level=0.95,
            num_examples=12,
            num_edges=GRAPH.num_edges,
        )
        for model, circuit, value in (
            ("arm", "random", 0.3),
            ("arm", "activation", 0.1),
            ("mdm", "random", 0.25),
            ("mdm", "activation", 0.05),
        )
    ]


@pytest.fixture
def samples() -> list[MetricSample]:
    """Twelve examples of both models under all four conditions."""
    generator = np.random.default_rng(0)
    return [
        MetricSample(model=model, condition=condition, values=generator.normal(size=12))
        for model in ("arm", "mdm")
        for condition in ("full", "own", "other", "empty")
    ]
