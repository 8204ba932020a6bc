"""Interventions: what a model loses without some structures, beyond what random ones cost it.

For the topic `ablation`, whose rule and sentences rest on it.

1. What is lost without them: the share of the clean metric, or accuracy where a metric has no share
   to lose; by zeroing, as published, or by the first replacement that was run.
2. Beyond chance: a model's loss minus that without random structures. Anything that is large costs
   much, and a model may be fragile to everything; only what goes beyond that speaks of these.
3. More, or less: the interval of the MDM's loss beyond chance minus the ARM's lies above 0, or
   below it, for each kind of random structures, of which there must be one. Fewer than 20 draws of
   a kind have no interval and decide nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mechshift.ablation import AblationComparison
from mechshift.page.formats import NOT_DECIDED
from mechshift.statistics import MIN_DRAWS, Estimate
from mechshift.topics.decisions import too_few_draws

Side = Literal["arm", "mdm", "difference"]
Drop = Literal["accuracy_drop", "share_lost"]

CONTROLS = {"same number": "as many", "same norm": "of the same norm"}
"""Roles of the random controls that a plan may have, and how a sentence calls their structures."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Costs of one plan to both models."""

    replacement: str
    drop: Drop
    """Which loss the rule looked at."""
    arm: Estimate
    mdm: Estimate
    difference: Estimate
    """MDM minus ARM."""
    beyond_chance: Mapping[str, Estimate]
    """MDM's loss beyond a random control minus the ARM's beyond its own, by the controls' role;
    empty without controls that have an interval."""
    fewest_draws: int | None
    """Of a control of this plan in either model; None without controls."""

    @property
    def too_few_draws(self) -> bool:
        """Whether some control has no interval."""
        return self.fewest_draws is not None and self.fewest_draws < MIN_DRAWS

    @property
    def smallest(self) -> Estimate | None:
        """Of `beyond_chance`, the one nearest to 0."""
        return min(self.beyond_chance.values(), key=lambda one: abs(one.value), default=None)

    def at_level(self, level: float) -> "Intervention":
        """With the intervals of another level."""
        beyond = {role: one.at_level(level) for role, one in self.beyond_chance.items()}
        return replace(self, beyond_chance=beyond)

    def decides(self, *, more: str, less: str) -> str:
        """Words for a model that depends more, or less, on the plan's structures."""
        if self.fewest_draws is not None and self.too_few_draws:
            return too_few_draws("structures", self.fewest_draws)
        found = self.beyond_chance.values()
        if found and all(one.interval.low > 0 for one in found):
            return more
        return less if found and all(one.interval.high < 0 for one in found) else NOT_DECIDED


def intervention(ablation: AblationComparison, plan: str) -> Intervention | None:
    """What ablating a plan's structures shows; None where the plan was not run."""
    drop: Drop = "share_lost"
    if drop_of(ablation, "difference", drop, plan) is None:
        drop = "accuracy_drop"
    arm, mdm, difference = (
        drop_of(ablation, side, drop, plan) for side in ("arm", "mdm", "difference")
    )
    if arm is None or mdm is None or difference is None:
        return None
    beyond_chance = {
        role: found
        for role in CONTROLS
        if (found := _beyond_chance(ablation, drop, f"{plan}, {role}")) is not None
    }
    return Intervention(
        replacement=replacement_of(ablation),
        drop=drop,
        arm=arm,
        mdm=mdm,
        difference=difference,
        beyond_chance=beyond_chance,
        fewest_draws=_fewest_draws(ablation, plan),
    )


def _fewest_draws(ablation: AblationComparison, plan: str) -> int | None:
    """Of the controls of a plan, in both models; None where it has none."""
    draws = [
        int(labels.num_draws[labels.names.index(f"{plan}, {role}")])
        for labels in (ablation.arm.labels, ablation.mdm.labels)
        for role in CONTROLS
        if f"{plan}, {role}" in labels.names
    ]
    return min(draws, default=None)


def replacement_of(ablation: AblationComparison) -> str:
    """What verdicts are about: zeroing, as published, or the first replacement that was run."""
    return "zero" if "zero" in ablation.replacements else ablation.replacements[0]


def drop_of(ablation: AblationComparison, side: Side, drop: Drop, plan: str) -> Estimate | None:
    """What one plan costs a model, or MDM minus ARM; None where it was not run or is undefined."""
    if plan not in ablation.arm.labels.names:
        return None
    if side == "difference":
        estimates = getattr(ablation, f"{drop}_difference")
    else:
        estimates = getattr(getattr(ablation, side), drop)
    found: Estimate | None = estimates.at(*_place(ablation, plan))
    return found


def _beyond_chance(ablation: AblationComparison, drop: Drop, control: str) -> Estimate | None:
    """MDM's loss beyond a control minus the ARM's; None where there is no such control."""
    if control not in ablation.mdm.labels.names:
        return None
    accuracy, share = ablation.accuracy_excess_difference, ablation.share_excess_difference
    return (accuracy if drop == "accuracy_drop" else share).at(*_place(ablation, control))


def _place(ablation: AblationComparison, plan: str) -> tuple[int, int]:
    return (
        ablation.arm.labels.names.index(plan),
        ablation.replacements.index(replacement_of(ablation)),
    )
