"""Effective number of components without noise: over how many equal ones the work is spread.

Noise makes every |mean score| larger, most of all where there is nothing else, so any measure of
these magnitudes finds a noisier model more distributed. With the scores m1 and m2 of a model's
components on two halves of the examples:

1. Size: sum of sign(m1) m2, the |score| that carries over to other examples. Energy: sum of m1 m2.
   Both are means over halvings, both ways round; what was noise in m1 is none in m2.
2. Effective number: size² / energy, which is (sum |m|)² / sum m² without noise: 1 for one
   component, n for n equal ones (Hill number of order 2; Hill 1973). A wrong sign of a weak
   component takes from its size, so noise makes the number smaller, not larger.
3. Relative noise of a model: the root of the variance of its mean scores, summed over components,
   over the energy.
4. Second reading: as many examples of the quieter model as make the two models' relative noise
   equal, and (sum |m|)² / sum m² of both, MDM minus ARM; mean over random choices.
5. Intervals: bootstrap over clusters of examples, the same for both models, centred, and as wide
   as leaving out a block of clusters at a time says, where that is more: a resample, noisier than
   the pool, has other signs. Halves of a resample share no cluster.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.errors import SemanticsError
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import (
    ROUNDING,
    Estimate,
    Estimates,
    bootstrap_weights,
    cluster_columns,
    no_narrower_than_jackknife,
    split_halves,
    weights_without_blocks,
)

NUM_SPLITS = 10
"""Halvings of the examples, the same of the pool and of every resample."""

NUM_THINNED = 50
"""Random choices of the quieter model's examples."""

Scores = Float[np.ndarray, "example component"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseFreeNumber:
    """Both models' effective number of components, and the MDM's minus the ARM's."""

    arm: Estimate | None
    """In components; None where scores on one half of the examples do not carry over to the other
    in too many resamples."""
    mdm: Estimate | None
    shift: Estimate | None
    """Above 0: the MDM is more distributed."""
    shift_draws: Float[np.ndarray, " resample"]
    """The shift in each resample, spread as widely as its interval; NaN where it is undefined."""
    shift_at_equal_noise: float
    """The second reading [components]."""
    arm_noise: float
    """Noise of the mean scores over their size; NaN where no energy carries over."""
    mdm_noise: float

    @property
    def noise_ratio(self) -> float:
        """How many times as noisy the noisier model is, from 1; infinite where that is unknown."""
        less, more = sorted((self.arm_noise, self.mdm_noise))
        if not np.isfinite([less, more]).all():
            return float("inf")
        if more == 0:
            return 1.0
        return more / less if less > 0 else float("inf")


def noise_free_number(
    arm_scores: Scores,
    mdm_scores: Float[np.ndarray, "mdm_example mdm_component"],
    settings: SemanticsSettings,
    *,
    clusters: Int[np.ndarray, " example"] | None = None,
) -> NoiseFreeNumber:
    """Effective numbers of two models on the same examples; the module says how.

    Args:
        arm_scores: of any sign [units of the metric], for example node scores summed over steps.
        mdm_scores: the same of the MDM.
        settings: resamples, level and seed.
        clusters: which examples are drawn and left out together; None: each by itself.

    Raises:
        SemanticsError: the models' examples or components differ in number, or all scores are 0.
    """
    if arm_scores.shape != mdm_scores.shape:
        raise SemanticsError(
            f"the ARM's scores [example, component] have shape {arm_scores.shape} and the MDM's"
            f" {mdm_scores.shape}; a shift needs the same examples and components."
        )
    arm, mdm = arm_scores.astype(np.float64), mdm_scores.astype(np.float64)
    if not (arm.any() and mdm.any()):
        raise SemanticsError(
            "every component's score is zero, so nothing is spread over components; check that the"
            " metric differs between clean and corrupted prompts."
        )
    cluster, _ = cluster_columns(len(arm) if clusters is None else clusters)
    weights = bootstrap_weights(cluster, settings.num_resamples, settings.seed)
    first = split_halves(cluster, NUM_SPLITS, settings.seed)
    without = weights_without_blocks(cluster, settings.seed)
    rows = np.concatenate([np.full((1, len(arm)), 1 / len(arm)), without, weights])
    numbers = np.stack([_cross_fitted(scores, rows, first) for scores in (arm, mdm)], axis=1)
    numbers = np.concatenate([numbers, numbers[:, 1:] - numbers[:, :1]], axis=1)
    value, left_out, drawn = np.split(numbers, [1, 1 + len(without)])
    drawn = no_narrower_than_jackknife(drawn, left_out, cluster)
    numbers = np.concatenate([value, drawn])
    estimates = Estimates.from_rows(numbers, level=settings.level)
    noises = [_relative_noise(scores, weights, first) for scores in (arm, mdm)]
    generator = np.random.default_rng(settings.seed)
    return NoiseFreeNumber(
        arm=estimates.at(0),
        mdm=estimates.at(1),
        shift=estimates.at(2),
        shift_draws=drawn[:, 2],
        shift_at_equal_noise=_at_equal_noise((arm, mdm), noises, cluster, generator),
        arm_noise=noises[0],
        mdm_noise=noises[1],
    )


def number_of(means: Float[np.ndarray, "row component"]) -> Float[np.ndarray, " row"]:
    """(sum |m|)² / sum m² of each row, noise and all."""
    found: Float[np.ndarray, " row"] = np.abs(means).sum(axis=1) ** 2 / (means**2).sum(axis=1)
    return found


def _cross_fitted(
    scores: Scores,
    rows: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "split example"],
) -> Float[np.ndarray, " row"]:
    """Size² over energy; NaN where one of them does not carry over."""
    size, energy = _carried_over(scores, rows, first)
    carried = (size > 0) & (energy > 0)
    return np.where(carried, size, np.nan) ** 2 / np.where(carried, energy, np.nan)


