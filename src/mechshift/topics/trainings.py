"""Trainings of two kinds: how far a quantity differs between them, seeds drawn again too.

For the rule of causes. With diffusion are the MDM and MDMs of other seeds, without it are the ARMs
that were trained on. All of them are measured against one ARM on the same resamples.

1. The difference is that of the two kinds' means over their trainings. Its variance over resamples
   is what another sample of examples would change: what the kinds share cancels, and what the
   trainings of one kind share does not.
2. The variance of training is the sample variance of a kind's numbers, minus what examples alone
   make of it (the mean over resamples of the sample variance of draws, each training's about its
   own mean), and never below 0.
3. The variance of the difference is that of 1, plus the variance of training over the number of
   trainings for each kind. Student's t has degrees of freedom by Satterthwaite's formula from the
   kinds' sample variances, as in Welch's test.

So trainings that agree add nothing, and a single model that no training made (the ARM, read as the
MDM is) can stand on one side. Taken for examples alone, or with trainings drawn again from three,
the interval is too narrow (docs/validity.md).

Source: Welch 1947; Satterthwaite 1946.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.topic import Measured

MIN_TRAININGS = 3
"""Trainings of either kind below which nothing is said of the kind: the spread of two says too
little of a third."""


def counts(measured: Measured) -> bool:
    """Whether a model's number is defined and may decide something."""
    return measured.estimate is not None and measured.draws is not None and not measured.caution


@dataclass(frozen=True, kw_only=True, eq=False)
class Trainings:
    """One quantity over the trainings of one kind, in its unit."""

    names: tuple[str, ...]
    """Of the members that count."""
    mean: float
    draws: Float[np.ndarray, " resample"]
    """The mean on every resample; NaN where that of a training is undefined."""
    sample_variance: float
    """Of the trainings' numbers; 0 of a single one."""
    variance_of_examples: float
    """What examples alone make of the sample variance."""
    example_error: float
    """Standard error of one training's number over examples, as root mean square."""
    level: float

    @classmethod
    def of(cls, measured: Mapping[str, Measured]) -> "Trainings | None":
        """Those that count; None if there is none.

        Args:
            measured: name of a member -> the quantity.
        """
        known = {name: one for name, one in measured.items() if counts(one)}
        estimates = [one.estimate for one in known.values() if one.estimate is not None]
        rows = [one.draws for one in known.values() if one.draws is not None]
        if not known:
            return None
        values, draws = np.array([one.value for one in estimates]), np.stack(rows)
        # A resample counts here where no training is undefined on it.
        defined = draws[:, np.isfinite(draws).all(axis=0)]
        centred = defined - defined.mean(axis=1, keepdims=True)
        several = len(known) > 1
        return cls(
            names=tuple(known),
            mean=float(values.mean()),
            draws=draws.mean(axis=0),
            sample_variance=float(values.var(ddof=1)) if several else 0.0,
            variance_of_examples=float(centred.var(axis=0, ddof=1).mean()) if several else 0.0,
            example_error=float(np.sqrt((centred**2).mean())),
            level=estimates[0].interval.level,
        )

    @property
    def training_variance(self) -> float:
        """Variance between trainings, without the noise of examples."""
        return max(0.0, self.sample_variance - self.variance_of_examples)

    @property
    def training_sd(self) -> float:
        """Standard deviation between trainings, without the noise of examples."""
        return float(np.sqrt(self.training_variance))


@dataclass(frozen=True, kw_only=True)
class TrainingsDifference:
    """Mean of one kind's trainings minus that of the other's."""

    examples: Estimate
    """With the interval over examples, these trainings held fixed."""
    training_variance: float
    """What drawing other trainings adds to the difference's variance."""
    degrees_of_freedom: float
    """Of Student's t; infinite where trainings agree."""

    def at_level(self, level: float) -> Estimate:
        """With the interval over examples and trainings."""
        tail = (1 - level) / 2
        reach = float(-stdtrit(self.degrees_of_freedom, tail))
        errors = float(-ndtri((1 - self.examples.interval.level) / 2))
        value, interval = self.examples.value, self.examples.interval

        def half(of_examples: float) -> float:
            return reach * float(np.sqrt((of_examples / errors) ** 2 + self.training_variance))

        low, high = value - half(value - interval.low), value + half(interval.high - value)
        return Estimate(value=value, interval=Interval(low=low, high=high, level=level))

    @property
    def estimate(self) -> Estimate:
        """At the level of the interval over examples."""
        return self.at_level(self.examples.interval.level)


def trainings_difference(one: Trainings, other: Trainings) -> TrainingsDifference | None:
    """How far the means of two kinds differ; None where too many resamples are undefined."""
    draws = one.draws - other.draws
    rows = np.concatenate([[one.mean - other.mean], draws])[:, None]
    examples = Estimates.from_rows(rows, level=one.level).at(0)
    if examples is None:
        return None
    kinds = [kind for kind in (one, other) if len(kind.names) > 1]
    added = sum(kind.training_variance / len(kind.names) for kind in kinds)
    variance = float(np.nanvar(draws)) + added
    spread = sum(
        (kind.sample_variance / len(kind.names)) ** 2 / (len(kind.names) - 1) for kind in kinds
    )
    freedom = float("inf")
    if spread > 0:  # no fewer than Welch's test can have
        freedom = max(variance**2 / spread, min(len(kind.names) for kind in kinds) - 1.0)
    return TrainingsDifference(
        examples=examples, training_variance=float(added), degrees_of_freedom=freedom
    )
