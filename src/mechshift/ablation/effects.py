"""Costs of ablations, with intervals, in each model and as a difference of the two.

1. Accuracy: the share of examples that are still right, with Wilson's interval.
2. Drops: the clean run minus the ablated run, in accuracy and in the metric; positive: ablating
   hurts. Intervals by bootstrap over examples.
3. Share lost: the mean metric drop over the mean clean metric. Two models' metrics differ in scale,
   and this does not. 1: all of the metric is gone.
4. Controls: the mean over the draws of a random control, with intervals over draws and examples
   where there are 20 draws or more (`pooling`, which also says how accuracy's interval is had
   then).
5. Excess: the drop of a plan minus that of its control, on the same resampled examples; positive:
   the plan costs more than anything of that amount.
6. Differences: MDM minus ARM of the same drop, with both models resampled alike, which pairs them.
   Of the excess too: whether a plan costs one model more than the other beyond what any damage of
   that amount does, which a model that is fragile to everything does not show (an interaction).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from mechshift.ablation.output_norms import RemovedOutputs
from mechshift.ablation.pooling import (
    GroupLabels,
    example_weights,
    group_labels,
    pooled_accuracy,
    pooled_removed,
    resampled_means,
)
from mechshift.ablation.settings import AblationSettings
from mechshift.ablation.table import AblationTable, PlanLabels
from mechshift.errors import AblationError
from mechshift.statistics import Estimate, Estimates, share_correct

NO_METRIC = 1e-6
"""A mean clean metric of less than this cannot be lost; `kl`, whose clean value is 0, has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanDrops:
    """Cost of every plan by itself, each draw of a control too: means over examples."""

    labels: PlanLabels
    removed: RemovedOutputs
    accuracy_drop: Float64[np.ndarray, "plan replacement"]
    metric_drop: Float64[np.ndarray, "plan replacement"]
    """Metric units."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationEffects:
    """Costs of ablations to one model; the axes of every array of estimates: group, replacement."""

    labels: GroupLabels
    """Structures, and controls with their draws pooled."""
    removed: RemovedOutputs
    """One entry per group; of a control the mean over its draws."""
    clean_accuracy: Estimate
    accuracy: Estimates
    """Share of examples that are right, in [0, 1]."""
    accuracy_drop: Estimates
    """In [-1, 1]."""
    metric_drop: Estimates
    """Metric units."""
    share_lost: Estimates
    """Of the mean clean metric; NaN where that is 0."""
    accuracy_excess: Estimates
    """The plan's drop minus its control's, by control; NaN for structures, which have one no more
    than a control whose plan was not swept. The next two likewise."""
    metric_excess: Estimates
    share_excess: Estimates
    plans: PlanDrops
    left_out: tuple[str, ...]
    """One line for each control, or part of its draws, that does not exist, saying why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationComparison:
    """Costs of the same ablations to both models, and the difference MDM minus ARM."""

    metric_name: str
    replacements: tuple[str, ...]
    arm: AblationEffects
    mdm: AblationEffects
    accuracy_drop_difference: Estimates
    metric_drop_difference: Estimates
    share_lost_difference: Estimates
    accuracy_excess_difference: Estimates
    """MDM's excess minus the ARM's, by control; NaN for structures. The next likewise."""
    share_excess_difference: Estimates
    only_in_one: tuple[str, ...]
    """Groups of one model only, which are left out: a control that the other has no match for."""
    num_examples: int
    num_resamples: int
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drops:
    """Drops on draws and examples as they are, row 0, and on each resample."""

    accuracy: Float[np.ndarray, "row group replacement"]
    metric: Float[np.ndarray, "row group replacement"]
    share: Float[np.ndarray, "row group replacement"]


def ablation_effects(table: AblationTable, settings: AblationSettings) -> AblationEffects:
    """Drops of one model with intervals.

    Raises:
        AblationError: there are too few examples to resample.
    """
    return _effects(table, _drops(table, settings), settings)


