"""Shards: edge scores averaged over a few examples, where single ones are too large.

1. Examples are taken N at a time, in pool order: the first N are shard 0. All shards are of equal
   size, so that every mean, resample, half and exchange of examples can be one of shards.
2. A shard's score is the sum of its examples' scores, added up in pool order in their own dtype,
   over N. A step that an example does not have counts as 0; so the mean over shards of scores
   summed over steps is the mean over examples.
3. Only scores of edges are averaged. Metrics, step counts and what each node sends in all are
   small, and are kept for every example.

A step's mean over the shards is that over all examples, of which some may not have the step. It is
proportional to the mean over those that do, which is enough to rank edges and for shares.
"""

from dataclasses import replace

import numpy as np

from mechshift.attribution.edge_scores import EdgeScores, source_scores
from mechshift.errors import AttributionError


def average_over_shards(scores: EdgeScores, examples_per_shard: int) -> EdgeScores:
    """Average the scores of edges over so many consecutive examples.

    Args:
        scores: of single examples.
        examples_per_shard: 1 leaves the scores as they are.

    Raises:
        AttributionError: the last shard would be smaller than the others.
    """
    assert scores.examples_per_shard == 1
    assert scores.step_sums is None
    if examples_per_shard == 1:
        return scores
    if examples_per_shard < 1 or scores.num_examples % examples_per_shard:
        raise AttributionError(
            f"{scores.num_examples} examples cannot be cut into shards of {examples_per_shard};"
            " shards must be of one size, since each counts as much as any other."
        )
    num_shards = scores.num_examples // examples_per_shard
    averaged = np.zeros((num_shards, *scores.values.shape[1:]), dtype=scores.values.dtype)
    for example, values in enumerate(scores.values):  # in this order whatever NumPy would choose
        averaged[example // examples_per_shard] += values
    averaged /= examples_per_shard
    return replace(
        scores,
        values=averaged,
        examples_per_shard=examples_per_shard,
        by_source=source_scores(scores),
    )
