"""Likeness of two models' circuits over circuit sizes, with everything needed to read it.

1. Value: the two models' circuits, each from all examples.
2. Ceiling: halve the examples at random, compare the two halves of the *same* model, average over
   halvings. It is what one half agrees with the other when nothing changed.
3. Ratio: the ARM on one half with the MDM on the other half, over the geometric mean of the two
   ceilings. All three use half the examples, so sampling noise lowers them alike and two models
   with the same scores have ratio 1, exactly. (Dividing the value on *all* examples by ceilings of
   *half* of them would exceed 1 there.) It is disattenuation, Spearman 1904.
4. Null of the layout: shuffle the MDM's scores among edges of the same layer pair and edge type:
   what two models share merely because both use, say, layer 2's MLP to layer 4's keys.
   `layout_p`: how often a shuffle is at least as alike as the two models are.
5. Null of no difference: swap the two models' scores on a random half of the examples, after
   bringing both to one scale, and compare the two sides. `noise_p`: how often the sides are at
   most as alike as the two models are. Exact if an example's two scores, once on one scale, could
   as well have come from the other model; the scale is estimated, but a wrong scale multiplies
   both sides alike to first order and no measure sees it.
6. Intervals: bootstrap over examples, the same resample for both models, centred
   (`statistics.centred_estimates`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison import resampling
from mechshift.comparison.chosen_edges import circuits_of
from mechshift.comparison.measures import Measure
from mechshift.comparison.resampling import EXCHANGE_SEED, Piece, halves_of_resamples, pool_mean
from mechshift.comparison.settings import ComparisonSettings
from mechshift.statistics import (
    Estimates,
    bootstrap_weights,
    exchange_masks,
    permutation_p,
    split_halves,
    spread_of_draws,
)

ARRAYS = 4
"""Arrays as large as itself that measuring makes of one of a piece: ranks and what they need."""

BOTH = ((0, 1),)
"""Compared of two sets of rows: the first with the second."""

ACROSS_HALVES = ((0, 1), (2, 3), (0, 3), (1, 2))
"""Compared of ARM and MDM halves: each model with itself, and both ways across the models."""

ByMeasure = Mapping[str, np.ndarray]
"""Measure name -> likeness [..., size]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementCurve:
    """One measure; every array has axis `size`."""

    value: Estimates
    """Likeness of the two models."""

    ceiling_arm: Estimates
    """Split-half likeness of the ARM with itself."""

    ceiling_mdm: Estimates
    """Split-half likeness of the MDM with itself."""

    halves: Estimates
    """Likeness of the ARM on one half of the examples with the MDM on the other half."""

    ratio: Estimates
    """`halves` over the geometric mean of the ceilings; 1: as alike as noise lets one see."""

    null: Estimates
    """Likeness after shuffling within layer pair and edge type; low and high over shuffles."""

    layout_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no more alike than edges of the same layers and types are."""

    noise_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no less alike than the two models would be with one circuit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredPair:
    """Two models' scores, and what is to be measured of them.

    Arrays of measured likeness come by measure name and end in the axis `size`.
    """

    arm_scores: Float[np.ndarray, "example edge"]
    mdm_scores: Float[np.ndarray, "example edge"]
    sizes: tuple[int, ...]
    measures: tuple[Measure, ...]

    @property
    def models(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the ARM and of the MDM [example, edge]."""
        return self.arm_scores, self.mdm_scores

    def on_pool(self) -> ByMeasure:
        """Likeness of the two models' mean scores [size]."""
        means = tuple(pool_mean(scores) for scores in self.models)
        return {name: found[0, 0] for name, found in self._likeness(means, BOTH).items()}

    def on_resamples(self, weights: Float[np.ndarray, "resample example"]) -> ByMeasure:
        """Likeness in every resample, the same examples for both models [resample size]."""
        return self._first(resampling.resampled(weights, *self.models, arrays=ARRAYS))

    def on_exchanges(self, swapped: Bool[np.ndarray, "exchange example"]) -> ByMeasure:
        """Likeness of the two sides after the models traded examples [exchange size]."""
        return self._first(resampling.exchanged(swapped, *self.models, arrays=ARRAYS))

    def on_shuffles(
        self, groups: Int[np.ndarray, " edge"], num_shuffles: int, seed: int
    ) -> ByMeasure:
        """Likeness after the MDM's scores were shuffled within groups of edges [shuffle size]."""
        return self._first(
            resampling.shuffled(groups, num_shuffles, seed, *self.models, arrays=ARRAYS)
        )

    def between_resamples(
        self,
        weights: Float[np.ndarray, "resample example"],
        scores: Float[np.ndarray, "example edge"],
    ) -> ByMeasure:
        """Likeness of one model's resample with the same model's next one [resample size].

        Two resamples stand in for two pools of this size. They disagree more than two pools would:
        each adds its own noise to that of the pool they share.
        """
        return self._first(resampling.neighbours(weights, scores, arrays=ARRAYS))

    def on_halves(
        self,
        weights: Float[np.ndarray, "row example"],
        first: Bool[np.ndarray, "row example"],
    ) -> ByMeasure:
        """Likeness of halves of the weighted examples [compared row size]: arm, mdm and cross.

        The first two are of each model with itself, the last of the ARM on one half with the MDM on
        the other, averaged over both ways round.
        """
        pieces = resampling.halved(weights, first, *self.models, arrays=ARRAYS)
        found = self._collected(pieces, ACROSS_HALVES)
        return {
            name: np.stack([arm, mdm, (one_way + other_way) / 2])
            for name, (arm, mdm, one_way, other_way) in found.items()
        }

    def _first(self, pieces: Iterable[Piece]) -> ByMeasure:
        return {name: found[0] for name, found in self._collected(pieces, BOTH).items()}

    def _collected(
        self, pieces: Iterable[Piece], pairs: Sequence[tuple[int, int]]
    ) -> dict[str, Float[np.ndarray, "pair row size"]]:
        """Likeness in all pieces, one after the other."""
        parts = [self._likeness(sets, pairs) for sets in pieces]
        return {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}

    def _likeness(
        self, sets: Piece, pairs: Sequence[tuple[int, int]]
    ) -> dict[str, Float[np.ndarray, "pair row size"]]:
        """Likeness, row by row, of these pairs of sets of mean scores."""
        shape = (len(pairs), len(sets[0]), len(self.sizes))
        found = {measure.name: np.empty(shape) for measure in self.measures}
        for size, circuits in circuits_of(sets, self.sizes):
            index = self.sizes.index(size)
            for pair, (first, second) in enumerate(pairs):
                for measure in self.measures:
                    found[measure.name][pair, :, index] = measure.of(
                        circuits[first], circuits[second]
                    )
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """One measure of the two models' circuits, on the pool and on all that is drawn from it."""

    measure: Measure
    pool: Float[np.ndarray, " size"]
    resampled: Float[np.ndarray, "resample size"]

    halves: Float[np.ndarray, "compared size"]
    """ARM with itself, MDM with itself, one with the other; mean over halvings of the pool."""

    resampled_halves: Float[np.ndarray, "compared resample size"]
    """The same of each resample."""

    shuffled: Float[np.ndarray, "shuffle size"]
    exchanged: Float[np.ndarray, "exchange size"]

    @property
    def ratio_draws(self) -> Float[np.ndarray, "resample size"]:
        """The ratio to the ceilings in each resample; NaN where a ceiling is not above zero."""
        return _ratio(self.resampled_halves)

    def curve(self, level: float) -> AgreementCurve:
        """Its value, ceilings and ratio with intervals, its null and p-values."""
        lowest = self.measure.lowest
        arm, mdm, cross = (
            _estimates(value, draws, level, (lowest, 1.0))
            for value, draws in zip(self.halves, self.resampled_halves, strict=True)
        )
        ratio_bounds = (-np.inf if lowest < 0 else 0.0, np.inf)
        return AgreementCurve(
            value=_estimates(self.pool, self.resampled, level, (lowest, 1.0)),
            ceiling_arm=arm,
            ceiling_mdm=mdm,
            halves=cross,
            ratio=_estimates(_ratio(self.halves), self.ratio_draws, level, ratio_bounds),
            null=spread_of_draws(self.shuffled, level=level),
            layout_p=permutation_p(self.pool, self.shuffled),
            noise_p=permutation_p(-self.pool, -self.exchanged),
        )

    def notes(self, sizes: tuple[int, ...], curve: AgreementCurve) -> list[str]:
        """Why a value or a ratio, or its interval, is NaN; one line each."""
        name = self.measure.name
        words = {"edges": "edge overlap", "nodes": "node overlap"}.get(name, f"{name} agreement")
        ratio_words = "ratio to the ceiling" if name == "edges" else f"ratio of {words}"
        return [
            *notes_on_undefined(sizes, curve.value, self.measure.undefined, words),
            *notes_on_undefined(sizes, curve.ratio, "a split-half ceiling is 0", ratio_words),
        ]


