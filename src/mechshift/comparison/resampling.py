"""Mean scores of the pool and of everything that is drawn from it, for all that is measured.

Whatever is drawn (bootstrap resamples, halves, exchanges of the models, shuffles of edges) becomes
rows of mean scores [row, edge], mostly as a matrix of weights times the scores of the examples.
They are made piece by piece, since all rows at once would not fit into memory: a generator yields,
for each piece, one array for every set of rows, such as the ARM's and the MDM's.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechshift.circuits.edge_groups import orders_within
from mechshift.statistics import Drawn, cluster_columns

CHUNK_BYTES = 128 * 2**20
"""Memory for one piece of one array [row, edge]; a handful of such arrays live at once."""

EXCHANGE_SEED = 10_000
"""Added to the seed for exchanges of models, far from the seeds of halves."""

Piece = tuple[Float[np.ndarray, "row edge"], ...]
"""Some rows of every set."""


def chunks(num_rows: int, num_edges: int) -> Iterator[slice]:
    """Consecutive row ranges whose [row, edge] array takes about `CHUNK_BYTES` in float64."""
    step = max(1, CHUNK_BYTES // (8 * num_edges))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def mean_scores(
    weights: Float[np.ndarray, "row example"], scores: Float[np.ndarray, "example edge"]
) -> Float[np.ndarray, "row edge"]:
    """Weighted mean score of each edge."""
    means: Float[np.ndarray, "row edge"] = weights.astype(scores.dtype) @ scores
    return means


def pool_mean(scores: Float[np.ndarray, "example edge"]) -> Float[np.ndarray, "1 edge"]:
    """Mean score of each edge over all examples, as one row.

    In float64 and edge by edge, so that it ranks edges as `Comparison.arm_scores` does; the
    matrix product of `mean_scores` may round two equal scores differently.
    """
    return scores.mean(axis=0, keepdims=True, dtype=np.float64)


def normalised_rows(weights: Shaped[np.ndarray, "row example"]) -> Float[np.ndarray, "row example"]:
    """Each row divided by its sum."""
    return weights / weights.sum(axis=1, keepdims=True)


def resampled(
    weights: Float[np.ndarray, "row example"],
    *models: Float[np.ndarray, "example edge"],
    arrays: int = 1,
) -> Iterator[Piece]:
    """Mean scores of each model in each resample, the same examples for all models.

    Args:
        weights: of the examples in each resample.
        models: scores of each.
        arrays: of a piece's size that its user holds for each set of rows; pieces are as many
            times smaller.
    """
    for rows in chunks(len(weights), arrays * models[0].shape[1]):
        yield tuple(mean_scores(weights[rows], scores) for scores in models)


def halved(
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    *models: Float[np.ndarray, "example edge"],
    arrays: int = 1,
) -> Iterator[Piece]:
    """Mean scores on the first and on the second half of the weighted examples, model by model.

    A resample of a single cluster has no halves; each is all of it. That happens below some ten
    clusters only.
    """
    for rows in chunks(len(weights), arrays * models[0].shape[1]):
        empty = (weights[rows] * first[rows]).sum(axis=1, keepdims=True) == 0
        halves = [
            normalised_rows(weights[rows] * (half | empty)) for half in (first[rows], ~first[rows])
        ]
        yield tuple(mean_scores(half, scores) for scores in models for half in halves)


def halves_of_resamples(
    weights: Float[np.ndarray, "row example"], examples: Drawn, seed: int
) -> Bool[np.ndarray, "row example"]:
    """A random half of the distinct clusters of each resample.

    Splitting clusters rather than draws keeps the copies of one example on one side; otherwise
    the two halves would agree because they share examples.
    """
    cluster, count = cluster_columns(examples)
    _, first = np.unique(cluster, return_index=True)
    drawn = weights[:, first] != 0  # all examples of a cluster weigh the same
    keys = np.random.default_rng(seed).random((len(weights), count))
    keys[~drawn] = np.inf
    rank = keys.argsort(axis=1).argsort(axis=1)
    half = rank < (np.count_nonzero(drawn, axis=1) // 2)[:, None]
    return half[:, cluster]


def neighbours(
    weights: Float[np.ndarray, "row example"],
    scores: Float[np.ndarray, "example edge"],
    *,
    arrays: int = 1,
) -> Iterator[Piece]:
    """Mean scores of one model in each resample and in the next one, the last with the first."""
    cyclic = np.concatenate([weights, weights[:1]])
    for rows in chunks(len(weights), arrays * scores.shape[1]):
        means = mean_scores(cyclic[rows.start : rows.stop + 1], scores)
        yield means[:-1], means[1:]


def exchanged_means(
    swapped: Bool[np.ndarray, "row example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
) -> Piece:
    """Both sides' mean scores when the ARM and the MDM trade the marked examples.

    Each model is first divided by the norm of its own mean scores, since the two metrics may have
    different units. If the two models had one circuit, trading would change nothing but noise; and
    because an example's two scores stay together, noise that the models share stays shared.
    """
    arm_size, mdm_size = (np.linalg.norm(pool_mean(s)) * len(s) for s in (arm_scores, mdm_scores))
    kept = ~swapped
    return (
        mean_scores(kept / arm_size, arm_scores) + mean_scores(swapped / mdm_size, mdm_scores),
        mean_scores(swapped / arm_size, arm_scores) + mean_scores(kept / mdm_size, mdm_scores),
    )


def exchanged(
    swapped: Bool[np.ndarray, "row example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    *,
    arrays: int = 1,
) -> Iterator[Piece]:
    """`exchanged_means`, piece by piece."""
    for rows in chunks(len(swapped), arrays * arm_scores.shape[1]):
        yield exchanged_means(swapped[rows], arm_scores, mdm_scores)


def exchanged_halves(
    swapped: Bool[np.ndarray, "row example"],
    first: Bool[np.ndarray, " example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
) -> Iterator[Piece]:
    """One side on the first and on the second half of the examples, then the other side.

    Each half is exchanged by itself, on its own scale.
    """
    for rows in chunks(len(swapped), arm_scores.shape[1]):
        one, two = (
            exchanged_means(swapped[rows][:, half], arm_scores[half], mdm_scores[half])
            for half in (first, ~first)
        )
        yield one[0], two[0], one[1], two[1]


def shuffled(
    groups: Int[np.ndarray, " edge"],
    num_shuffles: int,
    seed: int,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    *,
    arrays: int = 1,
) -> Iterator[Piece]:
    """The ARM's mean scores as they are, and the MDM's shuffled within groups of edges."""
    arm, mdm = pool_mean(arm_scores), pool_mean(mdm_scores)
    generator = np.random.default_rng(seed)
    for rows in chunks(num_shuffles, arrays * arm_scores.shape[1]):
        num_rows = rows.stop - rows.start
        orders = orders_within(groups, generator, num_rows)
        yield np.repeat(arm, num_rows, axis=0), np.concatenate([mdm[:, order] for order in orders])
