"""How much does a model's circuit agree with itself when only the examples change?

Random halves of the examples give two circuits of one model; their likeness is the ceiling of what
any comparison on half the examples can reach. The two models' circuits from opposite halves give
the cross-model likeness at the same number of examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.mean_rows import MeanRows
from mechshift.comparison.measured_pair import MeasuredPair
from mechshift.comparison.resampling import halves_of_resamples, mean_scores, normalised_rows
from mechshift.comparison.settings import ComparisonSettings
from mechshift.statistics import split_halves


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfLikeness:
    """Likeness between two halves of the examples by one measure, per row of halving weights."""

    arm: Float[np.ndarray, "row size"]
    mdm: Float[np.ndarray, "row size"]
    cross: Float[np.ndarray, "row size"]

    @property
    def ratio(self) -> Float[np.ndarray, "row size"]:
        """Cross-model over within-model likeness; NaN where a ceiling is not above zero."""
        measurable = (self.arm > 0) & (self.mdm > 0)
        ceiling = np.sqrt(np.where(measurable, self.arm * self.mdm, np.nan))
        return self.cross / ceiling


def likeness_of_halves(
    pair: MeasuredPair, settings: ComparisonSettings
) -> Mapping[str, HalfLikeness]:
    """Mean likeness over random halves of the examples, by measure; one row."""
    first = split_halves(pair.num_examples, settings.num_splits, settings.seed + 1)
    per_split = _likeness_of(pair, np.ones(first.shape), first)
    return {
        name: HalfLikeness(
            arm=found.arm.mean(axis=0, keepdims=True),
            mdm=found.mdm.mean(axis=0, keepdims=True),
            cross=found.cross.mean(axis=0, keepdims=True),
        )
        for name, found in per_split.items()
    }


def likeness_of_resampled_halves(
    pair: MeasuredPair,
    weights: Float[np.ndarray, "resample example"],
    settings: ComparisonSettings,
) -> Mapping[str, HalfLikeness]:
    """Mean likeness over a few random halves of every bootstrap resample, by measure."""
    splits = []
    for split in range(settings.num_splits_per_resample):
        first = halves_of_resamples(weights, settings.seed + 2 + split)
        splits.append(_likeness_of(pair, weights, first))
    return {
        name: HalfLikeness(
            arm=np.mean([split[name].arm for split in splits], axis=0),
            mdm=np.mean([split[name].mdm for split in splits], axis=0),
            cross=np.mean([split[name].cross for split in splits], axis=0),
        )
        for name in splits[0]
    }


def _likeness_of(
    pair: MeasuredPair,
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
) -> dict[str, HalfLikeness]:
    """Likeness between the first and the second half of the weighted examples, row by row."""
    parts: list[Mapping[str, Float[np.ndarray, "pair row size"]]] = []
    for rows in pair.chunks(len(weights)):
        halves = [normalised_rows(weights[rows] * side) for side in (first[rows], ~first[rows])]
        arm_one, arm_two, mdm_one, mdm_two = range(4)
        means = [
            MeanRows(scores=mean_scores(half, scores))
            for scores in (pair.arm_scores, pair.mdm_scores)
            for half in halves
        ]
        pairs = [(arm_one, arm_two), (mdm_one, mdm_two), (arm_one, mdm_two), (arm_two, mdm_one)]
        parts.append(pair.likeness(means, pairs))
    return {measure.name: _half_likeness(measure.name, parts) for measure in pair.measures}


def _half_likeness(
    name: str, parts: Sequence[Mapping[str, Float[np.ndarray, "pair row size"]]]
) -> HalfLikeness:
    arm, mdm, one_way, other_way = np.concatenate([part[name] for part in parts], axis=1)
    return HalfLikeness(arm=arm, mdm=mdm, cross=(one_way + other_way) / 2)
