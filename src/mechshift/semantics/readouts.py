"""Readouts: which target token each number is about, and means of such numbers.

Canvases are scored at *readouts*: one for each target token, at the denoising step that commits it
and at the position whose logits predict it. Everything measured there has a leading `readout` axis,
in the order of examples, then steps, then positions in the target.

Intervals resample examples, whole clusters of them: an example's readouts are averaged first, so
every example counts alike, however many tokens its target has.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechshift.denoising import CanvasBatch
from mechshift.errors import SemanticsError
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Drawn, Estimates, bootstrap_weights, centred_estimates

MIN_EXAMPLES = 10
"""A mean over fewer examples has no interval, as in the comparison of circuits."""

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True, eq=False)
class Readouts:
    """The target tokens that are scored."""

    example: Int[np.ndarray, " readout"]
    """Row in the pool."""
    cluster: Int[np.ndarray, " readout"]
    """Number of the example's cluster in the pool."""
    step: Int[np.ndarray, " readout"]
    """Denoising step that commits the token."""
    target_position: Int[np.ndarray, " readout"]
    """Index into the target."""
    target_id: Int[np.ndarray, " readout"]
    distractor_id: Int[np.ndarray, " readout"]

    @property
    def num_steps(self) -> int:
        return int(self.step.max()) + 1

    @property
    def num_examples(self) -> int:
        return len(np.unique(self.example))


def readouts_of(batch: CanvasBatch) -> Readouts:
    """The readouts of a batch, in its order."""
    row, slot = (t.cpu().numpy() for t in (batch.readout_row, batch.readout_slot))
    return Readouts(
        example=batch.example[row],
        cluster=batch.cluster[row],
        step=batch.step[row, slot],
        target_position=batch.readout_target.cpu().numpy(),
        target_id=batch.target_ids.cpu().numpy(),
        distractor_id=batch.distractor_ids.cpu().numpy(),
    )


def join_readouts(parts: Sequence[Record]) -> Record:
    """One record of the readouts of several batches, in the order stated above.

    Every array of the records has a leading readout axis; everything else is the same in all.

    Args:
        parts: records with a field `readouts`, one for each batch.

    Raises:
        SemanticsError: there are none.
    """
    if not parts:
        raise SemanticsError("there is nothing to analyse: no canvases were given.")
    readouts = _joined([part.readouts for part in parts], None)  # type: ignore[attr-defined]
    order = np.lexsort((readouts.target_position, readouts.step, readouts.example))
    return _joined(parts, order)


def _joined(parts: Sequence[Record], order: Int[np.ndarray, " readout"] | None) -> Record:
    first: Any = parts[0]
    values: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        found = [getattr(part, field.name) for part in parts]
        if isinstance(found[0], np.ndarray):
            whole = np.concatenate(found)
            values[field.name] = whole if order is None else whole[order]
        elif dataclasses.is_dataclass(found[0]) and _holds_arrays(found[0]):
            values[field.name] = _joined(found, order)
        else:
            assert all(value == found[0] for value in found), f"batches differ in {field.name}"
            values[field.name] = found[0]
    return type(first)(**values)


def _holds_arrays(record: Any) -> bool:
    return any(isinstance(getattr(record, f.name), np.ndarray) for f in dataclasses.fields(record))


def example_means(
    values: Shaped[np.ndarray, "readout ..."], readouts: Readouts
) -> Float[np.ndarray, "example ..."]:
    """Mean over each example's readouts, in pool order."""
    _, row, count = np.unique(readouts.example, return_inverse=True, return_counts=True)
    sums = np.zeros((len(count), *values.shape[1:]))
    np.add.at(sums, row, values)
    return sums / count.reshape(-1, *[1] * (values.ndim - 1))


def clusters_of(readouts: Readouts) -> Int[np.ndarray, " example"]:
    """The cluster of each example, in pool order."""
    return readouts.cluster[np.unique(readouts.example, return_index=True)[1]]


def mean_of_examples(
    values: Float[np.ndarray, "example entry ..."],
    examples: Drawn,
    settings: SemanticsSettings,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimates:
    """Mean over examples with bootstrap intervals; NaN intervals below `MIN_EXAMPLES`.

    Args:
        values: of each example.
        examples: their number, or their clusters.
        settings: resamples, level and seed.
        bounds: of the mean.
    """
    value = values.mean(axis=0)
    if len(values) < MIN_EXAMPLES:
        return Estimates.from_rows(value[None], level=settings.level)
    weights = bootstrap_weights(examples, settings.num_resamples, settings.seed)
    samples = np.tensordot(weights, values, axes=1)
    return centred_estimates(value, samples, level=settings.level, bounds=bounds)


def mean_by_step(
    values: Shaped[np.ndarray, "readout entry ..."],
    readouts: Readouts,
    settings: SemanticsSettings,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimates:
    """Mean over the examples that have each step, as [step, entry, ...]; NaN at steps of none."""
    undefined = Estimates.from_rows(np.full((1, *values.shape[1:]), np.nan), level=settings.level)
    by_step = [undefined] * readouts.num_steps
    for step in np.unique(readouts.step):
        chosen = readouts.step == step
        present = readouts_where(readouts, chosen)
        by_step[step] = mean_of_examples(
            example_means(values[chosen], present), clusters_of(present), settings, bounds=bounds
        )
    return Estimates.stack(by_step, level=settings.level)


def examples_by_step(readouts: Readouts) -> Int[np.ndarray, " step"]:
    """How many examples have each step."""
    return np.array(
        [
            len(np.unique(readouts.example[readouts.step == step]))
            for step in range(readouts.num_steps)
        ]
    )


def readouts_where(readouts: Readouts, chosen: Shaped[np.ndarray, " readout"]) -> Readouts:
    """Some of the readouts, by mask or index."""
    return Readouts(
        **{f.name: getattr(readouts, f.name)[chosen] for f in dataclasses.fields(readouts)}
    )
