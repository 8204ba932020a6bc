"""Faithfulness of random circuits: what a circuit of as many edges keeps by chance.

Several circuits are drawn at each size. The faithfulness of chance is the mean over draws; its
interval resamples examples and draws, because other draws would be as good. Differences to a
circuit use the same resamples of the examples, since both were run on the same ones.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechshift.evaluation._faithfulness import FaithfulnessCurve
from mechshift.evaluation.circuit_metrics import CircuitMetrics
from mechshift.statistics import MIN_DRAWS, Estimates, bootstrap_weights, percentile_estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class Baselines:
    """Metrics of one model on circuits that know less than its own, on the same examples."""

    random: CircuitMetrics
    """Draws matched to the own circuits: all sizes of the first draw, then all of the next."""
    activation: CircuitMetrics
    """As many edges, by how far the corruption moves their source; one circuit a size."""
    num_forced: Int[np.ndarray, " size"]
    """Edges that every matched draw of a size must have; empty without draws."""

    def __post_init__(self) -> None:
        sizes = self.activation.sizes if len(self.random.sizes) else ()
        assert len(self.num_forced) == len(sizes), (
            f"forced edges are of {len(self.num_forced)} sizes, not {len(sizes)}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomCurve:
    """Faithfulness of random circuits of growing size."""

    draws: tuple[FaithfulnessCurve, ...]
    """At least one; all of the same sizes and examples."""

    @property
    def sizes(self) -> Int[np.ndarray, " size"]:
        return self.draws[0].sizes

    @property
    def num_edges(self) -> int:
        """Edges of the whole graph."""
        return self.draws[0].num_edges

    @property
    def num_examples(self) -> int:
        return self.draws[0].num_examples

    @property
    def faithfulness(self) -> Float64[np.ndarray, " size"]:
        """Share of the full model's metric kept at each size, averaged over draws.

        Raises:
            EvaluationError: undefined; see `faithfulness.faithfulness`.
        """
        return np.mean([draw.faithfulness for draw in self.draws], axis=0)

    def resampled(
        self, *, num_resamples: int = 1000, seed: int = 0
    ) -> Float64[np.ndarray, "resample size"]:
        """Faithfulness in bootstrap resamples of the examples and of the draws.

        The same seed resamples the examples as `FaithfulnessCurve.resampled` does.

        Raises:
            EvaluationError: see `FaithfulnessCurve.resampled`.
        """
        by_draw = np.stack(
            [draw.resampled(num_resamples=num_resamples, seed=seed) for draw in self.draws], axis=1
        )
        # A seed of its own: draws must not be chosen by the numbers that chose the examples.
        weights = bootstrap_weights(len(self.draws), num_resamples, seed + 1)
        return np.einsum("rd,rds->rs", weights, by_draw)

    @property
    def has_interval(self) -> bool:
        """Whether the draws are enough to say how far others would differ."""
        return len(self.draws) >= MIN_DRAWS

    def interval(
        self, level: float = 0.95, *, num_resamples: int = 1000, seed: int = 0
    ) -> Estimates:
        """Faithfulness with its pointwise percentile interval; axis `size`.

        Fewer than `MIN_DRAWS` draws have the value alone.

        Raises:
            EvaluationError: see `FaithfulnessCurve.resampled`.
        """
        return self.estimates(self.resampled(num_resamples=num_resamples, seed=seed), level)

    def estimates(
        self, samples: Float64[np.ndarray, "resample size"], level: float = 0.95
    ) -> Estimates:
        """What `interval` gives, from what `resampled` gave."""
        value = self.faithfulness
        if not self.has_interval:
            none = np.full_like(value, np.nan)
            return Estimates(value=value, low=none, high=none, level=level)
        return percentile_estimates(value, samples, level)


def random_curve(metrics: CircuitMetrics) -> RandomCurve:
    """The curve of metrics that hold all sizes of one draw, then all sizes of the next."""
    num_sizes = len(np.unique(metrics.sizes))
    starts = range(0, len(metrics.sizes), num_sizes)
    draws = (metrics.subset(slice(start, start + num_sizes)) for start in starts)
    return RandomCurve(draws=tuple(draw.curve() for draw in draws))
