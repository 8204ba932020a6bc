"""Trainings of two kinds: how far a quantity differs between them, seeds drawn again too.

For the rule of causes. With diffusion are the MDM and MDMs of other seeds, without it are the ARMs
that were trained on. All of them are measured against one ARM on the same resamples.

1. The difference is that of the two kinds' means over their trainings, and its interval over
   examples is that of the difference's draws: what the kinds share cancels, and what the trainings
   of one kind share does not.
2. The variance of training is the sample variance of a kind's numbers, minus what examples alone
   make of it (the mean over resamples of the sample variance of draws, each training's about its
   own mean), and never below 0. To the variance of the difference each kind adds its variance of
   training over the number of its trainings.
3. The interval reaches as far as both together, as the root of the sum of squares: of its reach
   over examples, and of Student's t times the standard deviation of 2, with degrees of freedom by
   Satterthwaite's formula from the kinds' parts, as in Welch's test.

So trainings that agree add nothing, and a single model that no training made (the ARM, read as the
MDM is) can stand on one side. Without 2, or with trainings drawn again from three, the interval is
too narrow; with degrees of freedom for the whole variance it is so where one kind alone scatters
(docs/validity.md).

Source: Satterthwaite 1946; Welch 1947.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri, stdtrit

from mechshift.statistics import Estimate, Estimates
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
    """Of that part; infinite where it is 0."""

    def reaching(self, errors: float) -> Estimate:
        """With the interval over examples and trainings of `Estimate.reaching`'s level."""
        examples = self.examples.reaching(errors)
        reach = float(-stdtrit(self.degrees_of_freedom, ndtr(-errors)))
        of_trainings = reach * self.training_variance**0.5
        value, interval = examples.value, examples.interval
        low = value - float(np.hypot(value - interval.low, of_trainings))
        high = value + float(np.hypot(interval.high - value, of_trainings))
        return Estimate(value=value, interval=replace(interval, low=low, high=high))

    @property
    def estimate(self) -> Estimate:
        """At the level of the interval over examples."""
        return self.reaching(float(ndtri((1 + self.examples.interval.level) / 2)))


def trainings_difference(one: Trainings, other: Trainings) -> TrainingsDifference | None:
    """How far the means of two kinds differ; None where too many resamples are undefined."""
    draws = one.draws - other.draws
    rows = np.concatenate([[one.mean - other.mean], draws])[:, None]
    examples = Estimates.from_rows(rows, level=one.level).at(0)
    if examples is None:
        return None
    added, spread = 0.0, 0.0
    for kind in (one, other):
        if (num := len(kind.names)) > 1:
            added += kind.training_variance / num
            spread += (kind.training_variance / num) ** 2 / (num - 1)
    return TrainingsDifference(
        examples=examples,
        training_variance=added,
        degrees_of_freedom=added**2 / spread if spread > 0 else float("inf"),
    )
