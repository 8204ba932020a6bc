"""Experts: which of a mixture's experts carry its attribution, layer by layer.

An expert's magnitude is |mean over examples of its score|, as that of every component
(`attribution.expert_attribution`, summed over steps). Its share is that of all magnitude in its
layer. As in the concentration of components, noise adds to magnitudes, so the shares of a quiet
layer look more alike than they are; and scores of either sign may have cancelled in the mixture's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.attribution import ExpertScores
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Estimates, bootstrap_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertShares:
    """Shares of each expert in the attribution of its layer's mixture."""

    score: Estimates
    """[layer, expert]: mean score over examples [units of the metric]; positive: corrupting what it
    writes hurts. Those of a layer add up to its mixture's."""
    share: Estimates
    """[layer, expert]: of the layer's magnitude, in [0, 1]; undefined in a layer without any."""
    num_examples: int

    @property
    def num_layers(self) -> int:
        return len(self.share.value)

    @property
    def num_experts(self) -> int:
        return int(self.share.value.shape[1])


def expert_shares(scores: ExpertScores, settings: SemanticsSettings) -> ExpertShares:
    """Mean scores and shares, with bootstrap intervals over examples."""
    by_example = scores.values.sum(axis=1, dtype=np.float64)
    weights = bootstrap_weights(scores.drawn, settings.num_resamples, settings.seed)
    pool = np.full((1, len(by_example)), 1 / len(by_example))
    means = np.tensordot(np.concatenate([pool, weights]), by_example, axes=1)
    return ExpertShares(
        score=Estimates.from_rows(means, level=settings.level),
        share=Estimates.from_rows(_shares(means), level=settings.level, bounds=(0.0, 1.0)),
        num_examples=len(by_example),
    )


def _shares(
    means: Float[np.ndarray, "row layer expert"],
) -> Float[np.ndarray, "row layer expert"]:
    magnitude = np.abs(means)
    total = magnitude.sum(axis=-1, keepdims=True)
    return np.divide(magnitude, total, out=np.full_like(magnitude, np.nan), where=total > 0)
