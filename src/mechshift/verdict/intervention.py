"""Does the MDM depend more than the ARM on some structures, and more than on random ones?

1. What is lost without them: the share of the clean metric, or accuracy where a metric has no share
   to lose; by zeroing, as published, or by the first replacement that was run.
2. More: the interval of MDM minus ARM lies above 0, and so does that of the MDM's loss beyond each
   of its random controls, of which there must be one. Anything that is large costs much; only what
   goes beyond chance speaks of these structures.
3. Less: the interval of MDM minus ARM lies below 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mechshift.ablation import AblationComparison
from mechshift.statistics import Estimate
from mechshift.topics.decisions import NOT_DECIDED

Side = Literal["arm", "mdm", "difference"]
Drop = Literal["accuracy_drop", "share_lost"]

CONTROL_ROLES = ("same number", "same norm")
"""Roles of the random controls that a plan may have."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """What one plan costs both models."""

    plan: str
    replacement: str
    drop: Drop
    """Which loss the rule looked at."""

    arm: Estimate
    mdm: Estimate
    difference: Estimate
    """MDM minus ARM."""

    excess: Mapping[str, Estimate]
    """The MDM's loss beyond each random control, by the control's role; empty without controls."""

    def decides(self, *, more: str, less: str) -> str:
        """Words for a model that depends more, or less, on the plan's structures."""
        if self.difference.interval.high < 0:
            return less
        beyond = [one.interval.low > 0 for one in self.excess.values()]
        return more if self.difference.interval.low > 0 and beyond and all(beyond) else NOT_DECIDED


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
    excess = {
        role: found
        for role in CONTROL_ROLES
        if (found := _mdm_excess(ablation, drop, f"{plan}, {role}")) is not None
    }
    return Intervention(
        plan=plan,
        replacement=replacement_of(ablation),
        drop=drop,
        arm=arm,
        mdm=mdm,
        difference=difference,
        excess=excess,
    )


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


def _mdm_excess(ablation: AblationComparison, drop: Drop, control: str) -> Estimate | None:
    """What a control's plan costs the MDM beyond the control; None where there is none."""
    mdm = ablation.mdm
    if control not in mdm.labels.names:
        return None
    excess = mdm.accuracy_excess if drop == "accuracy_drop" else mdm.share_excess
    return excess.at(*_place(ablation, control))


def _place(ablation: AblationComparison, plan: str) -> tuple[int, int]:
    return (
        ablation.arm.labels.names.index(plan),
        ablation.replacements.index(replacement_of(ablation)),
    )
