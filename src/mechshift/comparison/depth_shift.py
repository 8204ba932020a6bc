"""By how much does the MDM's |score| lie elsewhere in depth than the ARM's?

Three numbers for a pair of layer sums: the change of the early, middle and late share, the shift of
the centre of mass, and the distance between the profiles (`profile_distance.py`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.comparison.profile_distance import wasserstein
from mechshift.statistics import Estimates, permutation_p


@dataclass(frozen=True, kw_only=True, eq=False)
class ShiftRows:
    """MDM minus ARM, row by row; NaN where a circuit touches no layer."""

    thirds: Float[np.ndarray, "row third"]
    """Change of the early, middle and late share."""

    centre_of_mass: Float[np.ndarray, " row"]
    """Shift of the centre of mass [layers]."""

    distance: Float[np.ndarray, " row"]
    """Wasserstein-1 distance between the profiles [layers]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShiftCurve:
    """Shifts along a sweep, on one side of the edges; every array has axis `point`."""

    early_share: Estimates
    """MDM's minus ARM's share of the first third of the layers, in [-1, 1]."""

    centre_of_mass: Estimates
    """MDM's minus ARM's centre of mass [layers]; negative: the MDM works earlier."""

    distance: Estimates
    """Wasserstein-1 distance between the two profiles [layers]."""

    noise_distance: Estimates
    """The same after exchanges of the models: mean and spread [layers]."""


def thirds_of(
    sums: Float[np.ndarray, "row layer"], thirds: Float[np.ndarray, "third layer"]
) -> Float[np.ndarray, "row third"]:
    """Share of each third of the layers; NaN for a row of zeros."""
    return _over_sum(sums @ thirds.T, sums)


def centre_of(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, " row"]:
    """Mean layer, weighted by |score|; NaN for a row of zeros."""
    return _over_sum((sums @ np.arange(sums.shape[1]))[:, None], sums)[:, 0]


def shift_rows(
    arm: Float[np.ndarray, "row layer"],
    mdm: Float[np.ndarray, "row layer"],
    thirds: Float[np.ndarray, "third layer"],
) -> ShiftRows:
    """All three differences between two models' layer sums."""
    return ShiftRows(
        thirds=thirds_of(mdm, thirds) - thirds_of(arm, thirds),
        centre_of_mass=centre_of(mdm) - centre_of(arm),
        distance=wasserstein(arm, mdm),
    )


def two_sided_p(
    value: Float[np.ndarray, "..."], draws: Float[np.ndarray, "draw ..."]
) -> Float[np.ndarray, "..."]:
    """How often an exchange moves a number as far, in either direction."""
    return permutation_p(np.abs(value), np.abs(draws))


def _over_sum(
    part: Float[np.ndarray, "row entry"], sums: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, "row entry"]:
    whole = sums.sum(axis=1, keepdims=True)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
