"""Statistics of means over examples: resampling, intervals and p-values."""

from mechshift.statistics.estimates import (
    MAX_DRAWS,
    MIN_DRAWS,
    ROUNDING,
    Estimate,
    Estimates,
    Interval,
    centred_estimate,
    centred_estimates,
    percentile_estimates,
    percentile_interval,
    share_correct,
    simultaneous_estimates,
    simultaneous_reach,
    spread_of_draws,
)
from mechshift.statistics.p_values import (
    holm,
    permutation_p,
)
from mechshift.statistics.resampling import (
    Drawn,
    bootstrap_weights,
    cluster_columns,
    cluster_numbers,
    deal_clusters,
    exchange_masks,
    num_clusters,
    split_halves,
)

__all__ = [
    "MAX_DRAWS",
    "MIN_DRAWS",
    "ROUNDING",
    "Drawn",
    "Estimate",
    "Estimates",
    "Interval",
    "bootstrap_weights",
    "centred_estimate",
    "centred_estimates",
    "cluster_columns",
    "cluster_numbers",
    "deal_clusters",
    "exchange_masks",
    "holm",
    "num_clusters",
    "percentile_estimates",
    "percentile_interval",
    "permutation_p",
    "share_correct",
    "simultaneous_estimates",
    "simultaneous_reach",
    "split_halves",
    "spread_of_draws",
]
