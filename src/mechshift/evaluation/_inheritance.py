"""Inheritance: does a circuit found in the other model serve a model as its own does?

The difference d = f(other's circuit) - f(own circuit) of one model has two kinds of noise:

1. Held-out examples: the variance of d over bootstrap resamples of their clusters, with both
   circuits held fixed.
2. Discovery examples, on which both circuits were chosen: a delete-a-group jackknife. With d_j the
   difference where both circuits were chosen without fold j of G = 8,

       variance = (G - 1) / G * sum over j of (d_j - mean of d_j)^2.

3. The two samples share no example, so the variances add up. The interval is Student's t, with
   G - 1 degrees of freedom for the jackknife and the number of clusters - 1 for the bootstrap,
   joined by Satterthwaite's formula. A choice of edges is not smooth, which makes the jackknife err
   to the wide side, about twofold where discovery decides.
4. A circuit loses faithfulness by noise alone, so the noisier model's looks worse in both. The null
   is therefore the own circuit from half of the discovery examples, which is twice as noisy:
   f(other's) - mean f(own of each half). Its discovery variance has that of the mean of the two
   halves beside the jackknife's, (f_1 - f_2)^2 / 4.
5. That null is noisy enough if own circuits of disjoint quarters share no more edges than the
   other's of disjoint halves: then the other's circuit of all examples is no noisier than the own
   of half of them.

Source of 2: Kott 2001, The delete-a-group jackknife; Efron and Tibshirani 1993, chapter 11; of 3:
Satterthwaite 1946.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student

from mechshift.evaluation._rediscovery import NUM_FOLDS, Rediscovery
from mechshift.evaluation.circuit_metrics import CircuitMetrics
from mechshift.models import Kind
from mechshift.statistics import (
    Estimate,
    Interval,
    bootstrap_variance,
    jackknife_variance,
    num_clusters,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inheritance:
    """How another model's circuit serves a model, of faithfulness at one circuit size."""

    other_minus_own: Estimate
    """On the other's circuit minus on its own; held-out and discovery examples vary."""
    other_minus_half: Estimate
    """On the other's circuit minus on its own from half of the discovery examples, mean of both
    halves."""
    half_minus_own: float
    """What the own circuit loses (below 0) where it is found on half of the examples."""
    other_is_noisier: bool
    """Whether the other's circuit may be noisier than the own one from half of the examples, so
    that these do not show what noise alone costs."""
    held_out_error: float
    """Standard error of `other_minus_own` over held-out examples, circuits held fixed."""
    discovery_error: float
    """The same over discovery examples, held-out ones held fixed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """Faithfulness of several circuits of one size, and the same on each resample."""

    value: Float64[np.ndarray, " circuit"]
    draws: Float64[np.ndarray, "resample circuit"]


def inheritance(
    metrics: Mapping[Kind, CircuitMetrics],
    found: Rediscovery,
    model: Kind,
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Inheritance:
    """What `model` keeps on the other's circuit against what it keeps on its own.

    Args:
        metrics: what the model scores on each owner's circuit; one circuit each, of equal size.
        found: the same on circuits that were found anew.
        model: the one that is run.
        level: of the intervals.
        num_resamples: of the held-out examples.
        seed: of these.

    Raises:
        EvaluationError: faithfulness or its interval is undefined; see `FaithfulnessCurve`.
    """
    other: Kind = "mdm" if model == "arm" else "arm"

    def kept(several: CircuitMetrics) -> _Kept:
        curves = [several.subset(slice(at, at + 1)).curve() for at in range(len(several.sizes))]
        drawn = [one.resampled(num_resamples=num_resamples, seed=seed) for one in curves]
        return _Kept(
            value=np.array([one.faithfulness[0] for one in curves]),
            draws=np.concatenate(drawn, axis=1),
        )

    own, others, halves = kept(metrics[model]), kept(metrics[other]), kept(found.halves)
    without = kept(found.without_fold[other]).value - kept(found.without_fold[model]).value
    assert len(own.value) == len(others.value) == 1 and len(without) == NUM_FOLDS
    clusters = metrics[model].clusters
    held_out = len(metrics[model].full) if clusters is None else clusters
    discovery = float(jackknife_variance(without))
    fixed = float(bootstrap_variance((others.draws - own.draws)[:, 0], held_out))

    def estimate(value: float, fixed: float, discovery: float) -> Estimate:
        reach = _reach(fixed, discovery, num_clusters(held_out) - 1, level)
        return Estimate(
            value=value, interval=Interval(low=value - reach, high=value + reach, level=level)
        )

    half = float(halves.value.mean())
    return Inheritance(
        other_minus_own=estimate(float(others.value[0] - own.value[0]), fixed, discovery),
        other_minus_half=estimate(
            float(others.value[0]) - half,
            float(bootstrap_variance(others.draws[:, 0] - halves.draws.mean(axis=1), held_out)),
            discovery + float(np.diff(halves.value)[0] ** 2) / 4,
        ),
        half_minus_own=half - float(own.value[0]),
        other_is_noisier=found.shared_by_halves[other] < found.shared_by_quarters[model],
        held_out_error=float(np.sqrt(fixed)),
        discovery_error=float(np.sqrt(discovery)),
    )


def _reach(held_out: float, discovery: float, held_out_degrees: int, level: float) -> float:
    """Half of the width of the interval of a number with these two variances."""
    total = held_out + discovery
    if total == 0:
        return 0.0
    parts = held_out**2 / max(held_out_degrees, 1) + discovery**2 / (NUM_FOLDS - 1)
    return float(student.ppf((1 + level) / 2, total**2 / parts) * np.sqrt(total))
