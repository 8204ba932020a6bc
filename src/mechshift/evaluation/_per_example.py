"""The table of single examples' metrics, of which curves show only means.

Faithfulness has no value for one example: m(full) - m(empty) of a single example, by which it would
be divided, may be next to nothing. So the three metrics themselves are given.
"""

import numpy as np
import polars as pl

from mechshift.evaluation.circuit_metrics import CircuitMetrics


def per_example(metrics: CircuitMetrics) -> pl.DataFrame:
    """One row per circuit, example and denoising step that the example has.

    Columns: `circuit` (position in the record), `size` [edges], `example` (row of the pool),
    `step`, and in metric units `metric` (the circuit), `full` (the model) and `empty` (every edge
    ablated).
    """
    has_step = np.arange(metrics.full.shape[1]) < metrics.num_steps[:, None]
    example, step = np.nonzero(has_step)
    num_circuits, num_cells = len(metrics.sizes), len(example)
    return pl.DataFrame(
        {
            "circuit": np.repeat(np.arange(num_circuits), num_cells),
            "size": np.repeat(metrics.sizes, num_cells),
            "example": np.tile(example, num_circuits),
            "step": np.tile(step, num_circuits),
            "metric": metrics.metric[:, example, step].ravel(),
            "full": np.tile(metrics.full[example, step], num_circuits),
            "empty": np.tile(metrics.empty[example, step], num_circuits),
        }
    )
