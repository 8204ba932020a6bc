"""Scores averaged over many resamples of the examples, in pieces that fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechshift.comparison.scores import Unit
from mechshift.errors import ComparisonError

CHUNK_BYTES = 128 * 2**20
"""Memory for one piece of one array [resample, edge]; a handful of such arrays live at once."""

MIN_EXAMPLES = 10
"""Fewer examples leave nothing to resample or to halve."""


def check_scores(
    arm_scores: Float[np.ndarray, "arm_example arm_edge"],
    mdm_scores: Float[np.ndarray, "mdm_example mdm_edge"],
    unit: Unit,
) -> None:
    """Refuse score arrays that do not describe the same examples, or shards, and edges.

    Raises:
        ComparisonError: shapes differ, there are too few examples, or a score is not finite.
    """
    if arm_scores.shape != mdm_scores.shape:
        raise ComparisonError(
            f"the ARM's scores [example, edge] have shape {arm_scores.shape} and the MDM's"
            f" {mdm_scores.shape}; both models must be scored on the same examples and graph."
        )
    if len(arm_scores) < MIN_EXAMPLES:
        raise ComparisonError(
            f"{len(arm_scores)} {unit}s are too few to say how certain a comparison is;"
            f" use a pool of at least {MIN_EXAMPLES} {unit}s."
        )
    for name, scores in (("ARM", arm_scores), ("MDM", mdm_scores)):
        if not np.isfinite(scores).all():
            raise ComparisonError(f"the {name}'s edge scores hold NaN or infinity.")
        if not scores.any():
            raise ComparisonError(
                f"every edge score of the {name} is exactly zero: nothing to compare. Check that"
                " its metric differs between clean and corrupted prompts."
            )


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


@dataclass(frozen=True, kw_only=True, eq=False)
class ExchangedMeans:
    """Mean scores of the two sides after some examples swapped their models."""

    first: Float[np.ndarray, "row edge"]
    second: Float[np.ndarray, "row edge"]


def exchanged_means(
    swapped: Bool[np.ndarray, "row example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
) -> ExchangedMeans:
    """Both sides' mean scores when the ARM and the MDM trade the marked examples.

    Each model is first divided by the norm of its own mean scores, since the two metrics may have
    different units. If the two models had one circuit, trading would change nothing but noise; and
    because an example's two scores stay together, noise that the models share stays shared.
    """
    arm_size, mdm_size = (np.linalg.norm(pool_mean(s)) * len(s) for s in (arm_scores, mdm_scores))
    kept = ~swapped
    return ExchangedMeans(
        first=mean_scores(kept / arm_size, arm_scores)
        + mean_scores(swapped / mdm_size, mdm_scores),
        second=mean_scores(swapped / arm_size, arm_scores)
        + mean_scores(kept / mdm_size, mdm_scores),
    )


def halves_of_resamples(
    weights: Float[np.ndarray, "row example"], seed: int
) -> Bool[np.ndarray, "row example"]:
    """A random half of the distinct examples of each resample.

    Splitting examples rather than draws keeps the copies of one example on one side; otherwise
    the two halves would agree because they share examples.
    """
    keys = np.random.default_rng(seed).random(weights.shape)
    keys[weights == 0] = np.inf
    num_distinct = np.count_nonzero(weights, axis=1)
    rank = keys.argsort(axis=1).argsort(axis=1)
    return rank < (num_distinct // 2)[:, None]
