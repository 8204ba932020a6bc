"""Faithfulness: how much of the model's behaviour a circuit alone keeps.

f(C) = (m(C) - m(empty)) / (m(full) - m(empty)), each m a mean over examples: a ratio of means, not
a mean of ratios, because single examples may have m(full) near m(empty).

CPR is the area under f over the share of edges kept, CMD the area between f and 1, both by the
trapezoid rule on a linear axis over MIB's ten sizes (arXiv:2504.13151). More than half of their
weight lies on circuits of half the edges or more, so read f at small sizes beside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from mechshift.errors import EvaluationError
from mechshift.statistics import (
    Estimates,
    bootstrap_weights,
    percentile_estimates,
    percentile_interval,
)

MIB_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the edges at which MIB's circuit track evaluates a circuit."""

SMALLEST_SPAN = 1e-6
"""Below this distance of m(full) and m(empty) [metric units] no share is formed."""


def faithfulness(
    circuit: Float[np.ndarray, " example"],
    full: Float[np.ndarray, " example"],
    empty: Float[np.ndarray, " example"],
) -> float:
    """Share of the full model's metric that a circuit keeps.

    1 is fully faithful, 0 no better than the empty circuit. Not clipped: leaving out edges that
    hurt gives more than 1.

    Args:
        circuit: metric with every edge outside the circuit ablated.
        full: the same, nothing ablated.
        empty: the same, every edge ablated.

    Raises:
        EvaluationError: the means of `full` and `empty` agree to 1e-6, so no share exists.

    Source: Hanna et al. 2024, arXiv:2403.17806.
    """
    means = np.array([circuit.mean(), full.mean(), empty.mean()], dtype=np.float64)
    return float(_shares(means[:1], means[1:2], means[2:], len(full))[0])


def cpr(
    fractions: Float[np.ndarray, " size"], values: Float[np.ndarray, "*shape size"]
) -> Float[np.ndarray, "*shape"]:
    """Circuit performance ratio: area under faithfulness `values` over `fractions` of edges.

    0.999 for a circuit that is fully faithful at every one of MIB's sizes; unbounded.
    """
    return np.asarray(np.trapezoid(values, fractions, axis=-1))


def cmd(
    fractions: Float[np.ndarray, " size"], values: Float[np.ndarray, "*shape size"]
) -> Float[np.ndarray, "*shape"]:
    """Circuit-model distance: area of |1 - faithfulness| over `fractions`; 0 is best."""
    return np.asarray(np.trapezoid(np.abs(1 - values), fractions, axis=-1))


