from dataclasses import replace

import numpy as np

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import CircuitMetrics
from mechshift.run.points import measured_faithfulness

SETTINGS = ComparisonSettings(num_resamples=200)


def metrics(circuit, full, empty):
    """One circuit of three edges on ten examples of one step, all alike but for a ripple."""
    ripple = np.linspace(-0.1, 0.1, 10)[:, None]
    return CircuitMetrics(
        sizes=np.array([3]),
        live_sizes=np.array([3]),
        num_edges=20,
        metric=(circuit + ripple)[None],
        full=full + ripple,
        empty=empty + ripple,
        num_steps=np.ones(10, dtype=np.int64),
    )


def test_faithfulness_is_measured_where_full_and_empty_differ_and_explained_where_not():
    found = measured_faithfulness(
        {"good": metrics(3.0, 4.0, 0.0), "none": metrics(3.0, 1.0, 1.0)}, SETTINGS
    )
    assert found["good"].reason == ""
    np.testing.assert_allclose(found["good"].estimate.value, 0.75)
    assert found["none"].estimate is None
    assert "on 10 examples the full model's metric minus the empty circuit's is 0 to 0" in (
        found["none"].reason
    )


def test_a_full_model_no_better_than_its_empty_circuit_has_a_reason_and_no_interval():
    noisy = metrics(0.0, 0.0, 0.0)
    alternating = np.where(np.arange(10) % 2, 1.0, -0.9)[:, None]
    noisy = replace(noisy, full=noisy.empty + alternating)
    (found,) = measured_faithfulness({"noisy": noisy}, SETTINGS).values()
    assert found.estimate is None
    assert "which includes 0. Use more examples or another metric." in found.reason
