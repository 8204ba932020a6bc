"""Causes: whose doing a shift of the MDM is, as far as its controls tell.

The rule, for each decided shift that is explained. What the MDM shifts more than a control is a
paired difference: both were measured against one ARM on the same resamples, so it is a subtraction
of their draws. A control that cannot do the task, or of which the quantity is undefined, proves
nothing and is left out. Trainings with diffusion are the MDM and MDMs of other seeds; trainings
without it are the ARMs that were trained on.

With three or more trainings of either kind, it is said of diffusion, and trainings are drawn again
as examples are (`trainings`):

1. Where the difference of the two kinds' means lies within half of the mean shift with diffusion,
   or so does the difference from the ARM that is read as the MDM is, the shift is there also
   without diffusion.
2. Where the trainings with diffusion shift further than those without, and than the ARM that is
   read as the MDM is if that was measured, the shift is diffusion's.

With fewer, it is said of this checkpoint alone, since other trainings may scatter as widely:

1. Where the difference from a control without diffusion (from each, of several that were trained
   on) lies within half of the MDM's shift, the shift is there also without diffusion.
2. Where an ARM that was trained on was measured, and the MDM shifts further than each control
   without diffusion, the shift is this checkpoint's; or this seed's, if it shifts further than each
   MDM of another seed as well.

Anything else is not decided.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy.special import ndtri

from mechshift.models import ARM_CONTINUED, ARM_FULL, MDM_OTHER_SEED, control_role
from mechshift.page.formats import NOT_DECIDED, UNDEFINED, in_words, number
from mechshift.statistics import Estimate, Estimates
from mechshift.topics.decisions import p_of_decision
from mechshift.topics.topic import Measured, MemberResults, Quantity, Statement, TaskResults
from mechshift.topics.trainings import (
    MIN_TRAININGS,
    Trainings,
    TrainingsDifference,
    counts,
    trainings_difference,
)

MIN_ACCURACY = 0.5
"""A control counts that solves this share of what both models solve, up to its interval."""

ALIKE = 0.5
"""Share of the shift with diffusion within which a shift without it is the same; ours."""

WITHOUT_DIFFUSION = (ARM_FULL, ARM_CONTINUED)
"""Roles of controls whose weights never saw a mask."""

Of = TypeVar("Of")


def causes(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Statement, ...]:
    """A statement for each decided shift of a quantity that is explained."""
    return tuple(
        cause(one.name, task.mdm, task.controls) for one in shifts_to_explain(task, quantities)
    )


def shifts_to_explain(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Quantity, ...]:
    """The quantities whose shift is decided by itself and held against the controls."""
    return tuple(
        quantity
        for quantity in quantities
        if quantity.explained
        and (shift := task.mdm.estimate(quantity.name)) is not None
        and shift.excludes(0.0)
        and not task.mdm.measured[quantity.name].caution
    )


def cause(quantity: str, mdm: MemberResults, controls: Sequence[MemberResults]) -> Statement:
    """Whose doing a decided shift of the MDM is.

    Args:
        quantity: by its name.
        mdm: whose shift in it is decided.
        controls: any; those count that can do the task.
    """
    members = {one.name: one.measured[quantity] for one in controls if can_do_the_task(one)}
    measured = {"mdm": mdm.measured[quantity], **members}
    with_diffusion, without = trainings_of_kinds(measured)
    if with_diffusion is not None and without is not None:
        if min(len(with_diffusion.names), len(without.names)) >= MIN_TRAININGS:
            return _over_trainings(quantity, measured, with_diffusion, without)
    return _of_checkpoint(quantity, measured)


def can_do_the_task(control: MemberResults) -> bool:
    """Whether a control solves enough to explain anything."""
    return control.accuracy is not None and control.accuracy.interval.high >= MIN_ACCURACY


def trainings_of_kinds(
    measured: Mapping[str, Measured],
) -> tuple[Trainings | None, Trainings | None]:
    """Trainings with diffusion, and those without it that are no masks alone; None: there is none.

    Args:
        measured: name of the MDM, or of a control that can do the task -> one quantity.
    """
    mdms = {"mdm": measured["mdm"], **_of_role(measured, MDM_OTHER_SEED)}
    return Trainings.of(mdms), Trainings.of(_of_role(measured, ARM_CONTINUED))


def contrast(mdm: Measured, control: Measured) -> Estimate | None:
    """How much more the MDM shifts than a control; None where one is undefined, or uncertain."""
    if not (counts(mdm) and counts(control)):
        return None
    assert mdm.estimate is not None and mdm.draws is not None
    assert control.estimate is not None and control.draws is not None
    value = mdm.estimate.value - control.estimate.value
    rows = np.concatenate([[value], mdm.draws - control.draws])
    return Estimates.from_rows(rows[:, None], level=mdm.estimate.interval.level).at(0)


def _over_trainings(
    quantity: str,
    measured: Mapping[str, Measured],
    with_diffusion: Trainings,
    without: Trainings,
) -> Statement:
    """Of diffusion, given enough trainings of either kind."""
    own, shift = measured["mdm"].estimate, with_diffusion.mean
    assert own is not None
    mask = Trainings.of(_of_role(measured, ARM_FULL))
    others = {_number_of(without): without} | ({ARM_FULL: mask} if mask is not None else {})
    beyond = {
        name: found
        for name, other in others.items()
        if (found := trainings_difference(with_diffusion, other)) is not None
    }

    def decide(errors: float) -> str:
        if not own.reaching(errors).excludes(0.0) or own.value * shift <= 0:
            return NOT_DECIDED  # there is nothing to explain, or other trainings shift otherwise
        differences = {name: one.reaching(errors) for name, one in beyond.items()}
        if same := [name for name, one in differences.items() if alike(one, shift)]:
            return f"also without diffusion ({', '.join(same)})"
        if _number_of(without) in differences and all(
            further(one, shift) for one in differences.values()
        ):
            return "diffusion's"
        return NOT_DECIDED

    level = own.interval.level
    decided = decide(float(ndtri((1 + level) / 2)))
    return _statement(
        decided,
        _over_trainings_in_words(quantity, with_diffusion, without, beyond) + f": {decided}.",
        p_of_decision(decide, level),
    )


def _over_trainings_in_words(
    quantity: str,
    with_diffusion: Trainings,
    without: Trainings,
    beyond: Mapping[str, TrainingsDifference],
) -> str:
    differences = ", ".join(
        f"{in_words(found.estimate, signed=True)} ({name})" for name, found in beyond.items()
    )
    return (
        f"Over {len(with_diffusion.names)} trainings with diffusion"
        f" ({', '.join(with_diffusion.names)}) and {len(without.names)} without it"
        f" ({', '.join(without.names)}), other examples and other trainings in the interval, the"
        f" mean {quantity} with diffusion is {number(with_diffusion.mean, signed=True)}, beyond"
        f" that without by {differences or UNDEFINED}"
    )


def _number_of(trainings: Trainings) -> str:
    """How many there are, as verdicts call them."""
    return f"{len(trainings.names)} trainings"


def _of_checkpoint(quantity: str, measured: Mapping[str, Measured]) -> Statement:
    """Of this MDM, or of its seed, with fewer trainings."""
    mdm, controls = measured["mdm"], {name: measured[name] for name in measured if name != "mdm"}
    shift = mdm.estimate
    assert shift is not None
    beyond = {
        name: found for name, one in controls.items() if (found := contrast(mdm, one)) is not None
    }

    def decide(errors: float) -> str:
        if not shift.reaching(errors).excludes(0.0):  # then there is nothing to explain
            return NOT_DECIDED
        return _words_for({name: one.reaching(errors) for name, one in beyond.items()}, shift.value)

    decided = _words_for(beyond, shift.value)
    return _statement(
        decided,
        _of_checkpoint_in_words(quantity, beyond, decided),
        p_of_decision(decide, shift.interval.level),
    )


def _words_for(beyond: Mapping[str, Estimate], shift: float) -> str:
    """The cause of the MDM's shift, given how far it lies beyond that of each control."""
    trained, seeds = (_of_role(beyond, role) for role in (ARM_CONTINUED, MDM_OTHER_SEED))
    without = {name: one for name, one in beyond.items() if _role(name) in WITHOUT_DIFFUSION}
    same = [name for name, one in without.items() if alike(one, shift)]
    if not trained.keys() <= set(same):  # one alone of several may be so by chance
        same = [name for name in same if name not in trained]
    if same:
        return f"also without diffusion ({', '.join(same)})"
    if not trained or not all(further(one, shift) for one in without.values()):
        return NOT_DECIDED
    if seeds and all(further(one, shift) for one in seeds.values()):
        return "this seed's"
    return "this checkpoint's"


