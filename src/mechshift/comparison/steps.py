"""What happens at each denoising step?

For each model and each step: the metric on clean and corrupted prompts, and the share of
|mean score| by the layer that reads the edge. A step's mean runs over the examples that have that
step; the scores of all edges are counted. (`sweeps.py` compares the two models step by step.)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.agreement_curve import estimates_where_defined
from mechshift.comparison.layer_sums import by_layer
from mechshift.comparison.resampling import (
    MIN_EXAMPLES,
    chunks,
    mean_scores,
    pool_mean,
)
from mechshift.comparison.scores import Scores, examples_with_step, rows_with_step
from mechshift.comparison.settings import ComparisonSettings
from mechshift.graph import Graph
from mechshift.statistics import (
    Estimates,
    bootstrap_weights,
    centred_estimate,
)


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


def step_profile(scores: Scores, settings: ComparisonSettings) -> StepProfile:
    """Profile one model over its denoising steps; resamples the examples within each step.

    Where scores are means over shards of examples, shares resample the shards, metrics still the
    examples.
    """
    has_step, rows = examples_with_step(scores), rows_with_step(scores)
    shares = [
        _shares(scores.graph, scores.values[of_step, step], settings)
        for step, of_step in enumerate(rows.T)
    ]
    return StepProfile(
        share=np.stack([share.value for share in shares]),
        share_low=np.stack([share.low for share in shares]),
        share_high=np.stack([share.high for share in shares]),
        clean_metric=_mean_metric(scores.clean_metric, has_step, settings),
        corrupted_metric=_mean_metric(scores.corrupted_metric, has_step, settings),
        num_examples=has_step.sum(axis=0),
        level=settings.level,
    )


def _shares(
    graph: Graph, scores: Float[np.ndarray, "example edge"], settings: ComparisonSettings
) -> Estimates:
    """Share of |mean score| by destination layer at one step, all edges."""
    to_layer = by_layer(graph, "destination")
    means = [pool_mean(scores)]
    if len(scores) >= MIN_EXAMPLES:
        weights = bootstrap_weights(len(scores), settings.num_resamples, settings.seed)
        means += [mean_scores(weights[r], scores) for r in chunks(len(weights), graph.num_edges)]
    sums = np.concatenate([np.abs(mean) @ to_layer for mean in means])
    whole = sums.sum(axis=1, keepdims=True)
    shares = np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > 0)
    resampled = shares[1:] if len(shares) > 1 else np.full_like(shares, np.nan)
    return estimates_where_defined(shares[0], resampled, settings.level, (0.0, 1.0))


def _mean_metric(
    metric: Float[np.ndarray, "example step"],
    has_step: Bool[np.ndarray, "example step"],
    settings: ComparisonSettings,
) -> Estimates:
    """Mean over the examples that have each step, with a bootstrap interval per step."""
    value, low, high = np.empty((3, metric.shape[1]))
    for step in range(metric.shape[1]):
        present = metric[has_step[:, step], step].astype(np.float64)
        value[step] = present.mean()
        low[step] = high[step] = np.nan
        if len(present) >= MIN_EXAMPLES:
            weights = bootstrap_weights(len(present), settings.num_resamples, settings.seed)
            found = centred_estimate(value[step], weights @ present, level=settings.level)
            low[step], high[step] = found.interval.low, found.interval.high
    return Estimates(value=value, low=low, high=high, level=settings.level)
