"""Shares as ratios of sums over examples, with intervals where they are defined."""

import numpy as np
from jaxtyping import Float

from mechshift.statistics import Estimates, centred_estimates


def share_rows(
    weights: Float[np.ndarray, "row example"],
    part: Float[np.ndarray, "example ..."],
    whole: Float[np.ndarray, "example ..."],
) -> Float[np.ndarray, "row ..."]:
    """Weighted sum of `part` over that of `whole`, for each row of weights; NaN where it is 0 / 0.

    Args:
        weights: of the examples in the pool and in its resamples.
        part: what is counted, at most `whole`.
        whole: what it is a share of; axes of size 1 stand for all entries.
    """
    sums = np.tensordot(weights, part, axes=1)
    wholes = np.broadcast_to(np.tensordot(weights, whole, axes=1), sums.shape)
    return np.divide(sums, wholes, out=np.full_like(sums, np.nan), where=wholes > 0)


def share_estimates(
    rows: Float[np.ndarray, "row ..."], level: float, bounds: tuple[float, float]
) -> Estimates:
    """Row 0 with intervals from the other rows.

    An entry that is undefined in some resample keeps its value and has no interval.
    """
    value, samples = rows[0], rows[1:]
    low, high = np.full((2, *value.shape), np.nan)
    known = np.isfinite(rows).all(axis=0)
    if known.any():
        found = centred_estimates(value[known], samples[:, known], level=level, bounds=bounds)
        low[known], high[known] = found.low, found.high
    return Estimates(value=value, low=low, high=high, level=level)
