"""Concentration of attribution: carried by a few components, or spread over many.

For magnitudes x_1..x_n >= 0 of n components, with shares p_i = x_i / sum(x):

1. Gini coefficient: sum_ij |x_i - x_j| / (2 n sum(x)); 0 for equal shares, 1 - 1/n for one holder.
2. Effective number: exp(-sum_i p_i log p_i), the number of equal components with that entropy;
   from 1, one holder, to n, equal shares (Hill number of order 1; Hill 1973).
3. The share of the largest, and that of the ten largest.

All are blind to the unit of x, so models with different metric scales can be compared. The
magnitude of a component is |mean over examples of its score|, taken anew in every bootstrap
resample; a shift takes the same resample of both models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from mechshift.errors import SemanticsError
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Drawn, Estimate, bootstrap_weights, centred_estimate

Magnitudes = Float[np.ndarray, "row component"]
Measure = Callable[[Magnitudes], Float[np.ndarray, " row"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentMagnitudes:
    """Amount that each component carries, on the pool and on its bootstrap resamples.

    Other magnitudes than |mean score| can be given, such as node scores of a circuit that is
    chosen anew in each resample. For a shift the rows of both models must be of the same resamples.
    """

    pool: Float[np.ndarray, " component"]
    """In any unit, at least 0."""
    resamples: Float[np.ndarray, "resample component"]

    def __post_init__(self) -> None:
        rows = np.concatenate([self.pool[None], self.resamples])
        if not np.isfinite(rows).all() or (rows < 0).any():
            raise SemanticsError(
                "concentration is of magnitudes, and some of these are negative or not finite;"
                " take absolute values."
            )
        if not (rows.sum(axis=1) > 0).all():
            raise SemanticsError(
                "every component's magnitude is zero, on the pool or on a resample, so nothing is"
                " spread over components; check that the metric differs between clean and"
                " corrupted prompts."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Concentration:
    """Concentration of attribution in one model; or, of a shift, MDM minus ARM."""

    gini: Estimate
    """In [0, 1 - 1/n]; larger is sharper."""
    effective_number: Estimate
    """In [1, n] components; smaller is sharper."""
    top_1_share: Estimate
    """Of all magnitude, in [0, 1]."""
    top_10_share: Estimate
    """Of all magnitude, in [0, 1]; 1 where there are ten components or fewer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConcentrationShift:
    """Both models, and the MDM's minus the ARM's on the same resamples."""

    arm: Concentration
    mdm: Concentration
    shift: Concentration
    """Positive `effective_number`, negative of the others: the MDM is more distributed."""
    num_components: int


def gini(magnitudes: Magnitudes) -> Float[np.ndarray, " row"]:
    """Gini coefficient of each row, in [0, 1 - 1/n]."""
    count = magnitudes.shape[1]
    # With x sorted ascending, sum_ij |x_i - x_j| = 2 sum_i (2 i - n - 1) x_i for i = 1..n.
    rank = 2 * np.arange(1, count + 1) - count - 1
    return np.sort(magnitudes, axis=1) @ rank / (count * magnitudes.sum(axis=1))


def effective_number(magnitudes: Magnitudes) -> Float[np.ndarray, " row"]:
    """exp(entropy) of the shares of each row [components], in [1, n]."""
    shares = magnitudes / magnitudes.sum(axis=1, keepdims=True)
    return np.exp(entr(shares).sum(axis=1))


def top_share(magnitudes: Magnitudes, count: int) -> Float[np.ndarray, " row"]:
    """Share of each row that its `count` largest components hold, in [0, 1]."""
    descending = -np.sort(-magnitudes, axis=1)
    return descending[:, :count].sum(axis=1) / magnitudes.sum(axis=1)


def resample_magnitudes(
    scores: Float[np.ndarray, "example component"], examples: Drawn, settings: SemanticsSettings
) -> ComponentMagnitudes:
    """|mean score| of each component, over the examples and over their bootstrap resamples.

    Args:
        scores: of any sign [units of the metric], for example node scores summed over steps.
        examples: their number, or their clusters.
        settings: resamples and seed. The same seed and examples give the same resamples.
    """
    wide = scores.astype(np.float64)
    weights = bootstrap_weights(examples, settings.num_resamples, settings.seed)
    return ComponentMagnitudes(
        pool=np.abs(wide.mean(axis=0)),
        resamples=np.abs(weights @ wide),
    )


def concentration(magnitudes: ComponentMagnitudes, *, level: float = 0.95) -> Concentration:
    """How concentrated one model's attribution is, with bootstrap intervals."""
    return Concentration(
        **{
            name: centred_estimate(
                float(measure(magnitudes.pool[None])[0]),
                measure(magnitudes.resamples),
                level=level,
                bounds=(low, high),
            )
            for name, measure, low, high in _measures(len(magnitudes.pool))
        }
    )


def concentration_shift(
    arm: ComponentMagnitudes, mdm: ComponentMagnitudes, *, level: float = 0.95
) -> ConcentrationShift:
    """Both models' concentration and the paired difference, MDM minus ARM.

    Raises:
        SemanticsError: the models' components or resamples differ in number.
    """
    if arm.resamples.shape != mdm.resamples.shape:
        raise SemanticsError(
            f"the ARM's magnitudes [resample, component] have shape {arm.resamples.shape} and the"
            f" MDM's {mdm.resamples.shape}; a shift needs the same resamples and components."
        )
    num_components = len(arm.pool)
    differences = {}
    for name, measure, low, high in _measures(num_components):
        on_pool = measure(mdm.pool[None]) - measure(arm.pool[None])
        on_resamples = measure(mdm.resamples) - measure(arm.resamples)
        bounds = (low - high, high - low)
        differences[name] = centred_estimate(
            float(on_pool[0]), on_resamples, level=level, bounds=bounds
        )
    return ConcentrationShift(
        arm=concentration(arm, level=level),
        mdm=concentration(mdm, level=level),
        shift=Concentration(**differences),
        num_components=num_components,
    )


def _measures(num_components: int) -> list[tuple[str, Measure, float, float]]:
    """Field of `Concentration`, what fills it, and its range."""
    return [
        ("gini", gini, 0.0, 1 - 1 / num_components),
        ("effective_number", effective_number, 1.0, float(num_components)),
        ("top_1_share", lambda rows: top_share(rows, 1), 0.0, 1.0),
        ("top_10_share", lambda rows: top_share(rows, 10), 0.0, 1.0),
    ]
