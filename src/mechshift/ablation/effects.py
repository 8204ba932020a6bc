"""How much do ablations cost, with what uncertainty, and do they cost the two models the same?

1. Accuracy: the share of examples that are still right, with Wilson's interval.
2. Drops: the clean run minus the ablated run, in accuracy and in the metric; positive: ablating
   hurts. Intervals by bootstrap over examples.
3. Share lost: the mean metric drop over the mean clean metric. Two models' metrics differ in scale,
   and this does not. 1: all of the metric is gone.
4. Differences: MDM minus ARM of the same drop, with both models resampled alike, which pairs them.

A random control is one draw, so its interval covers the examples and not the choice of the draw.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.ablation.output_norms import RemovedOutputs
from mechshift.ablation.settings import AblationSettings
from mechshift.ablation.table import AblationTable, PlanLabels
from mechshift.errors import AblationError
from mechshift.statistics import (
    Estimate,
    Estimates,
    bootstrap_weights,
    centred_estimates,
    proportion_interval,
)

MIN_EXAMPLES = 10
"""Fewer leave nothing to resample."""

NO_METRIC = 1e-6
"""A mean clean metric of less than this cannot be lost; `kl`, whose clean value is 0, has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationEffects:
    """What ablations cost one model; the axes of every array of estimates: plan, replacement."""

    labels: PlanLabels
    removed: RemovedOutputs
    clean_accuracy: Estimate
    accuracy: Estimates
    """Share of examples that are right, in [0, 1]."""
    accuracy_drop: Estimates
    """In [-1, 1]."""
    metric_drop: Estimates
    """Metric units."""
    share_lost: Estimates
    """Of the mean clean metric; NaN where that is 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationComparison:
    """What the same ablations cost both models, and the difference MDM minus ARM."""

    metric_name: str
    replacements: tuple[str, ...]
    arm: AblationEffects
    mdm: AblationEffects
    accuracy_drop_difference: Estimates
    metric_drop_difference: Estimates
    share_lost_difference: Estimates
    only_in_one: tuple[str, ...]
    """Plans of one model only, which are left out: a control that the other has no match for."""
    num_examples: int
    num_resamples: int
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resampled:
    """Drops on the examples themselves, row 0, and on each resample."""

    accuracy: Float[np.ndarray, "row plan replacement"]
    metric: Float[np.ndarray, "row plan replacement"]
    share: Float[np.ndarray, "row plan replacement"]


def ablation_effects(table: AblationTable, settings: AblationSettings) -> AblationEffects:
    """Drops of one model with intervals.

    Raises:
        AblationError: there are too few examples to resample.
    """
    return _effects(table, _resampled(table, settings), settings.level)


def compare_ablations(
    arm: AblationTable, mdm: AblationTable, settings: AblationSettings
) -> AblationComparison:
    """Drops of both models and their differences, for the plans that both have by name.

    Raises:
        AblationError: the tables are not of the same examples, metric and replacements, have no
            plan in common, or there are too few examples to resample.
    """
    _check_alike(arm, mdm)
    shared = [name for name in arm.labels.names if name in mdm.labels.names]
    if not shared:
        raise AblationError(
            f"the ARM's plans {list(arm.labels.names)} and the MDM's {list(mdm.labels.names)} have"
            " no name in common; ablate the same structures in both."
        )
    only_in_one = {*arm.labels.names} ^ {*mdm.labels.names}
    arm, mdm = (
        table.take([table.labels.names.index(name) for name in shared]) for table in (arm, mdm)
    )
    of_arm, of_mdm = _resampled(arm, settings), _resampled(mdm, settings)
    level = settings.level
    return AblationComparison(
        metric_name=arm.metric_name,
        replacements=arm.replacements,
        arm=_effects(arm, of_arm, level),
        mdm=_effects(mdm, of_mdm, level),
        accuracy_drop_difference=_estimates(of_mdm.accuracy - of_arm.accuracy, level),
        metric_drop_difference=_estimates(of_mdm.metric - of_arm.metric, level),
        share_lost_difference=_estimates(of_mdm.share - of_arm.share, level),
        only_in_one=tuple(sorted(only_in_one)),
        num_examples=arm.num_examples,
        num_resamples=settings.num_resamples,
        level=level,
    )


def _check_alike(arm: AblationTable, mdm: AblationTable) -> None:
    for what, first, second in (
        ("examples", arm.num_examples, mdm.num_examples),
        ("metric", arm.metric_name, mdm.metric_name),
        ("replacements", arm.replacements, mdm.replacements),
    ):
        if first != second:
            raise AblationError(
                f"the ablations of the ARM and the MDM differ in their {what}, {first} and"
                f" {second}; sweep both with the same pool and settings."
            )


def _resampled(table: AblationTable, settings: AblationSettings) -> _Resampled:
    num_examples = table.num_examples
    if num_examples < MIN_EXAMPLES:
        raise AblationError(
            f"{num_examples} examples are too few to say how certain a drop is; use a pool of at"
            f" least {MIN_EXAMPLES}."
        )
    resamples = bootstrap_weights(num_examples, settings.num_resamples, settings.seed)
    weights = np.concatenate([np.full((1, num_examples), 1 / num_examples), resamples])

    def means(per_example: Float[np.ndarray, "... example"]) -> Float[np.ndarray, "row ..."]:
        return np.tensordot(weights, per_example, axes=(1, -1))

    lost = table.clean_correct.astype(np.float64) - table.correct
    metric = means(table.clean_metric - table.metric)
    clean = means(table.clean_metric)[:, None, None]
    has_metric = bool((np.abs(clean) > NO_METRIC).all())
    return _Resampled(
        accuracy=means(lost),
        metric=metric,
        share=metric / clean if has_metric else np.full_like(metric, np.nan),
    )


def _effects(table: AblationTable, drops: _Resampled, level: float) -> AblationEffects:
    clean = proportion_interval(int(table.clean_correct.sum()), table.num_examples, level)
    return AblationEffects(
        labels=table.labels,
        removed=table.removed,
        clean_accuracy=Estimate(value=float(table.clean_correct.mean()), interval=clean),
        accuracy=accuracy_estimates(table.correct, level),
        accuracy_drop=_estimates(drops.accuracy, level, (-1.0, 1.0)),
        metric_drop=_estimates(drops.metric, level),
        share_lost=_estimates(drops.share, level),
    )


def accuracy_estimates(
    correct: Bool[np.ndarray, "plan replacement example"], level: float
) -> Estimates:
    """Share of right examples with Wilson's interval, for every plan and replacement."""
    num_examples = correct.shape[-1]
    found = [proportion_interval(int(n), num_examples, level) for n in correct.sum(-1).ravel()]
    shape = correct.shape[:-1]
    return Estimates(
        value=correct.mean(axis=-1),
        low=np.array([interval.low for interval in found]).reshape(shape),
        high=np.array([interval.high for interval in found]).reshape(shape),
        level=level,
    )


def _estimates(
    rows: Float[np.ndarray, "row plan replacement"],
    level: float,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimates:
    if np.isnan(rows).all():
        return Estimates(value=rows[0], low=rows[0], high=rows[0], level=level)
    return centred_estimates(rows[0], rows[1:], level=level, bounds=bounds)