def _carried_over(
    scores: Scores,
    rows: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "split example"],
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Size and energy of weighted examples, mean over the halvings of which both halves hold some.

    A resample of a dozen clusters now and then lies in one half; NaN where it does in all halvings.
    """
    size, energy, count = np.zeros((3, len(rows)))
    for half in first:
        halves = [rows * side for side in (half, ~half)]
        whole = [one.sum(axis=1) for one in halves]
        held = (whole[0] > 0) & (whole[1] > 0)
        one, two = (
            (of_half[held] @ scores) / of_whole[held, None]
            for of_half, of_whole in zip(halves, whole, strict=True)
        )
        size[held] += ((np.sign(one) * two).sum(axis=1) + (np.sign(two) * one).sum(axis=1)) / 2
        energy[held] += (one * two).sum(axis=1)
        count += held
    count[count == 0] = np.nan
    return size / count, energy / count


def _relative_noise(
    scores: Scores,
    weights: Float[np.ndarray, "resample example"],
    first: Bool[np.ndarray, "split example"],
) -> float:
    every = np.full((1, len(scores)), 1 / len(scores))
    _, energy = _carried_over(scores, every, first)
    variance = (weights @ scores).var(axis=0).sum()
    if energy[0] <= 0:
        return float("nan")
    noise = float(np.sqrt(variance / energy[0]))
    return noise if noise > ROUNDING else 0.0


def _at_equal_noise(
    pair: tuple[Scores, Scores],
    noises: list[float],
    cluster: Int[np.ndarray, " example"],
    generator: np.random.Generator,
) -> float:
    """MDM minus ARM, the quieter of them on so few examples that it is as noisy as the other."""
    quiet = int(noises[1] < noises[0])
    numbers = [float(number_of(scores.mean(axis=0, keepdims=True))[0]) for scores in pair]
    share = (noises[quiet] / noises[1 - quiet]) ** 2 if noises[1 - quiet] > 0 else 1.0
    if share < 1:
        num_clusters = int(cluster.max()) + 1
        kept = max(1, round(share * num_clusters))
        thinned = [
            pair[quiet][np.isin(cluster, generator.permutation(num_clusters)[:kept])].mean(axis=0)
            for _ in range(NUM_THINNED)
        ]
        numbers[quiet] = float(number_of(np.stack(thinned)).mean())
    return numbers[1] - numbers[0]