def circuit_sizes(
    num_edges: int, fractions: Sequence[float] = MIB_FRACTIONS
) -> Int[np.ndarray, " size"]:
    """Shares of a graph of that many edges, by default MIB's, as sizes [edges], ascending.

    Rounded to whole edges, at least one; equal sizes of a small graph are merged.
    """
    sizes = np.rint(np.array(fractions) * num_edges).astype(np.int64)
    return np.unique(sizes.clip(min=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class FaithfulnessCurve:
    """The metric of circuits of growing size, and of the model they come from."""

    sizes: Int[np.ndarray, " size"]
    """Edges selected, strictly ascending."""
    live_sizes: Int[np.ndarray, " size"] | None = None
    """Of these, the edges that are not dangling; None where nobody counted."""
    num_edges: int
    """Edges of the whole graph."""
    metric: Float64[np.ndarray, "size example"]
    """Summed over steps [metric units]; every edge outside the circuit ablated."""
    full: Float64[np.ndarray, " example"]
    """The same, nothing ablated."""
    empty: Float64[np.ndarray, " example"]
    """The same, every edge ablated."""
    clusters: Int[np.ndarray, " example"] | None = None
    """Number of each example's cluster; None: every example is a cluster of its own."""

    def __post_init__(self) -> None:
        assert self.full.shape == self.empty.shape
        assert self.metric.shape == (len(self.sizes), len(self.full))
        if len(self.full) == 0:
            raise EvaluationError("a curve of faithfulness needs at least one example.")
        if (np.diff(self.sizes) <= 0).any():
            raise EvaluationError(
                f"the circuit sizes {self.sizes.tolist()} of a curve must ascend; evaluate each"
                " size once."
            )

    @property
    def num_examples(self) -> int:
        return len(self.full)

    @property
    def fractions(self) -> Float64[np.ndarray, " size"]:
        """Sizes as shares of the graph's edges."""
        return self.sizes / self.num_edges

    @property
    def faithfulness(self) -> Float64[np.ndarray, " size"]:
        """Share of the full model's metric kept at each size.

        Raises:
            EvaluationError: undefined; see `faithfulness`.
        """
        full, empty = self.full.mean(keepdims=True), self.empty.mean(keepdims=True)
        return _shares(self.metric.mean(axis=1), full, empty, len(self.full))

    def resampled(
        self, *, num_resamples: int = 1000, seed: int = 0
    ) -> Float64[np.ndarray, "resample size"]:
        """Faithfulness in bootstrap resamples of the examples' clusters.

        Raises:
            EvaluationError: too few or too varied examples to tell the full model from the empty
                circuit: the 95% interval of their difference holds 0, or a resample has none.
        """
        weights = bootstrap_weights(
            len(self.full) if self.clusters is None else self.clusters, num_resamples, seed
        )
        full, empty = weights @ self.full, weights @ self.empty
        span = percentile_interval(full - empty, 0.95)
        if span.contains(0.0):
            raise EvaluationError(
                "an interval of faithfulness is undefined: on"
                f" {len(self.full)} examples the full model's metric minus the empty circuit's is"
                f" {span.low:.4g} to {span.high:.4g}, which includes 0. Use more examples or"
                " another metric."
            )
        return _shares(weights @ self.metric.T, full[:, None], empty[:, None], len(self.full))

    def interval(
        self, level: float = 0.95, *, num_resamples: int = 1000, seed: int = 0
    ) -> Estimates:
        """Faithfulness with its pointwise percentile interval over examples; axis `size`.

        Raises:
            EvaluationError: see `resampled`.
        """
        return self.estimates(self.resampled(num_resamples=num_resamples, seed=seed), level)

    def estimates(
        self, samples: Float64[np.ndarray, "resample size"], level: float = 0.95
    ) -> Estimates:
        """What `interval` gives, from what `resampled` gave."""
        return percentile_estimates(self.faithfulness, samples, level)

    @property
    def cpr(self) -> float:
        """Area under faithfulness over MIB's sizes.

        Raises:
            EvaluationError: the curve lacks one of `circuit_sizes(num_edges)`, or is undefined.
        """
        return self._area(cpr)

    @property
    def cmd(self) -> float:
        """Area between faithfulness and 1 over MIB's sizes.

        Raises:
            EvaluationError: see `cpr`.
        """
        return self._area(cmd)

    def _area(self, area: Callable[..., Float[np.ndarray, "*shape"]]) -> float:
        wanted = circuit_sizes(self.num_edges)
        missing = np.setdiff1d(wanted, self.sizes)
        if len(missing):
            raise EvaluationError(
                f"CPR and CMD need circuits of {missing.tolist()} edges too; evaluate those of"
                " circuit_sizes(num_edges)."
            )
        at = np.isin(self.sizes, wanted)
        return float(area(self.fractions[at], self.faithfulness[at]))


def _shares(
    circuit: Float[np.ndarray, "..."],
    full: Float[np.ndarray, "..."],
    empty: Float[np.ndarray, "..."],
    num_examples: int,
) -> Float64[np.ndarray, "..."]:
    """`faithfulness` of means that broadcast against each other."""
    span = full - empty
    undefined = np.abs(span) < SMALLEST_SPAN
    if undefined.any():
        alike = full[undefined].flat[0], empty[undefined].flat[0]
        raise EvaluationError(
            f"faithfulness is undefined: the full model ({alike[0]:.4f}) and the empty circuit"
            f" ({alike[1]:.4f}) score alike on {num_examples} examples. Choose another metric or"
            " a stronger corruption."
        )
    return (circuit - empty) / span
