"""What the evidence on one task decides, axis by axis.

Every rule looks at one interval, or two, and says `not decided` where that does not decide
(`decisions.py`). Its thresholds are ours; otherwise a rule asks only on which side of no change an
interval lies.

1. structure: the overlap as a share of its ceiling, by classes: at least 0.8 retained, from 0.5 to
   0.8 modest change, below 0.5 rewired. An interval over two classes does not decide.
2. depth: front-loaded where the early share rose, back-loaded where it fell.
3. specialisation: more distributed where the effective number of components rose, sharper where it
   fell.
4. direction: whether a material share of the flow runs from right to left.
5. inheritance: whether the ARM's circuit carries the MDM as well as the MDM's own.
6. intervention: whether the MDM depends more than the ARM on the heads of the early layers, and
   more than on random heads (`intervention.py`).
7. cause, for each decided shift of rules 2 and 3: what the controls show. A control reaches the
   shift where its interval touches the MDM's; where none of the controls without diffusion does,
   the shift is diffusion's own, unless an MDM of another seed does not reach it either: then it is
   this seed's. A control that cannot do the task explains nothing and is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mechshift.statistics import Estimate
from mechshift.topics.decisions import (
    MATERIAL_SHARE,
    NOT_DECIDED,
    NOT_MEASURED,
    RETAINED,
    REWIRED,
    UNDEFINED,
    by_side,
    by_sign,
    structure,
)
from mechshift.verdict.evidence import Evidence
from mechshift.verdict.intervention import intervention
from mechshift.verdict.quantities import QUANTITIES, quantities

MIN_ACCURACY = 0.5
"""A control counts that solves this share of what both models solve, up to its interval."""

EARLY_HEADS = "early heads"
"""The ablation plan of rule 6."""

EXPLAINED = ("early share shift", "effective components shift")
"""Quantities whose shift rule 7 explains."""

OTHER_SEED = "mdm-other-seed"
"""The control that diffusion made too; what it does not reach may be chance."""

WITHOUT_DIFFUSION = ("arm-full", "arm-continued")
"""Controls whose weights never saw a mask."""

RULES = {
    "structure": f"overlap / ceiling: from {RETAINED} retained, from {REWIRED} modest change,"
    " below rewired",
    "depth": "early share, MDM minus ARM, cross-fitted: above 0 front-loaded, below 0 back-loaded",
    "specialisation": "effective number of components, MDM minus ARM: above 0 more distributed,"
    " below 0 sharper",
    "direction": f"share of k/v flow from right to left in the MDM: above {MATERIAL_SHARE}, or"
    " hardly any",
    "inheritance": "faithfulness of the MDM on the ARM's circuit minus on its own: below 0",
    "intervention": "share of the metric lost without early heads, MDM minus ARM: above 0, and the"
    " MDM's loss above that of random heads; or below 0",
    "cause": "which controls that can do the task have intervals that touch the MDM's",
}
"""Axis of a statement -> its rule in words."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One answer, with all that it rests on."""

    axis: str
    """A key of `RULES`."""

    verdict: str
    """A few words; `not decided` where the interval does not decide."""

    estimate: Estimate | None
    """What the rule looked at; None where it was not measured, or for a cause."""

    sentence: str
    """The verdict and its number, to be pasted."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All statements on one task."""

    task: str
    statements: tuple[Statement, ...]

    @property
    def paragraph(self) -> str:
        """The statements as running text."""
        text = " ".join(one.sentence for one in self.statements)
        return f"On {self.task}, {text[0].lower()}{text[1:]}"

    def of(self, axis: str) -> Statement:
        """The first statement on an axis."""
        return next(one for one in self.statements if one.axis == axis)


