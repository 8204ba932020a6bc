"""How much does a model's circuit agree with itself when only the examples change?

Random halves of the examples give two circuits of one model; their overlap is the ceiling of what
any comparison on half the examples can reach. The two models' circuits from opposite halves give
the cross-model overlap at the same number of examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.resampling import (
    chunks,
    halves_of_resamples,
    mean_magnitudes,
    normalised_rows,
)
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.top_edges import mask_jaccard, top_edge_masks
from mechshift.statistics import split_halves


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfOverlaps:
    """Overlaps between two halves of the examples, per row of halving weights."""

    arm: Float[np.ndarray, "row size"]
    mdm: Float[np.ndarray, "row size"]
    cross: Float[np.ndarray, "row size"]


def overlaps_of_halves(
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
    settings: ComparisonSettings,
) -> HalfOverlaps:
    """Mean overlaps over random halves of the examples; one row."""
    first = split_halves(len(arm_scores), settings.num_splits, settings.seed + 1)
    per_split = _half_overlaps(np.ones(first.shape), first, arm_scores, mdm_scores, sizes)
    return _mean_of([per_split], axis=0)


def overlaps_of_resampled_halves(
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
    settings: ComparisonSettings,
) -> HalfOverlaps:
    """Mean overlaps over a few random halves of every bootstrap resample."""
    splits = []
    for split in range(settings.num_splits_per_resample):
        first = halves_of_resamples(weights, settings.seed + 2 + split)
        splits.append(_half_overlaps(weights, first, arm_scores, mdm_scores, sizes))
    return _mean_of(splits, axis=None)


def ratio_to_ceiling(overlaps: HalfOverlaps) -> Float[np.ndarray, "row size"]:
    """Cross-model over within-model agreement of halves; NaN where a ceiling is zero."""
    ceiling = np.sqrt(overlaps.arm * overlaps.mdm)
    return np.divide(overlaps.cross, ceiling, out=np.full_like(ceiling, np.nan), where=ceiling > 0)


def _half_overlaps(
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> HalfOverlaps:
    """Overlaps between the first and the second half of the weighted examples, row by row."""
    arm, mdm, cross = np.empty((3, len(weights), len(sizes)))
    for rows in chunks(len(weights), arm_scores.shape[1]):
        halves = [normalised_rows(weights[rows] * side) for side in (first[rows], ~first[rows])]
        masks = [
            top_edge_masks(mean_magnitudes(half, scores), sizes)
            for scores in (arm_scores, mdm_scores)
            for half in halves
        ]
        for index, (arm_one, arm_two, mdm_one, mdm_two) in enumerate(zip(*masks, strict=True)):
            arm[rows, index] = mask_jaccard(arm_one, arm_two)
            mdm[rows, index] = mask_jaccard(mdm_one, mdm_two)
            crossed = mask_jaccard(arm_one, mdm_two) + mask_jaccard(arm_two, mdm_one)
            cross[rows, index] = crossed / 2
    return HalfOverlaps(arm=arm, mdm=mdm, cross=cross)


def _mean_of(overlaps: Sequence[HalfOverlaps], axis: int | None) -> HalfOverlaps:
    """Mean over records (axis None) or, within a single record, over its rows (axis 0)."""

    def mean(name: str) -> Float[np.ndarray, "row size"]:
        stacked = np.stack([getattr(overlap, name) for overlap in overlaps])
        return stacked.mean(axis=0) if axis is None else stacked.mean(axis=1)

    return HalfOverlaps(arm=mean("arm"), mdm=mean("mdm"), cross=mean("cross"))
