"""Two circuits on three examples, of which one has a single step: every row by hand."""

import numpy as np

from mechshift.evaluation import CircuitMetrics, per_example


def test_there_is_a_row_for_every_circuit_example_and_step_that_exists():
    metrics = CircuitMetrics(
        sizes=np.array([4, 9]),
        live_sizes=np.array([3, 9]),
        num_edges=9,
        metric=np.array([[[1.0, 2.0], [3.0, 0.0]], [[5.0, 6.0], [7.0, 0.0]]]),
        full=np.array([[8.0, 9.0], [10.0, 0.0]]),
        empty=np.array([[-1.0, -2.0], [-3.0, 0.0]]),
        num_steps=np.array([2, 1]),
    )
    table = per_example(metrics)
    assert table.columns == ["circuit", "size", "example", "step", "metric", "full", "empty"]
    assert table.rows() == [
        (0, 4, 0, 0, 1.0, 8.0, -1.0),
        (0, 4, 0, 1, 2.0, 9.0, -2.0),
        (0, 4, 1, 0, 3.0, 10.0, -3.0),
        (1, 9, 0, 0, 5.0, 8.0, -1.0),
        (1, 9, 0, 1, 6.0, 9.0, -2.0),
        (1, 9, 1, 0, 7.0, 10.0, -3.0),
    ]
