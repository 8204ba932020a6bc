"""Step sums: what is kept of denoising steps where every step of every example would be too much.

A target of 20 tokens takes an MDM up to 20 steps, and scores of a 7B model take 3.7 MB an example
and step. What is done with them needs less:

1. Circuits, and all that is said of examples, rest on scores summed over steps: kept for every row.
2. Curves over steps rest on means at each step, with intervals from resamples: scores at each step
   are kept as sums over groups of rows. A group holds whole clusters, so that groups are drawn as
   clusters are. Where no curve is drawn, none are kept.

A sum is proportional to a mean over the same rows, which is enough to rank edges and for shares.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from mechshift.attribution.edge_scores import EdgeScores
from mechshift.errors import AttributionError

NUM_GROUPS = 24
"""Groups at most, somewhat above the 20 clusters from which a verdict is decided."""


def step_groups(clusters: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """Number of each row's group: whole clusters, about as many rows in each.

    Clusters are taken as they first appear, so that most groups are runs of rows.

    Args:
        clusters: number of the cluster of each row.
    """
    _, first, cluster, counts = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    before = np.cumsum(counts[order]) - counts[order]
    group = np.empty(len(order), dtype=np.int64)
    group[order] = before * min(NUM_GROUPS, len(order)) // len(clusters)
    groups: Int[np.ndarray, " row"] = np.unique(group[cluster], return_inverse=True)[1]
    return groups


def sum_over_steps(scores: EdgeScores, groups: Int[np.ndarray, " row"] | None) -> EdgeScores:
    """Scores summed over steps, and sums over groups of rows at each step.

    Args:
        scores: of every step.
        groups: `step_groups`, of these rows; None: nothing of single steps is kept.

    Raises:
        AttributionError: they are summed already.
    """
    if scores.values.shape[1] < scores.clean_metric.shape[1] or scores.step_sums is not None:
        raise AttributionError("these scores are summed over denoising steps already.")
    if groups is None:
        return replace(scores, values=scores.values.sum(axis=1, keepdims=True))
    numbers, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(numbers), *scores.values.shape[1:]))  # in float64, until chunks are joined
    for number, row in zip(place, scores.values, strict=True):
        sums[number] += row
    return replace(
        scores,
        values=scores.values.sum(axis=1, keepdims=True),
        step_sums=sums,
        step_groups=groups,
    )
