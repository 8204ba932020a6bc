"""What happens at each denoising step?

For each model and each step: the metric on clean and corrupted prompts, and the share of
|mean score| by the layer that reads the edge. A step's mean runs over the examples that have that
step; the scores of all edges are counted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.depth import by_layer
from mechshift.comparison.resampling import MIN_EXAMPLES
from mechshift.comparison.scores import Scores
from mechshift.comparison.settings import ComparisonSettings
from mechshift.statistics import Estimates, bootstrap_weights, centred_estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class StepProfile:
    """One model, step by step; every array's first axis is the denoising step."""

    share: Float[np.ndarray, "step layer_or_logits"]
    """Share of |mean score| by destination layer, `logits` last; rows sum to 1. A row is NaN
    where every edge scores exactly zero at that step."""

    clean_metric: Estimates
    """Mean metric on clean prompts [metric units], summed over the step's target tokens. No
    interval at a step of fewer than `MIN_EXAMPLES` examples."""

    corrupted_metric: Estimates
    """The same on corrupted prompts."""

    num_examples: Int[np.ndarray, " step"]
    """Examples that have this step."""

    level: float


def step_profile(scores: Scores, settings: ComparisonSettings) -> StepProfile:
    """Profile one model over its denoising steps; resamples the examples within each step."""
    num_steps = scores.values.shape[1]
    has_step = np.arange(num_steps) < scores.num_steps[:, None]
    totals = np.zeros((num_steps, scores.values.shape[2]))
    for step in range(num_steps):
        present = has_step[:, step]
        totals[step] = np.abs(scores.values[present, step].mean(axis=0, dtype=np.float64))
    sums = totals @ by_layer(scores.graph, "destination")
    whole = sums.sum(axis=1, keepdims=True)
    return StepProfile(
        share=np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > 0),
        clean_metric=_mean_metric(scores.clean_metric, has_step, settings),
        corrupted_metric=_mean_metric(scores.corrupted_metric, has_step, settings),
        num_examples=has_step.sum(axis=0),
        level=settings.level,
    )


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
