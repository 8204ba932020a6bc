"""Alignment with the output: how high the target stands in each component's own lens.

Per component, from its lens (`logit_lens`): log10 of the target's rank, the target's probability,
and the entropy of the distribution, each averaged over an example's readouts and then over
examples. Over components (heads and MLPs) the mean is taken twice:

- *unweighted*: every component alike, whether the task uses it or not;
- *weighted* by the component's share of |mean attribution|: what the task uses.

Low rank, high probability and low entropy say that single components are specialised in the
answer; a component that works for later ones, not for the output, has none of these.

Every bootstrap resample of the examples takes its own lens means and its own attribution; a shift
takes the same resamples of both models. Models that are compared must share a vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from mechshift.errors import SemanticsError
from mechshift.semantics._concentration import ComponentMagnitudes, resample_magnitudes
from mechshift.semantics._logit_lens import LensReadings, LogitLens
from mechshift.semantics.readouts import clusters_of, example_means
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Estimate, bootstrap_weights, centred_estimate

Reading = Callable[[LensReadings], Float[np.ndarray, "readout place"]]

READINGS: dict[str, Reading] = {
    "log10_rank": lambda lens: np.log10(lens.rank),
    "probability": lambda lens: np.exp(lens.log_prob),
    "entropy": lambda lens: lens.entropy,
}
"""Field of `AlignmentMeasures` -> what is averaged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignmentMeasures:
    """Means over components; or, of a shift, MDM minus ARM."""

    log10_rank: Estimate
    """Of the target's rank; 0: first in every lens. 10 to its power is the geometric mean rank."""
    probability: Estimate
    """Of the target, in [0, 1]."""
    entropy: Estimate
    """Of the lens' distribution [nats]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Alignment of a model's heads and MLPs with the output; or the shift between two models."""

    weighted: AlignmentMeasures
    """By share of |attribution|."""
    unweighted: AlignmentMeasures


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignmentShift:
    """Both models, and the MDM's minus the ARM's on the same resamples."""

    arm: Alignment
    mdm: Alignment
    shift: Alignment


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredLens:
    """One model's lenses, and how much each node matters on the same examples."""

    lens: LogitLens
    scores: Float[np.ndarray, "example source"]
    """Attribution of each node in graph order, summed over steps; any sign and unit."""

    def __post_init__(self) -> None:
        shape = self.lens.readouts.num_examples, self.lens.graph.num_sources
        if self.scores.shape != shape:
            raise SemanticsError(
                f"node scores [example, source] of shape {self.scores.shape} do not belong to"
                f" lenses of {shape[0]} examples and {shape[1]} sources; score the same canvases."
            )


def alignment(scored: ScoredLens, settings: SemanticsSettings) -> Alignment:
    """How well one model's heads and MLPs align with the output, with bootstrap intervals.

    Raises:
        SemanticsError: every head's and MLP's attribution is zero.
    """
    return _estimates(_resampled(scored, settings), settings.level)


def alignment_shift(
    arm: ScoredLens, mdm: ScoredLens, settings: SemanticsSettings
) -> AlignmentShift:
    """Both models' alignment and the paired difference, MDM minus ARM.

    Raises:
        SemanticsError: other numbers of examples, components or tokens, or no attribution at all.
    """
    _check_comparable(arm, mdm)
    rows = {name: _resampled(scored, settings) for name, scored in (("arm", arm), ("mdm", mdm))}
    differences = {
        scope: {name: rows["mdm"][scope][name] - rows["arm"][scope][name] for name in READINGS}
        for scope in rows["arm"]
    }
    return AlignmentShift(
        arm=_estimates(rows["arm"], settings.level),
        mdm=_estimates(rows["mdm"], settings.level),
        shift=_estimates(differences, settings.level),
    )


Rows = dict[str, dict[str, Float[np.ndarray, " row"]]]
"""Field of `Alignment` -> field of `AlignmentMeasures` -> the pool's value, then the resamples'."""


def _resampled(scored: ScoredLens, settings: SemanticsSettings) -> Rows:
    magnitudes = resample_magnitudes(
        scored.scores[:, 1:], clusters_of(scored.lens.readouts), settings
    )
    shares = _shares(magnitudes)
    means = {name: _lens_means(scored.lens, read, settings) for name, read in READINGS.items()}
    return {
        "weighted": {name: (shares * mean).sum(axis=1) for name, mean in means.items()},
        "unweighted": {name: mean.mean(axis=1) for name, mean in means.items()},
    }


def _shares(magnitudes: ComponentMagnitudes) -> Float[np.ndarray, "row component"]:
    rows = np.concatenate([magnitudes.pool[None], magnitudes.resamples])
    return rows / rows.sum(axis=1, keepdims=True)


def _lens_means(
    lens: LogitLens, read: Reading, settings: SemanticsSettings
) -> Float[np.ndarray, "row component"]:
    """Mean over examples of each head's and MLP's reading: on the pool, then on resamples."""
    by_example = example_means(read(lens.components)[:, 1:], lens.readouts)
    weights = bootstrap_weights(clusters_of(lens.readouts), settings.num_resamples, settings.seed)
    return np.concatenate([by_example.mean(axis=0, keepdims=True), weights @ by_example])


def _estimates(rows: Rows, level: float) -> Alignment:
    return Alignment(
        **{
            field.name: AlignmentMeasures(
                **{
                    name: centred_estimate(float(values[0]), values[1:], level=level)
                    for name, values in rows[field.name].items()
                }
            )
            for field in fields(Alignment)
        }
    )


def _check_comparable(arm: ScoredLens, mdm: ScoredLens) -> None:
    if arm.scores.shape != mdm.scores.shape or arm.lens.vocab_size != mdm.lens.vocab_size:
        raise SemanticsError(
            f"the ARM has {arm.scores.shape[0]} examples, {arm.scores.shape[1]} sources and"
            f" {arm.lens.vocab_size} tokens, and the MDM {mdm.scores.shape[0]},"
            f" {mdm.scores.shape[1]} and {mdm.lens.vocab_size}; ranks and entropies can only be"
            " compared on the same ones."
        )
