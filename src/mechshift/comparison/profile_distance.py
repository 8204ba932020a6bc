"""How far apart do two models' |score| lie in depth, beyond what noise alone puts between them?

Wasserstein-1 distance between the two models' shares by layer: how many layers a unit of |score|
must travel, on average, to turn one profile into the other. Unlike a shift of the centre of mass it
does not cancel when some of the mass moves up and some moves down, and it is never negative: noise
can only raise it. So beside it stand

- what noise makes of it: the distance between the two sides after the models traded examples
  (`agreement_curve.py`, 5);
- the distance of each model to itself, one half of the examples against the other, that of the ARM
  on one half to the MDM on the other, and how much the latter exceeds the mean of the former.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechshift.comparison.layer_sums import HalfSums, half_sums
from mechshift.comparison.resampling import halves_of_resamples
from mechshift.comparison.settings import ComparisonSettings
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Estimates, centred_estimates, split_halves

Side = Literal["source", "destination"]

HalfDistance = Literal["within_arm", "within_mdm", "across", "excess"]

HALF_DISTANCES: tuple[HalfDistance, ...] = ("within_arm", "within_mdm", "across", "excess")
"""ARM half to ARM half; MDM half to MDM half; ARM half to the other half in the MDM; and by how
much the last exceeds the mean of the first two, which is 0 where the models do not differ."""


@dataclass(frozen=True, kw_only=True)
class ProfileDistance:
    """Wasserstein-1 distance between two profiles over layers, and what noise makes of it."""

    value: Estimate
    """Between the two models, each on all examples [layers]."""

    noise: Estimate
    """Between the two sides after an exchange: mean and spread over exchanges [layers]."""

    noise_p: float | None
    """P-value of: no farther apart than the two models would be with one circuit; cross-fitted
    (`depth.py`, 5 and 6). None where that is undefined."""

    tested: float | None
    """What `noise_p` is of: the distance of the cross-fitted profiles [layers]."""

    halves: Estimates
    """Distances between halves of the examples, in the order of `HALF_DISTANCES` [layers]. NaN
    where the circuit of some half touches no layer."""

    def of_halves(self, name: HalfDistance) -> Estimate | None:
        """One of `halves`; None where it is undefined."""
        return self.halves.at(HALF_DISTANCES.index(name))


def wasserstein(
    first: Float[np.ndarray, "row layer"], second: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, " row"]:
    """Wasserstein-1 distance between two rows of |score| by layer [layers]; NaN without any.

    On a line it is the area between the two cumulative shares.
    """
    ascents = [np.cumsum(sums, axis=1) for sums in (first, second)]
    shares = [
        np.divide(a, a[:, -1:], out=np.full(a.shape, np.nan), where=a[:, -1:] > 0) for a in ascents
    ]
    distance: Float[np.ndarray, " row"] = np.abs(shares[0] - shares[1]).sum(axis=1)
    return distance


@dataclass(frozen=True, kw_only=True, eq=False)
class Halvings:
    """Layer sums of both models on halves of the pool and of its resamples."""

    pool: tuple[HalfSums, HalfSums]
    """ARM and MDM; one row per halving."""

    resamples: tuple[tuple[HalfSums, HalfSums], ...]
    """ARM and MDM for each halving of the resamples; one row per resample."""


def halvings(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
    settings: ComparisonSettings,
) -> Halvings:
    """Halve the pool and every resample, as the ceilings of overlap do."""
    pair = (arm_scores, mdm_scores)
    first = split_halves(len(arm_scores), settings.num_splits, settings.seed + 1)
    arm, mdm = (half_sums(graph, np.ones(first.shape), first, one, size) for one in pair)
    resamples = []
    for split in range(settings.num_splits_per_resample):
        halves = halves_of_resamples(weights, settings.seed + 2 + split)
        of_arm, of_mdm = (half_sums(graph, weights, halves, one, size) for one in pair)
        resamples.append((of_arm, of_mdm))
    return Halvings(pool=(arm, mdm), resamples=tuple(resamples))


def half_distances(
    arm: HalfSums, mdm: HalfSums, side: Side
) -> Float[np.ndarray, "row half_distance"]:
    """Distances within each model, across, and the excess, row by row."""
    arm_one, arm_two, mdm_one, mdm_two = (
        sums.of_layers(side) for sums in (arm.first, arm.second, mdm.first, mdm.second)
    )
    within_arm, within_mdm = wasserstein(arm_one, arm_two), wasserstein(mdm_one, mdm_two)
    across = (wasserstein(arm_one, mdm_two) + wasserstein(arm_two, mdm_one)) / 2
    excess = across - (within_arm + within_mdm) / 2
    return np.stack([within_arm, within_mdm, across, excess], axis=1)


def half_estimates(halved: Halvings, side: Side, *, farthest: float, level: float) -> Estimates:
    """`ProfileDistance.halves`, in which every distance lies between 0 and `farthest`."""
    value = half_distances(*halved.pool, side).mean(axis=0)
    samples = np.mean([half_distances(*pair, side) for pair in halved.resamples], axis=0)
    low, high = np.full((2, len(HALF_DISTANCES)), np.nan)
    if np.isfinite(value).all() and np.isfinite(samples).all():
        found = centred_estimates(value, samples, level=level)
        lowest = np.where(np.array(HALF_DISTANCES) == "excess", -farthest, 0.0)
        low, high = np.maximum(found.low, lowest), np.minimum(found.high, farthest)
    return Estimates(value=value, low=low, high=high, level=level)