def verdict(evidence: Evidence) -> Verdict:
    """Apply every rule to the evidence on one task."""
    found = quantities(evidence)
    ratio, early = found["overlap ratio"], found["early share shift"]
    components, share = found["effective components shift"], found["right-to-left share"]
    inheritance = evidence.inheritance
    statements = (
        _statement(
            "structure",
            structure(ratio),
            ratio,
            f"The top {evidence.comparison.circuit_size:,} edges agree to {{}} of what sampling"
            " noise allows",
        ),
        _statement(
            "depth",
            by_sign(early, above="front-loaded", below="back-loaded", missing=UNDEFINED),
            early,
            "The early layers' share of the circuit changed by {}",
        ),
        _statement(
            "specialisation",
            by_sign(components, above="more distributed", below="sharper"),
            components,
            "The effective number of components changed by {}",
        ),
        _statement(
            "direction",
            by_side(
                share,
                MATERIAL_SHARE,
                above="reads from the right",
                below="hardly reads from the right",
                missing=NOT_MEASURED,
            ),
            share,
            "From right to left runs {} of the MDM's flow",
        ),
        _statement(
            "inheritance",
            by_sign(inheritance, above="serves it better", below="no longer suffices"),
            inheritance,
            "On the ARM's circuit instead of its own the MDM's faithfulness changes by {}",
        ),
        _intervention(evidence),
    )
    return Verdict(
        task=evidence.comparison.task, statements=(*statements, *_causes(evidence, found))
    )


def _intervention(evidence: Evidence) -> Statement:
    found = None if evidence.ablation is None else intervention(evidence.ablation, EARLY_HEADS)
    if found is None:
        return _statement("intervention", NOT_MEASURED, None, "")
    lost = "metric" if found.drop == "share_lost" else "accuracy"
    return _statement(
        "intervention",
        found.decides(
            more="MDM depends more on early heads", less="MDM depends less on early heads"
        ),
        found.difference,
        f"Without early heads the MDM loses a share of its {lost} that differs from the ARM's by"
        " {}",
    )


def _statement(axis: str, decided: str, estimate: Estimate | None, words: str) -> Statement:
    if estimate is None:
        return Statement(
            axis=axis, verdict=decided, estimate=None, sentence=f"{axis.capitalize()}: {decided}."
        )
    interval = estimate.interval
    numbers = f"{estimate.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    return Statement(
        axis=axis,
        verdict=decided,
        estimate=estimate,
        sentence=f"{words.format(numbers)}: {decided}.",
    )


def _causes(evidence: Evidence, found: dict[str, Estimate | None]) -> Iterator[Statement]:
    by_control = {
        control.name: quantities(control)
        for control in evidence.controls
        if control.accuracy.interval.high >= MIN_ACCURACY
    }
    for quantity in QUANTITIES:
        shift = found[quantity.name]
        if quantity.name not in EXPLAINED or shift is None or not shift.excludes(0.0):
            continue
        reached = [name for name, own in by_control.items() if _reaches(own[quantity.name], shift)]
        measured = [name for name in WITHOUT_DIFFUSION if name in by_control]
        without = [name for name in reached if name in WITHOUT_DIFFUSION]
        if not measured:
            decided = NOT_DECIDED
        elif without:
            decided = f"also without diffusion ({', '.join(without)})"
        elif OTHER_SEED in by_control and OTHER_SEED not in reached:
            decided = "this seed's"
        else:
            decided = "diffusion's own"
        if by_control:
            shown = f"reached by {', '.join(reached)}" if reached else "reached by no control"
        else:
            shown = "not held against any control that can do the task"
        yield Statement(
            axis="cause",
            verdict=decided,
            estimate=None,
            sentence=f"The {quantity.name} is {shown}: {decided}.",
        )


def _reaches(control: Estimate | None, shift: Estimate) -> bool:
    """Whether a control moves as far: its interval touches the MDM's, or lies beyond it."""
    if control is None:
        return False
    if shift.value > 0:
        return control.interval.high >= shift.interval.low
    return control.interval.low <= shift.interval.high
