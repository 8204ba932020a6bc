"""Comparisons lined up by their number of denoising steps."""

import numpy as np
import pytest

from mechshift.comparison import (
    ComparisonSettings,
    circuit_shift,
    compare,
    sweep_over_num_steps,
)
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Interval

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)


def pools(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.normal(size=(2, GRAPH.num_edges))
    noise = 0.3 * generator.normal(size=(2, *shape, GRAPH.num_edges))
    return tuple(truth + draws for truth, draws in zip(truths, noise, strict=True))


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
