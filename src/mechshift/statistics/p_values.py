"""P-values from draws under chance, and their correction over several tests."""

import numpy as np
from jaxtyping import Float

from mechshift.errors import MechshiftError
from mechshift.statistics.estimates import ROUNDING


def permutation_p(
    value: Float[np.ndarray, "..."], draws: Float[np.ndarray, "draw ..."]
) -> Float[np.ndarray, "..."]:
    """How often chance gives a statistic at least as large, the observed one counted in.

    (1 + draws at least as large) / (1 + draws): never 0, and below any level at most that often
    where the observed value is one more draw (Phipson and Smyth 2010). Give negatives for the
    lower tail and absolute values for both. Draws that rounding alone keeps below the value count
    as equal to it. Undefined draws (NaN) are left out; an undefined value has no p-value (NaN).

    Raises:
        MechshiftError: there is no draw.
    """
    if not len(draws):
        raise MechshiftError("a p-value needs at least one draw, and there is none.")
    defined = np.isfinite(draws)
    as_large = (draws >= value - ROUNDING) & defined
    p = (1 + as_large.sum(axis=0)) / (1 + defined.sum(axis=0))
    return np.where(np.isfinite(value) & defined.any(axis=0), p, np.nan)


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values of several tests, adjusted so that any false rejection is as rare as the level.

    Sorted upwards, the i-th of m is multiplied by m - i + 1, kept ascending and at most 1. Makes no
    assumption on how the tests depend on each other. NaN is no test and stays NaN.

    Source: Holm 1979.
    """
    adjusted = np.full(len(p), np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
