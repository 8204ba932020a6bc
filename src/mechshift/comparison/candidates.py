"""Candidates: a number on all that both models were asked, from those they solve and a sample.

For readers who ask whether a difference between two models is one between what they solve. Numbers
of a run are of the examples that both models solve (*common*). Where each model solves what suits
it, these are chosen by the models' own scores, and equal models can differ on them. Here the same
numbers are had on all candidates:

1. Let a share p of the candidates be solved by both, C be the mean scores of the common examples
   that were scored, and O those of a uniform sample of the others. The mean over all candidates is
   p C + (1 - p) O (each example weighs the inverse of its chance of being scored), and a number on
   all candidates is the number of these mean scores, by the function that measures it anywhere.
2. Clusters of candidates, solved or not, scored or not, are dealt into blocks at random. A block is
   one row of scores: the sum of its common examples, each p / (number of common ones), and of its
   others, each (1 - p) / (number of others). So the functions of a comparison, which take means
   over rows, halves of them and resamples, see the mean of 1.
3. Everything is repeated without each block: p, C and O are then those of the candidates that are
   left, and the block's row is 0, which changes the scale of mean scores alone. The spread of the
   results is the standard error, in which clusters of both kinds and p itself are drawn again
   (delete-a-group jackknife; Student's t).
4. Where nothing is known of the others, a share of scores still has bounds: if the others' share
   lay anywhere between a and b, and an example of theirs carried as much score as a common one, it
   would be between p x + (1 - p) a and p x + (1 - p) b on all candidates.

Source of 1: Horvitz and Thompson 1952, with the ratio within strata (Särndal, Swensson and Wretman
1992, chapter 7); of 3: Kott 2001; of 4: Manski 1989.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.stats import t as student

from mechshift.comparison.sources import group_sums
from mechshift.errors import ComparisonError
from mechshift.statistics import (
    NUM_BLOCKS,
    Estimate,
    Interval,
    cluster_columns,
    deal_clusters,
    jackknife_variance,
)

Population = Literal["common", "others", "all"]
"""Examples that both models solve; those that not both do; all candidates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Who was asked, who solved it, and of whom there are scores."""

    both_correct: Bool[np.ndarray, " candidate"]
    """Whether both models solve it."""
    clusters: Int[np.ndarray, " candidate"]
    """Number of what each is drawn together with."""
    common: Int[np.ndarray, " row"]
    """Cluster of every row of scores of common examples."""
    others: Int[np.ndarray, " other"]
    """The same of the sample of those that not both models solve."""

    def __post_init__(self) -> None:
        known = {*self.clusters.tolist()}
        if not {*self.common.tolist(), *self.others.tolist()} <= known:
            raise ComparisonError("scores are of a cluster in which there is no candidate.")

    @property
    def num_others(self) -> int:
        """Candidates that not both models solve, scored or not."""
        return int((~self.both_correct).sum())

    @property
    def all_scored(self) -> bool:
        """Whether the sample holds all of them."""
        return len(self.others) == self.num_others

    def dealt(self, seed: int) -> "Blocks":
        """Their clusters in random blocks."""
        columns, count = cluster_columns(self.clusters)
        place = dict(zip(self.clusters.tolist(), columns.tolist(), strict=True))
        num_blocks = min(NUM_BLOCKS, count)
        block = deal_clusters(columns, num_blocks, np.random.default_rng(seed))
        of_cluster = np.zeros(count, dtype=np.int64)
        of_cluster[columns] = block
        common, others = (
            of_cluster[np.array([place[one] for one in scored.tolist()], dtype=np.int64)]
            for scored in (self.common, self.others)
        )
        return Blocks(
            tried=np.bincount(block, minlength=num_blocks),
            solved=np.bincount(block[self.both_correct], minlength=num_blocks),
            common=common,
            others=others,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Blocks of candidates, and in which each row of scores is."""

    tried: Int[np.ndarray, " block"]
    """Candidates in it."""
    solved: Int[np.ndarray, " block"]
    """Of these, those that both models solve."""
    common: Int[np.ndarray, " row"]
    """Block of every row of common examples."""
    others: Int[np.ndarray, " other"]

    @property
    def num_blocks(self) -> int:
        return len(self.tried)

    @cached_property
    def num_scored(self) -> Int[np.ndarray, "stratum=2 block"]:
        """Rows of common examples and of others in each."""
        counts = [np.bincount(one, minlength=self.num_blocks) for one in (self.common, self.others)]
        return np.stack(counts)

    def weights(
        self, population: Population, without: int | None = None
    ) -> Float64[np.ndarray, "stratum=2 block"]:
        """What each scored example of a block weighs, common ones first; all sum to 1.

        0 in a block that is left out, and in all of a stratum that is no part of the population.

        Args:
            population: of which a mean is wanted.
            without: the number of a block that is left out.

        Raises:
            ComparisonError: none of the population is scored.
        """
        kept = np.ones(self.num_blocks, dtype=bool)
        if without is not None:
            kept[without] = False
        share = self.solved[kept].sum() / max(1, self.tried[kept].sum())
        of_strata = {"common": (1.0, 0.0), "others": (0.0, 1.0), "all": (share, 1.0 - share)}
        weights = np.zeros((2, self.num_blocks))
        for stratum, whole in enumerate(of_strata[population]):
            count = int(self.num_scored[stratum][kept].sum())
            if whole and not count:
                raise ComparisonError(f"no example of {population} candidates is scored.")
            weights[stratum, kept] = whole / max(1, count)
        return weights

    def sums(
        self,
        common: Float[np.ndarray, "row unit"],
        others: Float[np.ndarray, "other unit"],
    ) -> Float64[np.ndarray, "stratum=2 block unit"]:
        """Summed scores of each block, common ones first."""
        strata = ((common, self.common), (others, self.others))
        return np.stack([group_sums(scores, block, self.num_blocks) for scores, block in strata])

    def rows(
        self,
        sums: Float64[np.ndarray, "stratum=2 block unit"],
        population: Population,
        without: int | None = None,
    ) -> Float64[np.ndarray, "kept unit"]:
        """One row a block that holds some of the population; their mean is that of the population.

        The row of a block that is left out stays, as zeros, and the mean keeps its direction alone.
        So whatever a number draws, such as halves, is drawn alike with and without the block, and
        what drawing makes of the number is not taken for what the block does.

        Args:
            sums: of each block.
            population: whose mean.
            without: as of `weights`.

        Raises:
            ComparisonError: as of `weights`.
        """
        held = ((self.weights(population) > 0) & (self.num_scored > 0)).any(axis=0)
        weights = self.weights(population, without)[:, held]
        return np.asarray(np.einsum("sb,sbu->bu", weights, sums[:, held]) * held.sum())


def delete_a_block(
    value: float, without: Float[np.ndarray, " block"], level: float
) -> Estimate | None:
    """A number with Student's interval from what it is without each block.

    None where it is undefined without some block.
    """
    count = len(without)
    if count < 2 or not np.isfinite([value, *without]).all():
        return None
    error = float(np.sqrt(jackknife_variance(without)))
    reach = float(student.ppf((1 + level) / 2, count - 1)) * error
    return Estimate(
        value=value, interval=Interval(low=value - reach, high=value + reach, level=level)
    )


def worst_case(common: Estimate, share: Estimate, lowest: float, highest: float) -> Interval:
    """Between which a share lies on all candidates, if an example carries as much score anywhere.

    Args:
        common: on common examples.
        share: of the candidates that both models solve, in [0, 1]; its lower end is taken.
        lowest: what it could be on the others at least.
        highest: and at most.
    """
    solved = share.interval.low
    return Interval(
        low=solved * common.interval.low + (1 - solved) * lowest,
        high=solved * common.interval.high + (1 - solved) * highest,
        level=common.interval.level,
    )
