"""One model by itself: each of its denoising steps, and whether its scores add up.

Steps: the metric on clean and corrupted prompts, and the share of |mean score| by the layer that
reads the edge. A step's mean runs over the examples that have that step; the scores of all edges
are counted. (`sweeps.py` compares the two models step by step.)

Completeness: with exact integrated gradients the scores of all edges out of `input` sum to the
difference between the clean and the corrupted metric. What is missing is the error of the
discretised path. Other methods promise no such sum; `EdgeScores.completeness_gap` says what the gap
of theirs means.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.chosen_edges import circuits_of
from mechshift.comparison.draws import Measures, draws_over_all_edges
from mechshift.comparison.layer_sums import SIDES
from mechshift.comparison.measuring import measured
from mechshift.comparison.resampling import MeanRows
from mechshift.comparison.scores import (
    MIN_EXAMPLES,
    Scores,
    StepScores,
    example_clusters,
    examples_with_step,
    has_one_step,
    rows_with_step,
    scores_at_step,
)
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.sources import Source, pool_mean
from mechshift.graph import Graph
from mechshift.statistics import Estimate, Estimates, bootstrap_weights, centred_estimate

SMALLEST_DROP = 1e-6
"""Below this mean drop [metric units] the relative gap is undefined."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepProfile:
    """One model, step by step; every array's first axis is the denoising step."""

    share: Float[np.ndarray, "step layer_or_logits"]
    """Share of |mean score| by destination layer, `logits` last; rows sum to 1. A row is NaN
    where every edge scores exactly zero at that step."""

    share_low: Float[np.ndarray, "step layer_or_logits"]
    share_high: Float[np.ndarray, "step layer_or_logits"]
    """Bounds of its interval; NaN at a step of fewer than `MIN_EXAMPLES` examples (or shards), or
    where so few of them score at all that some resamples hold none."""

    clean_metric: Estimates
    """Mean metric on clean prompts [metric units], summed over the step's target tokens. No
    interval at a step of fewer than `MIN_EXAMPLES` examples."""

    corrupted_metric: Estimates
    """The same on corrupted prompts."""

    num_examples: Int[np.ndarray, " step"]
    """Examples that have this step."""

    level: float


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The completeness gap of one model's scores, averaged over examples."""

    attributed: Estimate
    """Mean sum of the scores of the edges out of `input` [metric units]."""

    drop: Estimate
    """Mean clean metric minus mean corrupted metric [metric units]."""

    relative_gap: float | None
    """(attributed - drop) / drop; None where the corruption changes the metric by nothing."""


def step_profile(
    scores: Scores,
    settings: ComparisonSettings,
    *,
    summed: Float[np.ndarray, "row side=2 layer_or_end"] | None = None,
) -> StepProfile:
    """Profile one model over its denoising steps; resamples the examples within each step.

    Where scores are means over shards of examples, shares resample the shards, metrics still the
    examples.

    Args:
        scores: of the model.
        settings: resamples, level and seed.
        summed: |score| of all edges by layer, of scores summed over steps, on the pool and on its
            resamples, if it was measured already: where there is one step, it is that step's.
    """
    has_step, rows = examples_with_step(scores), rows_with_step(scores)
    clusters = example_clusters(scores)
    if summed is not None and has_one_step(scores):
        shares = [_shares(summed, settings)]
    else:
        shares = [
            _shares(
                _layer_sums(
                    scores.graph, scores_at_step(scores, step), int(of_step.sum()), settings
                ),
                settings,
            )
            for step, of_step in enumerate(rows.T)
        ]
    return StepProfile(
        share=np.stack([share.value for share in shares]),
        share_low=np.stack([share.low for share in shares]),
        share_high=np.stack([share.high for share in shares]),
        clean_metric=_mean_metric(scores.clean_metric, has_step, settings, clusters),
        corrupted_metric=_mean_metric(scores.corrupted_metric, has_step, settings, clusters),
        num_examples=has_step.sum(axis=0),
        level=settings.level,
    )


def completeness(scores: Scores, settings: ComparisonSettings) -> Completeness:
    """Compare what the edges out of `input` explain with what there is to explain."""
    attributed = np.asarray(scores.input_score, dtype=np.float64).sum(axis=1)
    drop = np.asarray(scores.clean_metric - scores.corrupted_metric, dtype=np.float64).sum(axis=1)
    weights = bootstrap_weights(example_clusters(scores), settings.num_resamples, settings.seed)
    means = [float(per_example.mean()) for per_example in (attributed, drop)]
    estimates = [
        centred_estimate(mean, weights @ per_example, level=settings.level)
        for mean, per_example in zip(means, (attributed, drop), strict=True)
    ]
    gap = (means[0] - means[1]) / means[1] if abs(means[1]) > SMALLEST_DROP else None
    return Completeness(attributed=estimates[0], drop=estimates[1], relative_gap=gap)


def _layer_sums(
    graph: Graph, scores: StepScores, num_rows: int, settings: ComparisonSettings
) -> Float[np.ndarray, "row side=2 layer_or_end"]:
    """|score| of all edges by layer at one step that so many rows have; the pool's comes first."""
    size = graph.num_edges
    measures = Measures(graph=graph, sums=(size,))
    found = [
        measures(size, circuits) for _, circuits in circuits_of([pool_mean(scores.values)], [size])
    ]
    if num_rows >= MIN_EXAMPLES:
        num_resamples = draws_over_all_edges(graph, settings).num_resamples
        weights = bootstrap_weights(scores.clusters, num_resamples, settings.seed)
        drawn = (MeanRows(weights={0: weights}),)
        found.append(measured([Source(scores=scores.values)], drawn, measures)[size])
    return np.concatenate([rows["layers"] for rows in found])[:, 0]


def _shares(
    layers: Float[np.ndarray, "row side=2 layer_or_end"], settings: ComparisonSettings
) -> Estimates:
    """Share of |mean score| by destination layer, all edges."""
    sums = layers[:, SIDES.index("destination")]
    whole = sums.sum(axis=1, keepdims=True)
    shares = np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > 0)
    return Estimates.from_rows(shares, level=settings.level, bounds=(0.0, 1.0))


def _mean_metric(
    metric: Float[np.ndarray, "example step"],
    has_step: Bool[np.ndarray, "example step"],
    settings: ComparisonSettings,
    clusters: Int[np.ndarray, " example"],
) -> Estimates:
    """Mean over the examples that have each step, with a bootstrap interval per step."""
    rows = np.full((1 + settings.num_resamples, metric.shape[1]), np.nan)
    for step, of_step in enumerate(has_step.T):
        present = metric[of_step, step].astype(np.float64)
        rows[0, step] = present.mean()
        if len(present) >= MIN_EXAMPLES:
            weights = bootstrap_weights(clusters[of_step], settings.num_resamples, settings.seed)
            rows[1:, step] = weights @ present
    return Estimates.from_rows(rows, level=settings.level)
