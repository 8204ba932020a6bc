"""Do the edge scores add up to the effect they are meant to explain?

With exact integrated gradients the scores of all edges out of `input` sum to the difference
between the clean and the corrupted metric. What is missing is the error of the discretised path.
Other methods promise no such sum; `EdgeScores.completeness_gap` says what the gap of theirs means.
"""

from dataclasses import dataclass

import numpy as np

from mechshift.comparison.scores import Scores
from mechshift.comparison.settings import ComparisonSettings
from mechshift.statistics import Estimate, bootstrap_weights, centred_estimate

SMALLEST_DROP = 1e-6
"""Below this mean drop [metric units] the relative gap is undefined."""


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The completeness gap of one model's scores, averaged over examples."""

    attributed: Estimate
    """Mean sum of the scores of the edges out of `input` [metric units]."""

    drop: Estimate
    """Mean clean metric minus mean corrupted metric [metric units]."""

    relative_gap: float | None
    """(attributed - drop) / drop; None where the corruption changes the metric by nothing."""


def completeness(scores: Scores, settings: ComparisonSettings) -> Completeness:
    """Compare what the edges out of `input` explain with what there is to explain."""
    attributed = np.asarray(scores.input_score, dtype=np.float64).sum(axis=1)
    drop = np.asarray(scores.clean_metric - scores.corrupted_metric, dtype=np.float64).sum(axis=1)
    weights = bootstrap_weights(len(drop), settings.num_resamples, settings.seed)
    means = [float(per_example.mean()) for per_example in (attributed, drop)]
    estimates = [
        centred_estimate(mean, weights @ per_example, level=settings.level)
        for mean, per_example in zip(means, (attributed, drop), strict=True)
    ]
    gap = (means[0] - means[1]) / means[1] if abs(means[1]) > SMALLEST_DROP else None
    return Completeness(attributed=estimates[0], drop=estimates[1], relative_gap=gap)
