"""What do the ablations of one task say, in plain words?

The rules:

1. Early structures matter more, or less, to the MDM: as `verdict.intervention` decides.
2. Attribution ranks components as ablation does: the interval of the rank correlation lies above 0,
   in both models.
"""

from collections.abc import Mapping

from mechshift.page.theme import MODEL_NAMES
from mechshift.graph import THIRDS
from mechshift.report.finding import Finding
from mechshift.page.formats import in_words, percentage
from mechshift.report.records import TaskAblations, TaskReport
from mechshift.statistics import Estimate
from mechshift.verdict import NOT_DECIDED, intervention

WRITES_INSTEAD = {
    "zero": "nothing",
    "mean": "their mean output",
    "resample": "what they write on the corrupted prompt",
}
"""What ablated structures write, by replacement."""

CONTROLS = {"same number": "as many", "same norm": "of the same norm"}
"""How a sentence calls the random structures of a control."""


def ablation_findings(task: TaskReport) -> tuple[Finding, ...]:
    """The answers, as far as structures were ablated."""
    if task.ablations is None:
        return ()
    labels = task.ablations.structures.arm.labels
    early = [name for name in labels.of if name.startswith(f"{THIRDS[0]} ")]
    return (
        *(_early(task.ablations, plan) for plan in dict.fromkeys(early)),
        _agreement(task.ablations),
    )


def ablation_notes(task: TaskReport) -> tuple[str, ...]:
    """Which controls do not exist, and why."""
    if task.ablations is None:
        return ()
    structures = task.ablations.structures
    of_models = {"arm": structures.arm, "mdm": structures.mdm}
    left_out = [
        f"{MODEL_NAMES[model]}, ablation: {line}"
        for model, effects in of_models.items()
        for line in effects.left_out
    ]
    if structures.only_in_one:
        left_out.append(
            f"Controls of one model only are not shown: {', '.join(structures.only_in_one)}."
        )
    return tuple(left_out)


def _early(ablations: TaskAblations, plan: str) -> Finding:
    found = intervention(ablations.structures, plan)
    assert found is not None  # the plan is one of the labels, and accuracy is always defined
    lost = "of its metric" if found.drop == "share_lost" else "of its accuracy"
    return Finding(
        question=f"Do {plan.replace('mlps', 'MLPs')} matter more to the MDM?",
        verdict=found.decides(more="yes, and more than random ones", less="no, less"),
        sentence=f"Where they write {WRITES_INSTEAD[found.replacement]}, the MDM loses"
        f" {in_words(found.mdm)} {lost} and the ARM {in_words(found.arm)}; the difference is"
        f" {in_words(found.difference, signed=True)}. {_beyond_controls(found.excess)}"
        f" {_removed(ablations, plan)}",
    )


def _beyond_controls(excess: Mapping[str, Estimate]) -> str:
    if not excess:
        return "There is no random control to hold the MDM's loss against."
    by_control = " and ".join(
        f"that of random ones, {CONTROLS[role]}, by {in_words(found, signed=True)}"
        for role, found in excess.items()
    )
    return f"The MDM's loss exceeds {by_control}."


def _removed(ablations: TaskAblations, plan: str) -> str:
    """The guard against structures that write far more than others."""
    structures = ablations.structures
    row = structures.arm.labels.names.index(plan)
    arm, mdm = (
        percentage(effects.removed.share[row]) for effects in (structures.arm, structures.mdm)
    )
    writers = "neurons" if plan.endswith("neurons") else "nodes"
    return (
        f"Of the norm of all that {writers} write they hold {mdm} in the MDM and {arm} in the ARM."
    )


def _agreement(ablations: TaskAblations) -> Finding:
    single = ablations.single
    agreements = {"ARM": ablations.arm_agreement, "MDM": ablations.mdm_agreement}
    decided = [name for name, found in agreements.items() if found.interval.low > 0]
    if len(decided) == 2:
        verdict = "yes"
    else:
        verdict = f"only in the {decided[0]}" if decided else NOT_DECIDED
    return Finding(
        question="Does attribution rank heads and MLPs as ablating them does?",
        verdict=verdict,
        sentence=f"Over {len(single.names())} heads and MLPs, what ablating each costs"
        f" ({single.replacement}, held-out examples) and its attribution (discovery examples) have"
        f" a rank correlation of {in_words(ablations.arm_agreement)} in the ARM and"
        f" {in_words(ablations.mdm_agreement)} in the MDM.",
    )
