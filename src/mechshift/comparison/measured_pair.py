"""How alike are the two models, in several senses and sizes at once, on every kind of resample?

All arrays of measured likeness come by measure name and end in the axis `size`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.edge_groups import orders_within
from mechshift.comparison.mean_rows import MeanRows, circuits_of
from mechshift.comparison.measures import Measure
from mechshift.comparison.resampling import chunks, exchanged_means, mean_scores, pool_mean

ByMeasure = Mapping[str, np.ndarray]
"""Measure name -> likeness [..., size]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredPair:
    """Two models' scores, and what is to be measured of them."""

    arm_scores: Float[np.ndarray, "example edge"]
    mdm_scores: Float[np.ndarray, "example edge"]
    sizes: tuple[int, ...]
    measures: tuple[Measure, ...]

    @property
    def num_examples(self) -> int:
        return len(self.arm_scores)

    def chunks(self, num_rows: int) -> Iterator[slice]:
        """Row ranges that fit into memory, where a row of scores drags its ranks along."""
        return chunks(num_rows, 4 * self.arm_scores.shape[1])

    def on_pool(self) -> ByMeasure:
        """Likeness of the two models' mean scores [size]."""
        rows = [MeanRows(scores=pool_mean(scores)) for scores in (self.arm_scores, self.mdm_scores)]
        return {name: found[0, 0] for name, found in self.likeness(rows, [(0, 1)]).items()}

    def on_resamples(self, weights: Float[np.ndarray, "resample example"]) -> ByMeasure:
        """Likeness in every resample, the same examples for both models [resample size]."""
        parts = []
        for rows in self.chunks(len(weights)):
            means = [
                MeanRows(scores=mean_scores(weights[rows], scores))
                for scores in (self.arm_scores, self.mdm_scores)
            ]
            parts.append(self.likeness(means, [(0, 1)]))
        return _joined(parts)

    def on_exchanges(self, swapped: Bool[np.ndarray, "exchange example"]) -> ByMeasure:
        """Likeness of the two sides after the models traded examples [exchange size]."""
        parts = []
        for rows in self.chunks(len(swapped)):
            means = exchanged_means(swapped[rows], self.arm_scores, self.mdm_scores)
            sides = [MeanRows(scores=means.first), MeanRows(scores=means.second)]
            parts.append(self.likeness(sides, [(0, 1)]))
        return _joined(parts)

    def on_shuffles(
        self, groups: Int[np.ndarray, " edge"], num_shuffles: int, seed: int
    ) -> ByMeasure:
        """Likeness after the MDM's scores were shuffled within groups of edges [shuffle size]."""
        arm, mdm = (pool_mean(scores) for scores in (self.arm_scores, self.mdm_scores))
        generator = np.random.default_rng(seed)
        parts = []
        for rows in self.chunks(num_shuffles):
            num_rows = rows.stop - rows.start
            orders = orders_within(groups, generator, num_rows)
            shuffled = np.concatenate([mdm[:, order] for order in orders])
            unmoved = np.repeat(arm, num_rows, axis=0)
            means = [MeanRows(scores=scores) for scores in (unmoved, shuffled)]
            parts.append(self.likeness(means, [(0, 1)]))
        return _joined(parts)

    def likeness(
        self, rows: Sequence[MeanRows], pairs: Sequence[tuple[int, int]]
    ) -> dict[str, Float[np.ndarray, "pair row size"]]:
        """Likeness, row by row, of these pairs of sets of mean scores."""
        shape = (len(pairs), len(rows[0].scores), len(self.sizes))
        found = {measure.name: np.empty(shape) for measure in self.measures}
        for size, circuits in circuits_of(rows, self.sizes):
            index = self.sizes.index(size)
            for pair, (first, second) in enumerate(pairs):
                one, two = circuits[first], circuits[second]
                for measure in self.measures:
                    found[measure.name][pair, :, index] = measure.of(one, two)
        return found


def between_resamples(
    pair: MeasuredPair,
    weights: Float[np.ndarray, "resample example"],
    scores: Float[np.ndarray, "example edge"],
) -> ByMeasure:
    """Likeness of one model's resample with the same model's next one [resample size].

    Two resamples stand in for two pools of this size. They disagree more than two pools would:
    each adds its own noise to that of the pool they share.
    """
    cyclic = np.concatenate([weights, weights[:1]])
    parts = []
    for rows in pair.chunks(len(weights)):
        means = mean_scores(cyclic[rows.start : rows.stop + 1], scores)
        neighbours = [MeanRows(scores=means[:-1]), MeanRows(scores=means[1:])]
        parts.append(pair.likeness(neighbours, [(0, 1)]))
    return _joined(parts)


def _joined(parts: Sequence[Mapping[str, Float[np.ndarray, "1 row size"]]]) -> ByMeasure:
    return {name: np.concatenate([part[name][0] for part in parts]) for name in parts[0]}
