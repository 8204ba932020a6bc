"""Readouts of several batches in one order, and means in which every example counts alike."""

from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import Float

from mechshift.denoising import batch_canvases
from mechshift.errors import SemanticsError
from mechshift.semantics.readouts import (
    Readouts,
    example_means,
    examples_by_step,
    join_readouts,
    mean_by_step,
    mean_of_examples,
    readouts_of,
)
from mechshift.semantics.settings import SemanticsSettings
from mechshift.testing import random_language_model

SETTINGS = SemanticsSettings(num_resamples=50)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inner:
    doubled: Float[np.ndarray, " readout"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    unit: str
    readouts: Readouts
    inner: Inner


def readouts(example, step, target_position):
    ids = np.arange(len(example))
    return Readouts(
        example=np.array(example),
        cluster=np.array(example),
        step=np.array(step),
        target_position=np.array(target_position),
        target_id=ids,
        distractor_id=ids + 100,
    )


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_readouts_are_those_of_the_canvases_in_pool_order(kind, canvases_of):
    model = random_language_model("llama", kind)
    canvases = canvases_of(model)
    expected = sorted(
        (canvas.example, r.step, r.target_position, r.target_id, r.distractor_id)
        for canvas in canvases
        for r in canvas.readouts
    )
    parts = [
        Measured(
            unit="nats",
            readouts=readouts_of(batch),
            inner=Inner(doubled=2.0 * batch.target_ids.numpy()),
        )
        for batch in batch_canvases(model, canvases, 3)
    ]
    assert len(parts) > 1
    joined = join_readouts(parts)
    r = joined.readouts
    found = zip(r.example, r.step, r.target_position, r.target_id, r.distractor_id, strict=True)
    assert list(found) == expected
    assert joined.unit == "nats"
    np.testing.assert_array_equal(joined.inner.doubled, 2.0 * r.target_id)


def test_every_example_counts_alike_however_many_tokens_it_has():
    three = readouts([4, 4, 4, 7], [0, 0, 1, 0], [0, 1, 2, 0])
    values = np.array([[1.0], [2.0], [6.0], [10.0]])
    np.testing.assert_allclose(example_means(values, three), [[3.0], [10.0]])
    assert mean_of_examples(example_means(values, three), 2, SETTINGS).value == 6.5


def test_a_step_is_averaged_over_the_examples_that_have_it():
    three = readouts([0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 2, 0])
    found = mean_by_step(np.array([[1.0], [2.0], [6.0], [10.0]]), three, SETTINGS)
    np.testing.assert_allclose(found.value, [[5.75], [6.0]])
    np.testing.assert_array_equal(examples_by_step(three), [2, 1])
    assert np.isnan(found.low).all(), "two examples are too few for an interval"


def test_an_interval_has_the_bootstraps_width():
    """The standard error of a mean of 400, and the bounds that are asked for."""
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = mean_of_examples(values, 400, SemanticsSettings(num_resamples=2000))
    half_width = (found.high - found.low) / 2
    assert half_width == pytest.approx(1.96 * values.std() / 20, rel=0.08)
    assert found.high > 0
    assert mean_of_examples(values, 400, SETTINGS, bounds=(-1.0, 0.0)).high == 0


def test_no_canvases_are_refused():
    with pytest.raises(SemanticsError, match="no canvases were given"):
        join_readouts([])