def likeness_of(
    pair: MeasuredPair, groups: Int[np.ndarray, " edge"], settings: ComparisonSettings
) -> tuple[Likeness, ...]:
    """Every measure of the pair, on everything that is drawn from the pool."""
    num_examples, seed = len(pair.arm_scores), settings.seed
    weights = bootstrap_weights(num_examples, settings.num_resamples, seed)
    swapped = exchange_masks(num_examples, settings.num_exchanges, seed + EXCHANGE_SEED)
    first = split_halves(num_examples, settings.num_splits, seed + 1)
    pool, resampled = pair.on_pool(), pair.on_resamples(weights)
    halves = pair.on_halves(np.ones(first.shape), first)
    splits = [
        pair.on_halves(weights, halves_of_resamples(weights, seed + 2 + split))
        for split in range(settings.num_splits_per_resample)
    ]
    shuffled = pair.on_shuffles(groups, settings.num_shuffles, seed)
    exchanged = pair.on_exchanges(swapped)
    return tuple(
        Likeness(
            measure=measure,
            pool=pool[measure.name],
            resampled=resampled[measure.name],
            halves=halves[measure.name].mean(axis=1),
            resampled_halves=np.mean([split[measure.name] for split in splits], axis=0),
            shuffled=shuffled[measure.name],
            exchanged=exchanged[measure.name],
        )
        for measure in pair.measures
    )


def notes_on_undefined(
    sizes: tuple[int, ...], estimates: Estimates, reason: str, name: str
) -> list[str]:
    """At which sizes a number or its interval does not exist, and why."""
    missing = np.isnan(estimates.value)
    unsure = np.isnan(estimates.low) & ~missing
    notes = []
    if missing.any():
        notes.append(f"Circuits of {_listed(sizes, missing)} edges: {reason}; no {name}.")
    if unsure.any():
        notes.append(
            f"Circuits of {_listed(sizes, unsure)} edges: {reason} in too many resamples; no"
            f" interval of the {name}."
        )
    return notes


def _ratio(halves: Float[np.ndarray, "compared *row size"]) -> Float[np.ndarray, "*row size"]:
    """Cross-model over within-model likeness; NaN where a ceiling is not above zero."""
    arm, mdm, cross = halves
    measurable = (arm > 0) & (mdm > 0)
    return cross / np.sqrt(np.where(measurable, arm * mdm, np.nan))


def _estimates(
    value: Float[np.ndarray, " size"],
    draws: Float[np.ndarray, "resample size"],
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    return Estimates.from_rows(np.concatenate([value[None], draws]), level=level, bounds=bounds)


def _listed(sizes: tuple[int, ...], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])
