"""The record of a sweep: every example's metric and answer under every plan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechshift.ablation.output_norms import RemovedOutputs
from mechshift.ablation.plans import AblationPlan, group_name
from mechshift.ablation.structures import HEAD, MLP, NEURON


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanLabels:
    """Labels of plans without their structures; one entry of each field per plan."""

    names: tuple[str, ...]
    roles: tuple[str, ...]
    """`structure`, `same number` or `same norm`."""
    of: tuple[str, ...]
    """The plan that a control is matched to; of any other plan its own name."""
    draws: Int[np.ndarray, " plan"]
    """Which draw of its control each is, counted from 1; 0: no control."""
    notes: tuple[str, ...]
    """How the structures were chosen."""
    num_heads: Int[np.ndarray, " plan"]
    num_mlps: Int[np.ndarray, " plan"]
    num_neurons: Int[np.ndarray, " plan"]

    def rows_by_group(self) -> dict[str, list[int]]:
        """The plans that are reported as one, under the name that they are reported by."""
        rows: dict[str, list[int]] = {}
        for row, (of, role) in enumerate(zip(self.of, self.roles, strict=True)):
            rows.setdefault(group_name(of, role), []).append(row)
        return rows

    def take(self, rows: Sequence[int]) -> "PlanLabels":
        """The same for some plans, in this order."""
        return PlanLabels(
            names=tuple(self.names[row] for row in rows),
            roles=tuple(self.roles[row] for row in rows),
            of=tuple(self.of[row] for row in rows),
            draws=self.draws[rows],
            notes=tuple(self.notes[row] for row in rows),
            num_heads=self.num_heads[rows],
            num_mlps=self.num_mlps[rows],
            num_neurons=self.num_neurons[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationTable:
    """One model under several plans and replacements, example by example.

    An example's metric is summed over its denoising steps. Its answer is right if at every step
    the most probable token at every place that the step commits is the target's, or another that
    the task counts as right there (a later year), given the canvas of the clean example with the
    target's tokens committed before (teacher forcing).
    """

    labels: PlanLabels
    replacements: tuple[str, ...]
    metric_name: str
    """In `denoising.METRICS`."""
    metric: Float64[np.ndarray, "plan replacement example"]
    """Metric units."""
    correct: Bool[np.ndarray, "plan replacement example"]
    clean_metric: Float64[np.ndarray, " example"]
    """Nothing ablated."""
    clean_correct: Bool[np.ndarray, " example"]
    corrupted_metric: Float64[np.ndarray, " example"]
    """The unchanged model on the corrupted prompt: what resampling everything gives."""
    clusters: Int[np.ndarray, " example"]
    """Number of each example's cluster."""
    removed: RemovedOutputs
    """What each plan writes on the clean canvases of these examples."""
    left_out: tuple[str, ...] = ()
    """One line for each control, or part of its draws, that does not exist, saying why."""

    @property
    def num_examples(self) -> int:
        return len(self.clean_metric)

    def take(self, rows: Sequence[int]) -> "AblationTable":
        """The same for some plans, in this order."""
        removed = self.removed
        return AblationTable(
            labels=self.labels.take(rows),
            replacements=self.replacements,
            metric_name=self.metric_name,
            metric=self.metric[rows],
            correct=self.correct[rows],
            clean_metric=self.clean_metric,
            clean_correct=self.clean_correct,
            corrupted_metric=self.corrupted_metric,
            clusters=self.clusters,
            removed=RemovedOutputs(
                norm=removed.norm[rows],
                share=removed.share[rows],
                largest_coordinate_share=removed.largest_coordinate_share[rows],
            ),
            left_out=self.left_out,
        )


def plan_labels(plans: Sequence[AblationPlan]) -> PlanLabels:
    """What is said of these plans."""

    def counts(kind: int) -> Int[np.ndarray, " plan"]:
        return np.array([plan.structures.count(kind) for plan in plans], dtype=np.int64)

    return PlanLabels(
        names=tuple(plan.name for plan in plans),
        roles=tuple(plan.role for plan in plans),
        of=tuple(plan.of for plan in plans),
        draws=np.array([plan.draw for plan in plans], dtype=np.int64),
        notes=tuple(plan.note for plan in plans),
        num_heads=counts(HEAD),
        num_mlps=counts(MLP),
        num_neurons=counts(NEURON),
    )
