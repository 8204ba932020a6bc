"""Decisions: the rules by which verdicts and answers read a number, each written once.

An interval decides where it lies on one side of a threshold. The thresholds other than "no change"
are ours, and stand here. Whatever a rule says, nothing is decided on too few clusters of examples.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from mechshift.comparison import LOWEST_CEILING, NoiseFreeOverlap, OverlapCurve, WeightLikeness
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, UNDEFINED
from mechshift.statistics import ROUNDING, Estimate

RETAINED, REWIRED = 0.8, 0.5
"""Noise-free overlaps from which a circuit counts as retained, and below which as rewired."""

SAME_WEIGHTS = 0.9
"""Cosine from which weights count as kept: its square, the share of the one model's weights that
the other's explain, is about `RETAINED`."""

MATERIAL_SHARE = 0.05
"""Share of the flow between positions from which a model counts as reading from its right, a
twentieth. Not 0: what attention to both sides makes of scores with noise is never exactly 0, so an
interval of a share always lies above it and would decide nothing."""

HOME_ADVANTAGE = 0.05
"""Faithfulness that the other model's circuit may lack and still suffice, a twentieth of what the
model does: a circuit that is chosen for a model always has a home advantage."""

MIN_CLUSTERS = 20
"""Clusters of examples below which no verdict is decided: resampling so few says too little of how
far another sample of them would differ."""

TOO_NOISY = "too noisy"
"""Begin of the words for a number that is undefined on too many resamples."""

TOO_FEW = "too few"
"""Begin of the words for a number that rests on too few of something."""

FARTHEST = 37.0
"""Standard errors beyond which the normal distribution has no p-value that a computer can hold."""


def given_clusters(decided: str, num_clusters: int) -> str:
    """The words of a decision, or that it rests on too few clusters of examples to be one."""
    if num_clusters >= MIN_CLUSTERS or decided in (NOT_MEASURED, UNDEFINED):
        return decided
    return too_few_clusters(num_clusters)


def too_few_clusters(num_clusters: int) -> str:
    """What stands in place of a verdict on so few clusters."""
    return f"{TOO_FEW} clusters ({num_clusters})"


def decides(words: str) -> bool:
    """Whether these words of a rule decide something."""
    return words not in (NOT_DECIDED, NOT_MEASURED, UNDEFINED) and not words.startswith(
        (TOO_NOISY, TOO_FEW)
    )


def p_of_decision(decide: Callable[[float], str], level: float) -> float:
    """The smallest chance of error at which a rule still decides what it does; 1 if it does not.

    Intervals that decide at every level up to 1 - p and no further make p the p-value of the
    decision: where it is wrong, p is below any level at most as often as the intervals miss.

    Args:
        decide: the rule's words, with all intervals of so many standard errors to either side.
        level: at which it decides.
    """
    words = decide(float(ndtri((1 + level) / 2)))
    if not decides(words):
        return 1.0
    # Intervals only widen, so words that have changed stay changed.
    near, far = 0.0, FARTHEST
    while far - near > 1e-6:
        middle = (near + far) / 2
        if decide(middle) == words:
            near = middle
        else:
            far = middle
    return 2 * float(ndtr(-near))


def too_few_draws(what: str, num_draws: int) -> str:
    """What stands in place of a decision on so few random circuits, or structures."""
    return f"{TOO_FEW} random {what} ({num_draws})"


def by_side(
    estimate: Estimate | None, threshold: float, *, above: str, below: str, missing: str
) -> str:
    """Words for an interval above or below a threshold; `not decided` where it holds it.

    Args:
        estimate: what was measured; None gives `missing`.
        threshold: what the interval must leave out.
        above: where it lies above.
        below: where it lies below.
        missing: `NOT_MEASURED` or `UNDEFINED`.
    """
    if estimate is None:
        return missing
    if not estimate.excludes(threshold):
        return NOT_DECIDED
    return above if estimate.value > threshold else below


def by_sign(shift: Estimate | None, *, above: str, below: str, missing: str = NOT_MEASURED) -> str:
    """`by_side` of no change."""
    return by_side(shift, 0.0, above=above, below=below, missing=missing)


def serves(
    minus_own: Estimate,
    minus_half: Estimate,
    half_minus_own: float,
    *,
    suffices: str,
    falls_short: str,
) -> str:
    """Words for another model's circuit, by the faithfulness that a model keeps on it.

    It falls short where it keeps less than the own circuit by more than `HOME_ADVANTAGE`, and less
    than own circuits that are at least as noisy as it: what these lose, noise alone does. It
    suffices where it lacks no more than `HOME_ADVANTAGE`, even if the own circuit kept so much more
    as it loses to half of its examples: about what noise has cost it, since that grows with the
    variance of the noise.

    Args:
        minus_own: on the other's circuit minus on the own one.
        minus_half: on the other's minus on own circuits from half of the discovery examples.
        half_minus_own: on these minus on the own one.
        suffices: words for the one.
        falls_short: words for the other.
    """
    if minus_own.interval.high < -HOME_ADVANTAGE and minus_half.interval.high < 0:
        return falls_short
    if minus_own.interval.low + min(half_minus_own, 0.0) > -HOME_ADVANTAGE:
        return suffices
    return NOT_DECIDED


def structure(share: Estimate | None) -> str:
    """The class in which the whole interval of a share of edges lies."""
    if share is None:
        return UNDEFINED
    low, high = share.interval.low, share.interval.high
    if low >= RETAINED:
        return "retained"
    if high < REWIRED:
        return "rewired"
    if low >= REWIRED and high < RETAINED:
        return "modest change"
    return NOT_DECIDED


def edges_changed(found: NoiseFreeOverlap) -> str:
    """`yes` where the interval of the noise-free overlap leaves out 1, and noise explains it not.

    One circuit in two models of this noise may read below 1 (`NoiseFreeOverlap.one_circuit`); only
    what lies below that is a change. Below `LOWEST_CEILING` nothing is decided.
    """
    if found.overlap is None or found.one_circuit is None:
        return UNDEFINED
    if found.lower_ceiling < LOWEST_CEILING:
        return NOT_DECIDED
    as_low = found.overlap.value >= found.one_circuit.interval.low
    return "yes" if found.overlap.interval.high < 1.0 and not as_low else NOT_DECIDED


def noise_free_structure(found: NoiseFreeOverlap) -> str:
    """The class of the noise-free overlap; a class below `retained` needs `edges_changed`."""
    decided = structure(found.overlap)
    if found.overlap is None or found.lower_ceiling >= LOWEST_CEILING and decided == "retained":
        return decided
    return decided if edges_changed(found) == "yes" else NOT_DECIDED


def weights_kept(found: WeightLikeness) -> str:
    """Words for a cosine from which the two models weigh their strong edges alike."""
    return by_side(found.likeness, SAME_WEIGHTS, above="kept", below="changed", missing=UNDEFINED)


def beyond_layout(overlap: OverlapCurve, index: int, *, above: str, below: str) -> str:
    """Words for an overlap above what edges of the same layers and types share, or below it.

    Above: `layout_p` is at most 1 minus the level, for this task by itself. Below: the overlap lies
    under the null's spread, which `layout_p`, one-sided, does not see.
    """
    value, p = overlap.edges.value[index], overlap.layout_p[index]
    if not (np.isfinite(value) and np.isfinite(p)):
        return UNDEFINED
    if p <= 1 - overlap.level + ROUNDING:
        return above
    return below if value < overlap.null.low[index] - ROUNDING else NOT_DECIDED