def _of_checkpoint_in_words(quantity: str, beyond: Mapping[str, Estimate], decided: str) -> str:
    if not beyond:
        return (
            f"The MDM's {quantity} is not held against any control that can do the task: {decided}."
        )
    differences = ", ".join(
        f"{in_words(found, signed=True)} ({name})" for name, found in beyond.items()
    )
    num_with = 1 + len(_of_role(beyond, MDM_OTHER_SEED))
    num_without = len(_of_role(beyond, ARM_CONTINUED))
    few = ""
    if num_with > 2 or num_without > 1:
        few = (
            f"; {num_with} with diffusion and {num_without} without are too few to speak of"
            f" diffusion, which takes {MIN_TRAININGS} each"
        )
    return f"The MDM's {quantity} is beyond a control's by {differences}{few}: {decided}."


def _statement(decided: str, sentence: str, p: float) -> Statement:
    return Statement(
        axis="cause",
        verdict=decided,
        by_itself=decided,
        estimate=None,
        sentence=sentence,
        p=p,
    )


def alike(difference: Estimate, shift: float) -> bool:
    """Whether the whole interval lies within the margin of the shift with diffusion."""
    margin = ALIKE * abs(shift)
    return -margin <= difference.interval.low and difference.interval.high <= margin


def further(difference: Estimate, shift: float) -> bool:
    """Whether the shift with diffusion goes further, in its own direction."""
    return difference.excludes(0.0) and difference.value * shift > 0


def _role(name: str) -> str | None:
    found = control_role(name)
    return None if found is None else found[0]


def _of_role(members: Mapping[str, Of], role: str) -> dict[str, Of]:
    """Those controls that are of a role."""
    return {name: one for name, one in members.items() if _role(name) == role}
