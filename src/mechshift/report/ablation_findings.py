"""What do the ablations of one task say, in plain words?

The rules:

1. Early structures matter more to the MDM: the interval of MDM minus ARM, in the share of the
   metric that is lost without them, lies above 0; and so does that of the MDM's loss beyond each of
   its random controls, of which there must be one. They matter less: the first lies below 0. Where
   a metric has no share to lose, accuracy stands in.
2. Attribution ranks components as ablation does: the interval of the rank correlation lies above 0,
   in both models.
"""

from mechshift.figures.theme import MODEL_NAMES
from mechshift.graph import THIRDS
from mechshift.report.ablated import Drop, drop_of, mdm_excess, replacement_of
from mechshift.report.finding import NOT_DECIDED, Finding
from mechshift.report.formats import in_words, percentage
from mechshift.report.records import TaskAblations, TaskReport
from mechshift.statistics import Estimate

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
    drop: Drop = "share_lost"
    if drop_of(ablations, "difference", drop, plan) is None:
        drop = "accuracy_drop"
    arm, mdm, difference = (
        drop_of(ablations, side, drop, plan) for side in ("arm", "mdm", "difference")
    )
    assert arm and mdm and difference  # accuracy is always defined
    excess = {
        role: found
        for role in CONTROLS
        if (found := mdm_excess(ablations, drop, f"{plan}, {role}")) is not None
    }
    lost = "of its metric" if drop == "share_lost" else "of its accuracy"
    written = WRITES_INSTEAD[replacement_of(ablations)]
    return Finding(
        question=f"Do {plan.replace('mlps', 'MLPs')} matter more to the MDM?",
        verdict=_verdict(difference, list(excess.values())),
        sentence=f"Where they write {written}, the MDM loses {in_words(mdm)} {lost} and the ARM"
        f" {in_words(arm)}; the difference is {in_words(difference, signed=True)}."
        f" {_beyond_controls(excess)} {_removed(ablations, plan)}",
    )


def _verdict(difference: Estimate, excess: list[Estimate]) -> str:
    if difference.interval.high < 0:
        return "no, less"
    if difference.interval.low > 0 and excess and all(one.interval.low > 0 for one in excess):
        return "yes, and more than random ones"
    return NOT_DECIDED


def _beyond_controls(excess: dict[str, Estimate]) -> str:
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
