"""Likeness by weight: do the two models' strong edges have the same relative strength and sign?

For readers who ask whether a circuit that changed by the count of its edges changed in what carries
the task. The cosine of the two models' mean scores over all edges, without what noise adds:

1. <x, y> of two models' scores is the sum of products over edges, of the mean scores of two
   disjoint samples of examples. Noise of one sample knows nothing of the other's, so it adds up to
   nothing. The mean over all pairs of different clusters of examples is taken, which is that over
   all ways to halve them.
2. Likeness: <arm, mdm> / sqrt(<arm, arm> <mdm, mdm>). 1: the same scores, but for the metric's
   unit, however noisy each model is; 0: unrelated; -1: opposite signs. Not clipped: chance can take
   it beyond 1.
3. Intervals: bootstrap over clusters, where copies of one cluster are no pair; centred.

Edges weigh by the square of their score, so that a few strong ones decide: it says little of the
weaker edges, which a count of edges weighs alike.

Source: disattenuation, Spearman 1904; as a U-statistic, Hoeffding 1948.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.sources import cluster_sums, column_ranges
from mechshift.statistics import Estimate, Estimates, cluster_columns


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightLikeness:
    """Cosine of two models' scores without noise."""

    likeness: Estimate | None
    """None where a model's scores on some examples do not carry over to the others."""

    draws: Float[np.ndarray, " resample"]
    """The same in each resample; NaN as above."""


def weight_likeness(
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    weights: Float[np.ndarray, "resample example"],
    *,
    clusters: Int[np.ndarray, " example"] | None = None,
    level: float = 0.95,
) -> WeightLikeness:
    """Likeness of the two models' edges by weight; the module says how.

    Args:
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        weights: of the examples in each resample, the same for all of a cluster.
        clusters: which examples are drawn together; None: each by itself.
        level: of the interval.
    """
    cluster, _ = cluster_columns(len(arm_scores) if clusters is None else clusters)
    _, first = np.unique(cluster, return_index=True)
    products = _products((arm_scores, mdm_scores), cluster)
    rows = np.concatenate([np.ones((1, len(first))), weights[:, first]])
    likeness = _likeness(*(_between_clusters(rows, product) for product in products))
    estimates = Estimates.from_rows(likeness[:, None], level=level)
    return WeightLikeness(likeness=estimates.at(0), draws=likeness[1:])


def _products(
    pair: tuple[Float[np.ndarray, "example edge"], Float[np.ndarray, "example edge"]],
    cluster: Int[np.ndarray, " example"],
) -> Float[np.ndarray, "product=3 cluster cluster"]:
    """Of clusters' summed scores: ARM with ARM, MDM with MDM, ARM with MDM."""
    num_clusters = cluster.max() + 1
    products = np.zeros((3, num_clusters, num_clusters))
    for columns in column_ranges(pair[0].shape[1]):
        arm, mdm = (cluster_sums(scores[:, columns], cluster) for scores in pair)
        for product, one, other in zip(products, (arm, mdm, arm), (arm, mdm, mdm), strict=True):
            product += one @ other.T
    return products


def _between_clusters(
    rows: Float[np.ndarray, "row cluster"], product: Float[np.ndarray, "cluster cluster"]
) -> Float[np.ndarray, " row"]:
    """Weighted sum over pairs of different clusters."""
    different = product - np.diag(np.diag(product))
    return np.einsum("rc,cd,rd->r", rows, different, rows, optimize=True)


def _likeness(
    arm: Float[np.ndarray, " row"],
    mdm: Float[np.ndarray, " row"],
    across: Float[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """NaN where the scores of a model do not carry over."""
    carried = (arm > 0) & (mdm > 0)
    return across / np.sqrt(np.where(carried, arm, np.nan) * np.where(carried, mdm, np.nan))