def compare_ablations(
    arm: AblationTable, mdm: AblationTable, settings: AblationSettings
) -> AblationComparison:
    """Drops of both models and their differences, for the groups that both have by name.

    Raises:
        AblationError: the tables are not of the same examples, metric and replacements, have no
            plan in common, or there are too few examples to resample.
    """
    _check_alike(arm, mdm)
    of_arm, of_mdm = arm.labels.rows_by_group(), mdm.labels.rows_by_group()
    shared = [name for name in of_arm if name in of_mdm]
    if not shared:
        raise AblationError(
            f"the ARM's plans {list(of_arm)} and the MDM's {list(of_mdm)} have no name in common;"
            " ablate the same structures in both."
        )
    arm, mdm = (
        table.take([row for name in shared for row in groups[name]])
        for table, groups in ((arm, of_arm), (mdm, of_mdm))
    )
    arm_drops, mdm_drops = _drops(arm, settings), _drops(mdm, settings)
    level = settings.level
    return AblationComparison(
        metric_name=arm.metric_name,
        replacements=arm.replacements,
        arm=_effects(arm, arm_drops, settings),
        mdm=_effects(mdm, mdm_drops, settings),
        accuracy_drop_difference=Estimates.from_rows(
            mdm_drops.accuracy - arm_drops.accuracy, level=level
        ),
        metric_drop_difference=Estimates.from_rows(
            mdm_drops.metric - arm_drops.metric, level=level
        ),
        share_lost_difference=Estimates.from_rows(mdm_drops.share - arm_drops.share, level=level),
        accuracy_excess_difference=Estimates.from_rows(
            _excess(mdm_drops.accuracy - arm_drops.accuracy, group_labels(arm.labels)), level=level
        ),
        share_excess_difference=Estimates.from_rows(
            _excess(mdm_drops.share - arm_drops.share, group_labels(arm.labels)), level=level
        ),
        only_in_one=tuple(sorted({*of_arm} ^ {*of_mdm})),
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


def _drops(table: AblationTable, settings: AblationSettings) -> _Drops:
    labels = table.labels
    lost = table.clean_correct.astype(np.float64) - table.correct
    metric = resampled_means(table.clean_metric - table.metric, table.clusters, labels, settings)
    clean = (example_weights(table.clusters, settings) @ table.clean_metric)[:, None, None]
    has_metric = bool((np.abs(clean) > NO_METRIC).all())
    return _Drops(
        accuracy=resampled_means(lost, table.clusters, labels, settings),
        metric=metric,
        share=metric / clean if has_metric else np.full_like(metric, np.nan),
    )


def _effects(table: AblationTable, drops: _Drops, settings: AblationSettings) -> AblationEffects:
    level, labels = settings.level, group_labels(table.labels)
    return AblationEffects(
        labels=labels,
        removed=pooled_removed(table.removed, table.labels),
        clean_accuracy=share_correct(table.clean_correct, table.clusters, level),
        accuracy=pooled_accuracy(table.correct, table.clusters, table.labels, settings),
        accuracy_drop=Estimates.from_rows(drops.accuracy, level=level, bounds=(-1.0, 1.0)),
        metric_drop=Estimates.from_rows(drops.metric, level=level),
        share_lost=Estimates.from_rows(drops.share, level=level),
        accuracy_excess=Estimates.from_rows(
            _excess(drops.accuracy, labels), level=level, bounds=(-1.0, 1.0)
        ),
        metric_excess=Estimates.from_rows(_excess(drops.metric, labels), level=level),
        share_excess=Estimates.from_rows(_excess(drops.share, labels), level=level),
        plans=PlanDrops(
            labels=table.labels,
            removed=table.removed,
            accuracy_drop=table.clean_correct.mean() - table.correct.mean(axis=-1),
            metric_drop=(table.clean_metric - table.metric).mean(axis=-1),
        ),
        left_out=table.left_out,
    )


def _excess(
    drops: Float[np.ndarray, "row group replacement"], labels: GroupLabels
) -> Float[np.ndarray, "row group replacement"]:
    """Each control's plan minus the control; NaN for all else."""
    excess = np.full_like(drops, np.nan)
    for group, (role, of) in enumerate(zip(labels.roles, labels.of, strict=True)):
        if role != "structure" and of in labels.names:
            excess[:, group] = drops[:, labels.names.index(of)] - drops[:, group]
    return excess
